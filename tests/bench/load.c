// SPDX-License-Identifier: BSD-3-Clause
// The guest's side of the benchmark: makes one kind of load on one target and prints one line of
// JSON. Static and small, since it runs in an initramfs, too. When to look at whose CPU time is
// left to the driver, bench.py; what answers is service.c.
//
//   load TARGET send|receive CONNECTIONS WARM_MS RUN_MS   bytes each way, after the warm-up
//   load TARGET trip BYTES RUN_MS                         echoed round trips, one after another
//   load TARGET rotate CONNECTIONS BYTES RUN_MS           the same, over the connections in turn
//   load TARGET connect RUN_MS MOST                       connect, echo a byte, close, and again
//   load TARGET first WITHIN_MS                           when the first connection was answered
//   load TARGET idle COUNT                                holds connections until stdin ends
//   load - spin                                           a fixed piece of work: the noise
//
// TARGET: tcp:ADDRESS:PORT, unix:PATH, or the path of a character device. udp:ADDRESS:PORT is for
// tap_pump.c: trip, and send and receive, which keep so few datagrams under way that none is lost.

#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK             (256 * 1024)
#define CHUNKS_PER_TURN   8
#define CONNECTIONS_MAX   16384
#define TRIP_BYTES_MAX    65536
#define PATIENCE_S        5
#define FIRST_PATIENCE_MS 3 // a SYN that nobody was there for is not sent again before a second
#define SPINS             20000000u
// As in tap_pump.c: what a datagram carries, and for how many of them it sends one back.
#define DATAGRAM_BYTES 61440
#define CREDIT         4
#define WINDOW         16 // datagrams under way

struct connection {
    int fd;
    uint64_t bytes; // within the run
};

static struct connection connections[CONNECTIONS_MAX];
static struct laps laps;
static char buffer[CHUNK];

_Noreturn static void
fail(const char *what)
{
    printf("{\"error\": \"%s: %s\"}\n", what, strerror(errno));
    exit(1);
}

static unsigned
number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || n > 1000000000) {
        errno = EINVAL;
        fail(text);
    }
    return (unsigned)n;
}

// A socket for the target and where it is to connect to; -1: the target is a device.
static int
make_socket(const char *target, struct sockaddr_storage *addr, socklen_t *len)
{
    memset(addr, 0, sizeof(*addr));
    if (strncmp(target, "unix:", 5) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)addr;
        un->sun_family = AF_UNIX;
        snprintf(un->sun_path, sizeof(un->sun_path), "%s", target + 5);
        *len = sizeof(*un);
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    bool is_udp = strncmp(target, "udp:", 4) == 0;
    if (strncmp(target, "tcp:", 4) != 0 && !is_udp)
        return -1;
    struct sockaddr_in *in = (struct sockaddr_in *)addr;
    char host[64];
    snprintf(host, sizeof(host), "%s", target + 4);
    char *colon = strchr(host, ':');
    if (!colon)
        fail(target);
    *colon = '\0';
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)number(colon + 1));
    if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
        fail(target);
    *len = sizeof(*in);
    if (is_udp)
        return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

// Connected and blocking, or -1 with errno.
static int
open_target(const char *target)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int fd = make_socket(target, &addr, &len);
    if (fd < 0)
        return target[0] == '/' ? open(target, O_RDWR | O_CLOEXEC) : -1;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&addr, len) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint64_t
move_some(int fd, bool sends)
{
    uint64_t total = 0;
    for (int i = 0; i < CHUNKS_PER_TURN; i++) {
        ssize_t n = sends ? write(fd, buffer, sizeof(buffer)) : read(fd, buffer, sizeof(buffer));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            errno = n == 0 ? ECONNRESET : errno;
            fail(sends ? "send" : "receive");
        }
        total += (uint64_t)n;
        if ((size_t)n < sizeof(buffer))
            break;
    }
    return total;
}

static void
report_bulk(unsigned count, double seconds)
{
    struct bulk_sum sum = BULK_SUM_EMPTY;
    for (unsigned i = 0; i < count; i++)
        bulk_sum_add(&sum, connections[i].bytes);
    bulk_sum_report(&sum, seconds);
}

static void
bulk(const char *target, bool sends, unsigned count, unsigned warm_ms, unsigned run_ms)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        int fd = open_target(target);
        if (fd < 0)
            fail(target);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        connections[i].fd = fd;
        struct epoll_event e = {.events = sends ? EPOLLOUT : EPOLLIN, .data.u32 = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            fail("epoll");
    }
    int64_t began = now_ns() + warm_ms * INT64_C(1000000), ends = began + run_ms * INT64_C(1000000);
    int64_t now;
    while ((now = now_ns()) < ends) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < n; i++) {
            struct connection *c = &connections[events[i].data.u32];
            uint64_t bytes = move_some(c->fd, sends);
            c->bytes += now >= began ? bytes : 0;
        }
    }
    report_bulk(count, (double)(now - began) / 1e9);
}

static size_t
move_datagram(int fd, bool sends, size_t size)
{
    ssize_t n = sends ? write(fd, buffer, size) : read(fd, buffer, size);
    if (n <= 0)
        fail(sends ? "send" : "receive");
    return (size_t)n;
}

// As bulk, in datagrams: one of a byte, from whoever receives, is credit for some more.
static void
bulk_datagrams(const char *target, bool sends, unsigned warm_ms, unsigned run_ms)
{
    int fd = open_target(target);
    int room = 2 * WINDOW * DATAGRAM_BYTES;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
        fail(target);
    int64_t began = now_ns() + warm_ms * INT64_C(1000000), ends = began + run_ms * INT64_C(1000000);
    int64_t now;
    unsigned under_way = 0;
    while ((now = now_ns()) < ends) {
        if (sends && under_way == WINDOW) {
            move_datagram(fd, false, 1);
            under_way -= CREDIT;
        } else if (!sends && under_way <= WINDOW - CREDIT) {
            move_datagram(fd, true, 1);
            under_way += CREDIT;
        }
        size_t bytes = move_datagram(fd, sends, DATAGRAM_BYTES);
        under_way += sends ? 1u : -1u;
        connections[0].bytes += now >= began ? bytes : 0;
    }
    report_bulk(1, (double)(now - began) / 1e9);
}

static bool
exchange(int fd, size_t size)
{
    if (write(fd, buffer, size) != (ssize_t)size)
        return false;
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, buffer, size - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

// Opens them, and uses each.
static void
open_all(const char *target, unsigned count, unsigned size)
{
    if (size == 0 || size > TRIP_BYTES_MAX || count == 0 || count > CONNECTIONS_MAX)
        fail(target);
    for (unsigned i = 0; i < count; i++) {
        connections[i].fd = open_target(target);
        if (connections[i].fd < 0)
            fail(target);
    }
    for (unsigned i = 0; i < 20 || i < count; i++)
        if (!exchange(connections[i % count].fd, size))
            fail("trip");
}

static void
trips(unsigned connection_count, unsigned size, unsigned run_ms)
{
    for (laps_begin(&laps, run_ms); laps_go_on(&laps); laps_note(&laps))
        if (!exchange(connections[laps.count % connection_count].fd, size))
            fail("trip");
    laps_report(&laps);
}

static void
connect_again_and_again(const char *target, unsigned run_ms, unsigned most)
{
    for (laps_begin(&laps, run_ms); laps.count < most && laps_go_on(&laps); laps_note(&laps)) {
        int fd = open_target(target);
        if (fd < 0 || !exchange(fd, 1))
            fail("connect");
        close(fd);
    }
    if (laps.count == 0)
        fail("connect");
    laps_report(&laps);
}

static bool
answers(const char *target)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int fd = make_socket(target, &addr, &len);
    if (fd < 0)
        fail(target);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    bool ok = connect(fd, (struct sockaddr *)&addr, len) == 0 ||
              (errno == EINPROGRESS && poll(&p, 1, FIRST_PATIENCE_MS) == 1);
    p.events = POLLIN;
    ok = ok && write(fd, "1", 1) == 1 && poll(&p, 1, 10 * FIRST_PATIENCE_MS) == 1 &&
         read(fd, buffer, 1) == 1;
    close(fd);
    return ok;
}

static void
first(const char *target, unsigned within_ms)
{
    int64_t ends = now_ns() + within_ms * INT64_C(1000000);
    while (!answers(target)) {
        if (now_ns() > ends) {
            errno = ETIMEDOUT;
            fail(target);
        }
        usleep(100);
    }
    printf("{\"answered_ns\": %lld}\n", (long long)now_ns());
}

static void
idle(const char *target, unsigned count)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < count; i++) {
        int fd = open_target(target); // the process's end closes it
        if (fd >= 0)
            continue;
        if (++failed > 100)
            fail(target);
        usleep(10000);
        i--;
    }
    printf("{\"count\": %u, \"failed\": %u}\n", count, failed);
    fflush(stdout);
    while (read(0, buffer, sizeof(buffer)) > 0)
        continue;
}

static void
spin(void)
{
    int64_t began = now_ns();
    uint64_t x = 88172645463325252u;
    for (unsigned i = 0; i < SPINS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    printf("{\"ms\": %.4f, \"word\": %u}\n", (double)(now_ns() - began) / 1e6, (unsigned)x);
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "";
    signal(SIGPIPE, SIG_IGN);
    bool is_bulk = argc == 6 && (strcmp(mode, "send") == 0 || strcmp(mode, "receive") == 0);
    if (is_bulk && strncmp(argv[1], "udp:", 4) == 0) {
        bulk_datagrams(argv[1], mode[0] == 's', number(argv[4]), number(argv[5]));
    } else if (is_bulk) {
        unsigned count = number(argv[3]);
        count = count < CONNECTIONS_MAX ? count : CONNECTIONS_MAX;
        bulk(argv[1], mode[0] == 's', count, number(argv[4]), number(argv[5]));
    } else if (argc == 5 && strcmp(mode, "trip") == 0) {
        open_all(argv[1], 1, number(argv[3]));
        trips(1, number(argv[3]), number(argv[4]));
    } else if (argc == 6 && strcmp(mode, "rotate") == 0) {
        open_all(argv[1], number(argv[3]), number(argv[4]));
        puts("ready"); // whose CPU time counts from here on
        fflush(stdout);
        trips(number(argv[3]), number(argv[4]), number(argv[5]));
    } else if (argc == 5 && strcmp(mode, "connect") == 0) {
        connect_again_and_again(argv[1], number(argv[3]), number(argv[4]));
    } else if (argc == 4 && strcmp(mode, "first") == 0) {
        first(argv[1], number(argv[3]));
    } else if (argc == 4 && strcmp(mode, "idle") == 0) {
        idle(argv[1], number(argv[3]));
    } else if (argc == 3 && strcmp(mode, "spin") == 0) {
        spin();
    } else {
        fprintf(stderr, "load: see the head of load.c\n");
        return 2;
    }
    return 0;
}
