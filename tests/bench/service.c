// SPDX-License-Identifier: BSD-3-Clause
// The host's side of the benchmark: three services, each on a Unix socket and on a TCP port, of any
// address of its network namespace. The sink reads all, the source writes without end, the echo
// gives back. Which of them is meant is told by the address, not by the stream, as some of the
// peers join all connections to one.
//   service DIRECTORY PORT     DIRECTORY/sink and PORT, /source and PORT+1, /echo and PORT+2
// What was moved is counted in DIRECTORY/counters, for the driver to read at any time. Prints
// "ready" when it listens; ends when killed.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHUNK           (256 * 1024)
#define CHUNKS_PER_TURN 8
#define BACKLOG         4096

enum kind { SINK, SOURCE, ECHO, KINDS };

static const char *const names[KINDS] = {"sink", "source", "echo"};

struct counters { // shared with the driver
    uint64_t sunk, sourced, accepted, closed;
};

static volatile struct counters *counters;
static char buffer[CHUNK];

_Noreturn static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

// What epoll hands back: the descriptor, its kind, and whether it is a listener.
static uint64_t
tag(int fd, enum kind kind, bool listens)
{
    return (uint64_t)(unsigned)fd << 8 | (uint64_t)kind << 1 | listens;
}

static void
watch(int epoll, int fd, enum kind kind, bool listens)
{
    struct epoll_event e = {.events = kind == SOURCE && !listens ? EPOLLOUT : EPOLLIN,
                            .data.u64 = tag(fd, kind, listens)};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        fail("epoll_ctl");
}

static void
listen_both(int epoll, const char *directory, uint16_t port, enum kind kind)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", directory, names[kind]);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || listen(fd, BACKLOG) < 0)
        fail(un.sun_path);
    watch(epoll, fd, kind, true);

    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)(port + kind)),
                             .sin_addr.s_addr = htonl(INADDR_ANY)};
    int one = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, BACKLOG) < 0)
        fail("tcp");
    watch(epoll, fd, kind, true);
}

static void
accept_all(int epoll, int listener, enum kind kind)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); // fails on Unix sockets
        counters->accepted++;
        watch(epoll, fd, kind, false);
    }
}

static bool
sink(int fd)
{
    for (int i = 0; i < CHUNKS_PER_TURN; i++) {
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        counters->sunk += (uint64_t)n;
        if ((size_t)n < sizeof(buffer))
            break;
    }
    return true;
}

static bool
source(int fd)
{
    for (int i = 0; i < CHUNKS_PER_TURN; i++) {
        ssize_t n = write(fd, buffer, sizeof(buffer));
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        counters->sourced += (uint64_t)n;
        if ((size_t)n < sizeof(buffer))
            break;
    }
    return true;
}

static bool
echo(int fd)
{
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    return write(fd, buffer, (size_t)n) == n; // asked for little, one at a time
}

static void
serve(int epoll, const struct epoll_event *e)
{
    int fd = (int)(e->data.u64 >> 8);
    enum kind kind = (enum kind)(e->data.u64 >> 1 & 3);
    if (e->data.u64 & 1) {
        accept_all(epoll, fd, kind);
        return;
    }
    bool stays = kind == SINK ? sink(fd) : kind == SOURCE ? source(fd) : echo(fd);
    if (stays && !(e->events & EPOLLERR))
        return;
    counters->closed++;
    close(fd);
}

int
main(int argc, char **argv)
{
    char path[256];
    if (argc != 3) {
        fprintf(stderr, "service: see the head of service.c\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    snprintf(path, sizeof(path), "%s/counters", argv[1]);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ftruncate(file, sizeof(struct counters)) < 0)
        fail(path);
    counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED)
        fail("mmap");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (enum kind kind = SINK; kind < KINDS; kind++)
        listen_both(epoll, argv[1], (uint16_t)atoi(argv[2]), kind);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++)
            serve(epoll, &events[i]);
    }
}
