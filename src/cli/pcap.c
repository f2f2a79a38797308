// SPDX-License-Identifier: BSD-3-Clause
// vmchannel pcap: writes the frames of a guest's link to a file. The worker sends copies of them
// over a socket whose other end it is given through the control socket; the file is ours alone, so
// a slow disk or a full pipe costs frames here and nothing there.
#include "channel/capture.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/pcapng.h"
#include "cli/signals.h"
#include "control/client.h"
#include "control/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND_BYTES (8 * 1024 * 1024) // that may wait for us, where the system lets them

static uint64_t
clock_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct capture {
    int sock, stop_fd;
    FILE *file;
    const char *path;
    uint32_t snaplen;
    uint64_t wanted;  // packets, 0: no end
    uint64_t boot_us; // from the worker's clock to that of the file
    uint64_t taken, left_out;
    uint8_t *buffer; // for one message
};

static FILE *
open_file(const char *path)
{
    if (strcmp(path, "-") == 0)
        return stdout;
    // What guests say is nobody else's business.
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        die_errno(errno, path);
    return f;
}

static void
must(const struct capture *c, bool written)
{
    if (!written)
        die_errno(errno, c->path);
}

// One message, if there is one. 1, 0: none now, -1: the end.
static int
take(struct capture *c)
{
    struct capture_header h;
    ssize_t n = recv(c->sock, c->buffer, sizeof(h) + c->snaplen, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < (ssize_t)sizeof(h))
        return -1;
    memcpy(&h, c->buffer, sizeof(h));
    const struct pcapng_packet p = {.time_us = h.time_us + c->boot_us,
                                    .to_guest = h.to_guest != 0,
                                    .left_out = h.left_out,
                                    .len = h.len,
                                    .have = (uint32_t)((size_t)n - sizeof(h)),
                                    .bytes = c->buffer + sizeof(h)};
    must(c, pcapng_write(c->file, &p));
    c->taken++;
    c->left_out += h.left_out;
    return 1;
}

// Until a signal or enough of them: true; or the other end is closed.
static bool
take_all(struct capture *c)
{
    struct pollfd p[2] = {{.fd = c->sock, .events = POLLIN}, {.fd = c->stop_fd, .events = POLLIN}};
    for (;;) {
        int rc = take(c);
        if (rc < 0)
            return false;
        if (c->wanted > 0 && c->taken == c->wanted)
            return true;
        if (rc > 0 && c->taken % 64 != 0)
            continue;
        if (rc == 0)
            must(c, fflush(c->file) == 0);
        poll(p, 2, rc > 0 ? 0 : -1);
        if (p[1].revents)
            return true;
    }
}

// The end that the worker will have; ours is c->sock.
static int
make_sockets(struct capture *c)
{
    int fds[2], size = SEND_BYTES;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        die_errno(errno, "socketpair");
    if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    c->sock = fds[0];
    return fds[1];
}

static int
pcap(const struct settings *s, const char *name, const char *path)
{
    struct error err;
    struct capture c = {.path = path,
                        .snaplen = s->snaplen ? s->snaplen : CONTROL_SNAPLEN_MAX,
                        .wanted = s->count,
                        .boot_us = clock_us(CLOCK_REALTIME) - clock_us(CLOCK_MONOTONIC)};
    c.buffer = malloc(sizeof(struct capture_header) + c.snaplen);
    if (!c.buffer)
        die_errno(ENOMEM, "pcap");
    struct control_client *client = control_client_new(name, NULL, &err);
    struct control_info info;
    int theirs = make_sockets(&c);
    if (!client || control_client_info(client, &info, &err) < 0 ||
        control_client_capture(client, theirs, c.snaplen, &err) < 0)
        die(&err);
    close(theirs);
    control_client_free(client);
    // A reader of a pipe that has enough ends us as a failed write does.
    signal(SIGPIPE, SIG_IGN);
    c.stop_fd = signals_stop_fd();
    if (c.stop_fd < 0)
        die_errno(-c.stop_fd, "signalfd");
    c.file = open_file(path);
    must(&c, pcapng_begin(c.file, info.name, c.snaplen));
    bool ended_here = take_all(&c);
    must(&c, pcapng_end(c.file, clock_us(CLOCK_REALTIME), c.taken, c.left_out));
    must(&c, fclose(c.file) == 0);
    close(c.sock);
    fprintf(stderr, "%" PRIu64 " frames written, %" PRIu64 " left out\n", c.taken, c.left_out);
    free(c.buffer);
    if (ended_here)
        return EXIT_SUCCESS;
    error_set(&err, 0, "%s: the capture was ended there (its worker is gone, or four others watch)",
              info.name);
    die(&err);
}

static int
pcap_main(const struct command *self, char **argv)
{
    struct settings s;
    const char *words[WORDS_MAX];

    settings_init(&s);
    settings_parse_words(&s, self, argv, 2, 2, "NAME FILE", words);
    int status = pcap(&s, words[0], words[1]);
    settings_fini(&s);
    return status;
}

const struct command command_pcap = {
    .id = COMMAND_PCAP,
    .name = "pcap",
    .synopsis = "NAME FILE [--count N] [--snaplen BYTES]",
    .summary = "write a guest's frames to a pcapng file",
    .text =
        "Writes the frames of the running guest NAME to FILE (- is standard output) as pcapng,\n"
        "until SIGINT or SIGTERM. Frames that cannot be written in time are left out and\n"
        "counted; the guest's traffic is not held up.",
    .main = pcap_main,
};
