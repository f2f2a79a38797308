// SPDX-License-Identifier: BSD-3-Clause
// Puts a kernel's TCP behind a stream link: a plain tap (no virtio header, no offload) in this
// process's network namespace, joined to a Unix socket that carries length-prefixed frames. On
// request it misbehaves, seeded: drops, duplicates and reorders frames both ways.
//   bridge TAP connect|listen PATH [SEED DROP DUPLICATE REORDER]    chances in 1/1000
// "connect" retries until somebody listens and ends when the peer leaves; "listen" takes the next
// client then, as QEMU's server=on does. Each time it is joined it prints "joined".

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FRAME_MAX  65550
#define STASH_MAX  8
#define STASH_MS   5
#define RECV_SPACE (512 * 1024)

struct chances {
    uint64_t rng;
    unsigned drop, duplicate, reorder; // in 1/1000
};

struct stash { // frames held back so that later ones overtake them
    uint8_t frames[STASH_MAX][FRAME_MAX];
    size_t lens[STASH_MAX];
    size_t count;
};

struct side {
    void (*put)(int fd, const uint8_t *frame, size_t len);
    int fd;
    struct stash stash;
};

static struct side to_tap, to_stream; // large, hence not on the stack
static struct {
    uint8_t bytes[1024 * 1024];
    size_t len;
} out; // to the stream

static unsigned
chance(struct chances *c)
{
    c->rng ^= c->rng << 13;
    c->rng ^= c->rng >> 7;
    c->rng ^= c->rng << 17;
    return (unsigned)(c->rng % 1000);
}

static void
put_tap(int fd, const uint8_t *frame, size_t len)
{
    if (write(fd, frame, len) < 0 && errno != EIO && errno != ENOBUFS && errno != EAGAIN)
        perror("bridge: tap");
}

// Queues the frame; flush_stream writes. A full queue drops, as any network does.
static void
put_stream(int fd, const uint8_t *frame, size_t len)
{
    if (sizeof(out.bytes) - out.len < 4 + len)
        return;
    uint8_t *at = out.bytes + out.len;
    at[0] = (uint8_t)(len >> 24);
    at[1] = (uint8_t)(len >> 16);
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
    memcpy(at + 4, frame, len);
    out.len += 4 + len;
    (void)fd;
}

// A peer that left is noticed by the reading side.
static void
flush_stream(int fd)
{
    ssize_t n = out.len == 0 ? 0 : send(fd, out.bytes, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0) {
        memmove(out.bytes, out.bytes + n, out.len - (size_t)n);
        out.len -= (size_t)n;
    }
}

static void
release(struct side *s)
{
    for (size_t i = 0; i < s->stash.count; i++)
        s->put(s->fd, s->stash.frames[i], s->stash.lens[i]);
    s->stash.count = 0;
}

static void
forward(struct side *s, struct chances *c, const uint8_t *frame, size_t len)
{
    if (chance(c) < c->drop)
        return;
    if (chance(c) < c->reorder && s->stash.count < STASH_MAX) {
        memcpy(s->stash.frames[s->stash.count], frame, len);
        s->stash.lens[s->stash.count++] = len;
        return;
    }
    s->put(s->fd, frame, len);
    if (chance(c) < c->duplicate)
        s->put(s->fd, frame, len);
    if (s->stash.count > 0 && chance(c) < 300)
        release(s);
}

// Hands on all whole frames in buf; gives how many bytes are left over, or -1 for a bad length.
static ssize_t
forward_stream(uint8_t *buf, size_t len, struct chances *c)
{
    size_t at = 0;

    while (len - at >= 4) {
        size_t size = (size_t)buf[at] << 24 | (size_t)buf[at + 1] << 16 | (size_t)buf[at + 2] << 8 |
                      buf[at + 3];
        if (size > FRAME_MAX) {
            fprintf(stderr, "bridge: frame of %zu bytes\n", size);
            return -1;
        }
        if (len - at - 4 < size)
            break;
        forward(&to_tap, c, buf + at + 4, size);
        at += 4 + size;
    }
    memmove(buf, buf + at, len - at);
    return (ssize_t)(len - at);
}

// Until the peer leaves.
static void
relay(int tap, int stream, struct chances *c)
{
    static uint8_t in[RECV_SPACE], frame[FRAME_MAX];
    size_t have = 0;
    struct pollfd p[2] = {{.fd = tap, .events = POLLIN}, {.fd = stream, .events = POLLIN}};

    to_tap.put = put_tap;
    to_tap.fd = tap;
    to_stream.put = put_stream;
    to_stream.fd = stream;
    out.len = 0;
    to_tap.stash.count = to_stream.stash.count = 0;
    for (;;) {
        bool held = to_tap.stash.count + to_stream.stash.count > 0;
        p[0].events = out.len > 0 ? 0 : POLLIN; // while the stream is full the guest waits
        p[1].events = out.len > 0 ? POLLIN | POLLOUT : POLLIN;
        if (poll(p, 2, held ? STASH_MS : -1) == 0) {
            release(&to_tap);
            release(&to_stream);
        }
        if (p[1].revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(stream, in + have, sizeof(in) - have, 0);
            if (n <= 0)
                return;
            n = forward_stream(in, have + (size_t)n, c);
            if (n < 0)
                return;
            have = (size_t)n;
        }
        for (int i = 0; (p[0].revents & POLLIN) && i < 8; i++) {
            ssize_t n = read(tap, frame, sizeof(frame));
            if (n <= 0)
                break;
            forward(&to_stream, c, frame, (size_t)n);
        }
        flush_stream(stream);
    }
}

static int
open_tap(const char *name)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0) {
        perror("bridge: tap");
        exit(1);
    }
    return fd;
}

static int
join(const struct sockaddr_un *sa, int listener)
{
    if (listener >= 0)
        return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
            return fd;
        close(fd);
        usleep(10000);
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct chances c = {.rng = 1};
    int listener = -1;

    if (argc != 4 && argc != 8) {
        fprintf(stderr, "usage: bridge TAP connect|listen PATH [SEED DROP DUPLICATE REORDER]\n");
        return 2;
    }
    if (argc == 8) {
        c.rng = strtoull(argv[4], NULL, 10) * 0x9e3779b97f4a7c15ULL + 1;
        c.drop = (unsigned)atoi(argv[5]);
        c.duplicate = (unsigned)atoi(argv[6]);
        c.reorder = (unsigned)atoi(argv[7]);
    }
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", argv[3]);
    int tap = open_tap(argv[1]);
    if (strcmp(argv[2], "listen") == 0) {
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(listener, 1) < 0) {
            perror(argv[3]);
            return 1;
        }
    }
    do {
        int stream = join(&sa, listener);
        printf("joined\n");
        fflush(stdout);
        relay(tap, stream, &c);
        close(stream);
        printf("left\n");
        fflush(stdout);
    } while (listener >= 0);
    return 0;
}
