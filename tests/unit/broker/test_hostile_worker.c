// SPDX-License-Identifier: BSD-3-Clause
// A worker that was taken over asks for everything: whatever it says, the broker opens nothing but
// what was configured. What is opened is seen by our own connect, open and socket.
#include "fake_worker.h"

#include "broker/worker_process.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define WORKERS         6
#define ROUNDS          2000
#define GARBAGE_ALLOWED 15 // one less than ends a worker

static bool watching;
static int connects, opens; // of the broker's process
static char strange[128];   // what was opened and is not configured

// The first is the link, which comes when all that is opened at start is open.
int
connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    const struct sockaddr_un *un = (const void *)sa;
    char device_path[sizeof(dir) + 2], link_path[64];
    snprintf(device_path, sizeof(device_path), "%s/s", dir);
    snprintf(link_path, sizeof(link_path), "/tmp/test-broker-link-%d", (int)getpid());
    watching = true;
    connects++;
    if (sa->sa_family != AF_UNIX ||
        (strcmp(un->sun_path, device_path) != 0 && strcmp(un->sun_path, link_path) != 0 &&
         strcmp(un->sun_path, "/nonexistent/s") != 0))
        snprintf(strange, sizeof(strange), "family %d: %.100s", sa->sa_family, un->sun_path);
    return (int)syscall(SYS_connect, fd, sa, len);
}

int // also open64: files are large (_FILE_OFFSET_BITS)
open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = va_arg(args, int);
    va_end(args);
    if (watching) {
        opens++;
        snprintf(strange, sizeof(strange), "%s", path);
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

// Small numbers, indices around the last, and the largest.
static uint32_t
odd_value(uint32_t *seed)
{
    static const uint32_t values[] = {0, 1, 2, 3, 7, 600, 601, 1024, 0x7fffffff, 0xffffffff};
    return values[next_random(seed) % (sizeof(values) / sizeof(values[0]))];
}

static bool
is_valid(const struct message *m, size_t len, size_t nfds)
{
    const struct message_limits limits = {.from_worker = true, .channels = 2};
    struct message out;
    return message_parse(&out, m, len, nfds, &limits) && m->type != MESSAGE_READY &&
           m->type != MESSAGE_LINK_DOWN && m->type != MESSAGE_CLOSED && m->type != MESSAGE_SYNCED;
}

// Newer kernels let no descriptor through.
static void
send_any(int sock, const struct message *m, size_t len, int fd)
{
    ssize_t n = fdpass_send(sock, m, len, &fd, fd >= 0 ? 1 : 0);
    if (n < 0 && (fd < 0 || n != -EPERM))
        _exit(1);
}

static void
drain(int sock)
{
    struct message m;
    int fds[MESSAGE_FDS_MAX];
    size_t nfds = MESSAGE_FDS_MAX;
    struct pollfd p = {.fd = sock, .events = POLLIN};
    while (poll(&p, 1, 0) == 1 && (p.revents & POLLIN)) {
        nfds = MESSAGE_FDS_MAX;
        if (fdpass_recv(sock, &m, sizeof(m), fds, &nfds) <= 0)
            _exit(0);
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
    }
}

// Every type and index, lengths that are wrong, descriptors that nobody asked for; in between what
// is valid, many times over. The last worker stops the broker.
static void
asks_for_everything(int sock, int number)
{
    uint32_t seed = (uint32_t)number * 2654435761U, bad = 0;
    say(sock, (struct message){.type = MESSAGE_READY});
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct message m = {.type = next_random(&seed) % 20, .session = odd_value(&seed)};
        if (i % 3 == 0)
            m = (struct message){.type = MESSAGE_OPEN, .session = i, .channel = i % 2};
        else if (i % 3 == 1)
            m.channel = odd_value(&seed);
        else
            for (size_t w = 0; w < sizeof(m) / 4; w++)
                ((uint32_t *)&m)[w] = odd_value(&seed);
        size_t len = next_random(&seed) % 4 == 0 ? 1 + next_random(&seed) % sizeof(m) : sizeof(m);
        int fd = next_random(&seed) % 8 == 0 ? sock : -1;
        bool valid = is_valid(&m, len, fd >= 0);
        if (!valid && ++bad >= GARBAGE_ALLOWED && number == WORKERS)
            continue;
        send_any(sock, &m, len, fd);
        drain(sock);
    }
    if (number == WORKERS)
        stop_broker(sock);
    idle(sock);
}

TEST(nothing_is_opened_but_what_is_configured)
{
    int rc = run_with_listener(asks_for_everything, "");
    watching = false;
    assert_int_equal(rc, 0);
    assert_int_equal(shared->workers, WORKERS);
    assert_true(connects >= ROUNDS / 10); // it was served meanwhile
    assert_string_equal(strange, "");
    assert_int_equal(opens, 0);
}

// A TCP socket whose last close waits: its peer, of ours too, reads nothing of what stands in it.
static int
lingering_socket(void)
{
    static char bytes[65536];
    const struct linger wait = {.l_onoff = 1, .l_linger = 3};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int l = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(l, (struct sockaddr *)&sa, len) < 0 || listen(l, 1) < 0 ||
        getsockname(l, (struct sockaddr *)&sa, &len) < 0 ||
        syscall(SYS_connect, fd, &sa, len) < 0 || accept(l, NULL, NULL) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &wait, sizeof(wait)) < 0)
        _exit(1);
    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    return fd;
}

static void
gives_what_is_long_to_close(int sock, int number)
{
    const struct message open = {.type = MESSAGE_OPEN, .session = 1, .channel = 1};
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    fd = lingering_socket();
    send_any(sock, &open, sizeof(open), fd);
    close(fd);
    shared->died_us = loop_clock_us();
    say(sock, open);
    hear(sock, &fd);
    shared->back_us = loop_clock_us();
    stop_broker(sock);
}

TEST(no_descriptor_of_a_worker_holds_the_broker_up)
{
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
    int rc = setsockopt(sv[0], SOL_SOCKET, SO_PASSRIGHTS, &(int){0}, sizeof(int));
    close(sv[0]);
    close(sv[1]);
    if (rc < 0)
        skip(); // Linux older than 6.16
    assert_int_equal(run_with_listener(gives_what_is_long_to_close, ""), 0);
    assert_in_range(shared->back_us - shared->died_us, 0, 500000);
}
