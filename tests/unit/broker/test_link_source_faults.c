// SPDX-License-Identifier: BSD-3-Clause
// Where links come from, while one call after the other fails with each error it can have: it is
// told why, or a link comes, now or at the next attempt; no descriptor is left.
#include "test.h"

#include "broker/link_source.h"
#include "faults.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define USE_US 30000

struct bench {
    struct link_spec spec;
    struct loop *loop;
    char peer[64];
    bool wrong;
};

static void
on_link(void *ctx, int fd)
{
    struct bench *b = ctx;
    b->wrong |= fd < 0;
    close(fd);
}

static void
on_exhausted(void *ctx)
{
}

static const struct link_source_events events = {on_link, on_exhausted, NULL};

static void
turns(struct bench *b)
{
    uint64_t end = loop_clock_us() + USE_US;
    do
        loop_turn(b->loop, 1);
    while (loop_clock_us() < end);
}

// Somebody comes to our socket: connects, or sends a message, with a name to answer to.
static int
come(struct bench *b)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX}, own = {.sun_family = AF_UNIX};
    bool is_stream = b->spec.kind == LINK_STREAM;
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", b->spec.path);
    snprintf(own.sun_path, sizeof(own.sun_path), "%s", b->peer);
    if (!b->spec.path[0])
        return -1;
    int fd =
        socket(AF_UNIX, (is_stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && !is_stream)
        bind(fd, (struct sockaddr *)&own, sizeof(own));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && !is_stream)
        send(fd, "frame", 5, 0);
    return fd;
}

static enum faults_end
serve(void *ctx)
{
    struct bench *b = ctx;
    struct error err = {{0}};
    b->loop = loop_new();
    if (!b->loop)
        return FAULTS_FAILED;
    struct link_source *s = link_source_new(b->loop, "vm1", &b->spec, &events, b, &err);
    enum faults_end end = s ? FAULTS_WENT_WELL : faults_failed(&err);
    if (s) {
        if (b->spec.kind == LINK_PACKET)
            link_source_broken(s); // and is opened anew
        link_source_next(s);
        int fd = come(b);
        turns(b);
        if (fd >= 0)
            close(fd);
        unlink(b->peer);
        link_source_next(s);
        turns(b);
    }
    link_source_free(s);
    loop_free(b->loop);
    return b->wrong ? FAULTS_WRONG : end;
}

static void
remove_left(void *ctx, const char *failed_call)
{
    struct bench *b = ctx;
    char lock[128];
    snprintf(lock, sizeof(lock), "%s.lock", b->spec.path);
    if (b->spec.path[0])
        unlink(b->spec.path);
    unlink(lock);
    unlink(b->peer);
}

static void
try_all(struct bench *b)
{
    struct faults f = {.work = serve, .check = remove_left, .ctx = b, .errors = FAULTS_ALL};
    assert_true(faults_try_all(&f) > 10);
}

static struct bench
bench_of(enum link_kind kind, const char *name)
{
    struct bench b = {.spec = {.kind = kind, .fd = -1}};
    if (name)
        snprintf(b.spec.path, sizeof(b.spec.path), "/tmp/test-source-%s-%d", name, (int)getpid());
    snprintf(b.peer, sizeof(b.peer), "/tmp/test-source-peer-%d", (int)getpid());
    return b;
}

TEST(source_that_listens)
{
    struct bench b = bench_of(LINK_STREAM, "l");
    b.spec.server = true;
    try_all(&b);
}

TEST(source_of_datagrams)
{
    struct bench b = bench_of(LINK_MESSAGE, "d");
    b.spec.carrier = LINK_CARRIER_UNIX;
    try_all(&b);
}

TEST(source_that_connects_to_nobody)
{
    struct bench b = bench_of(LINK_STREAM, "n");
    try_all(&b);
}

// A listener with a full queue: a connect is under way.
TEST(source_whose_connect_takes_its_time)
{
    struct bench b = bench_of(LINK_STREAM, NULL);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fillers[2], l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(l, 0), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
    snprintf(b.spec.addr.host, sizeof(b.spec.addr.host), "127.0.0.1");
    snprintf(b.spec.addr.port, sizeof(b.spec.addr.port), "%u", ntohs(sa.sin_port));
    for (int i = 0; i < 2; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&sa, len);
    }
    try_all(&b);
    for (int i = 0; i < 2; i++)
        close(fillers[i]);
    close(l);
}

TEST(source_of_packets)
{
    struct bench b = bench_of(LINK_PACKET, NULL);
    if (geteuid() != 0)
        skip();
    snprintf(b.spec.ifname, sizeof(b.spec.ifname), "lo");
    try_all(&b);
}
