// SPDX-License-Identifier: BSD-3-Clause
// Where links come from: connects that are decided late or refused, a listener, an inherited
// descriptor, and the pace of it all.
#include "test.h"

#include "base/log.h"
#include "broker/link_source.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct bench {
    struct loop *loop;
    struct link_spec spec;
    struct link_source *source;
    int links;
    int last_fd;
    int exhausted;
    int warnings;
    char log[4096];
};

static void
on_link(void *ctx, int fd)
{
    struct bench *b = ctx;
    b->links++;
    b->last_fd = fd;
}

static void
on_exhausted(void *ctx)
{
    ((struct bench *)ctx)->exhausted++;
}

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    struct bench *b = ctx;
    size_t len = strlen(b->log);
    snprintf(b->log + len, sizeof(b->log) - len, "%s\n", line);
    b->warnings += level == LOG_WARN;
}

static const struct link_source_events events = {on_link, on_exhausted, NULL};

static void
setup(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    b->spec = (struct link_spec){.kind = LINK_STREAM, .fd = -1};
    b->loop = loop_new();
    log_set_sink(on_log, b);
    log_set_level(LOG_INFO);
}

static void
start(struct bench *b)
{
    struct error err = {{0}};
    b->source = link_source_new(b->loop, "vm1", &b->spec, &events, b, &err);
    if (!b->source)
        fail_msg("%s", err.text);
    link_source_next(b->source);
}

static void
teardown(struct bench *b)
{
    link_source_free(b->source);
    loop_free(b->loop);
    log_set_sink(NULL, NULL);
}

// Turns until there were n links; how long that took, in ms.
static int
until_links(struct bench *b, int n)
{
    uint64_t start_us = loop_clock_us();
    while (b->links < n && loop_clock_us() - start_us < 5000000)
        loop_turn(b->loop, 10);
    assert_int_equal(b->links, n);
    return (int)((loop_clock_us() - start_us) / 1000);
}

static void
turns(struct bench *b, int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    while (loop_clock_us() < end)
        loop_turn(b->loop, 5);
}

// A TCP port of 127.0.0.1 with or without somebody who listens.
static int
tcp_port(struct bench *b)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(b->spec.addr.host, sizeof(b->spec.addr.host), "127.0.0.1");
    snprintf(b->spec.addr.port, sizeof(b->spec.addr.port), "%u", ntohs(sa.sin_port));
    return fd;
}

TEST(tcp_peer_is_connected)
{
    struct bench b;
    setup(&b);
    int l = tcp_port(&b);
    assert_int_equal(listen(l, 4), 0);
    start(&b);
    assert_in_range(until_links(&b, 1), 0, 500);
    int peer = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(write(b.last_fd, "x", 1), 1);
    char byte;
    assert_int_equal(read(peer, &byte, 1), 1);
    close(peer);
    close(b.last_fd);
    close(l);
    teardown(&b);
}

TEST(absent_tcp_peer_is_tried_each_second_and_logged_once)
{
    struct bench b;
    setup(&b);
    int l = tcp_port(&b);
    start(&b);
    turns(&b, 2200);
    assert_int_equal(b.links, 0);
    assert_int_equal(b.warnings, 1);
    assert_non_null(strstr(b.log, "vm1: link stream,"));
    assert_non_null(strstr(b.log, "Connection refused, trying again each second"));
    assert_int_equal(listen(l, 4), 0);
    assert_in_range(until_links(&b, 1), 0, 1100);
    close(b.last_fd);
    close(l);
    teardown(&b);
}

TEST(first_attempt_is_at_once_the_next_a_second_after_the_last)
{
    struct bench b;
    setup(&b);
    int l = tcp_port(&b);
    assert_int_equal(listen(l, 4), 0);
    start(&b);
    assert_in_range(until_links(&b, 1), 0, 500);
    close(b.last_fd);
    link_source_next(b.source);
    assert_in_range(until_links(&b, 2), 800, 1300);
    close(b.last_fd);
    turns(&b, 1100);
    link_source_next(b.source);
    assert_in_range(until_links(&b, 3), 0, 500);
    close(b.last_fd);
    close(l);
    teardown(&b);
}

static int
client_of(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

TEST(listener_gives_one_link_each_time_it_is_asked)
{
    struct bench b;
    setup(&b);
    b.spec.server = true;
    snprintf(b.spec.path, sizeof(b.spec.path), "/tmp/test-link-source-%d", (int)getpid());
    start(&b);
    int first = client_of(b.spec.path), second = client_of(b.spec.path);
    until_links(&b, 1);
    turns(&b, 50);
    assert_int_equal(b.links, 1);
    close(b.last_fd);
    link_source_next(b.source);
    assert_in_range(until_links(&b, 2), 0, 500); // not paced: who connects does that
    close(b.last_fd);
    close(first);
    close(second);
    teardown(&b);
    assert_int_not_equal(access(b.spec.path, F_OK), 0);
}

TEST(listener_without_descriptors_rests_and_recovers)
{
    struct bench b;
    struct rlimit was, tight;
    setup(&b);
    b.spec.server = true;
    snprintf(b.spec.path, sizeof(b.spec.path), "/tmp/test-link-source-%d", (int)getpid());
    start(&b);
    int peer = client_of(b.spec.path);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    tight = (struct rlimit){(rlim_t)next, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    uint64_t end = loop_clock_us() + 300000;
    int busy = 0;
    for (; loop_clock_us() < end; busy++)
        loop_turn(b.loop, 50);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_in_range(busy, 1, 20); // no spin
    assert_int_equal(b.warnings, 1);
    until_links(&b, 1);
    close(b.last_fd);
    close(peer);
    teardown(&b);
}

TEST(inherited_stream_is_given_once)
{
    struct bench b;
    int sv[2];
    setup(&b);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    b.spec.fd = sv[0];
    start(&b);
    assert_int_equal(b.links, 1);
    assert_int_equal(b.exhausted, 0);
    close(b.last_fd);
    link_source_next(b.source);
    assert_int_equal(b.links, 1);
    assert_int_equal(b.exhausted, 1);
    close(sv[1]);
    teardown(&b);
}

TEST(inherited_descriptor_of_another_kind_is_refused_at_the_start)
{
    struct bench b;
    struct error err = {{0}};
    setup(&b);
    b.spec.kind = LINK_TAP;
    b.spec.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_null(link_source_new(b.loop, "vm1", &b.spec, &events, &b, &err));
    assert_non_null(strstr(err.text, "not a queue of a tap interface"));
    teardown(&b);
}

TEST(inherited_queue_is_given_again_until_it_is_broken)
{
    struct bench b;
    setup(&b);
    b.spec.kind = LINK_PACKET;
    b.spec.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); // of no protocol: it hears nothing
    if (b.spec.fd < 0 && errno == EPERM) {
        teardown(&b);
        skip(); // not root
    }
    start(&b);
    assert_int_equal(b.links, 1);
    close(b.last_fd);
    link_source_pause(b.source); // a worker died
    link_source_next(b.source);
    if (b.links == 1)
        until_links(&b, 2);
    close(b.last_fd);
    link_source_broken(b.source);
    link_source_next(b.source);
    turns(&b, 20);
    assert_int_equal(b.exhausted, 1);
    teardown(&b);
}

TEST(paused_source_stays_silent)
{
    struct bench b;
    setup(&b);
    int l = tcp_port(&b);
    start(&b);
    turns(&b, 50);
    link_source_pause(b.source);
    assert_int_equal(listen(l, 4), 0);
    turns(&b, 1300);
    assert_int_equal(b.links, 0);
    link_source_next(b.source);
    until_links(&b, 1);
    close(b.last_fd);
    close(l);
    teardown(&b);
}

// --- connects that are not decided at once -------------------------------------------------------

// Somebody listens, and has a full queue: what else connects is neither taken nor refused.
static int
full_listener(struct bench *b, int fillers[2])
{
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    int l = tcp_port(b);
    assert_int_equal(listen(l, 0), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
    for (int i = 0; i < 2; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fillers[i], (struct sockaddr *)&sa, len);
    }
    return l;
}

static void
take_all(int l, int fillers[2])
{
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? accept4(l, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0)
            close(fd);
        close(fillers[i]);
    }
}

TEST(connect_that_takes_its_time_is_a_link)
{
    struct bench b;
    int fillers[2];
    setup(&b);
    int l = full_listener(&b, fillers);
    start(&b);
    turns(&b, 50);
    assert_int_equal(b.links, 0);
    take_all(l, fillers);
    until_links(&b, 1);
    close(b.last_fd);
    close(l);
    teardown(&b);
}

TEST(connect_that_is_refused_late_is_tried_again)
{
    struct bench b;
    int fillers[2];
    setup(&b);
    int l = full_listener(&b, fillers);
    start(&b);
    turns(&b, 50);
    take_all(l, fillers);
    close(l);
    for (int i = 0; i < 800 && b.warnings == 0; i++)
        turns(&b, 5);
    assert_int_equal(b.warnings, 1);
    assert_non_null(strstr(b.log, "Connection refused"));
    assert_int_equal(b.links, 0);
    teardown(&b);
}

TEST(connect_that_nobody_answers_is_given_up)
{
    struct bench b;
    int fillers[2];
    setup(&b);
    int l = full_listener(&b, fillers);
    start(&b);
    link_source_next(b.source); // again: nothing more
    for (int i = 0; i < 1300 && b.warnings == 0; i++)
        turns(&b, 5);
    assert_non_null(strstr(b.log, "timed out"));
    link_source_pause(b.source); // with the next one under way, or before it
    take_all(l, fillers);
    close(l);
    teardown(&b);
}

TEST(pause_ends_a_connect)
{
    struct bench b;
    int fillers[2];
    setup(&b);
    int l = full_listener(&b, fillers);
    start(&b);
    link_source_pause(b.source);
    take_all(l, fillers);
    turns(&b, 1200);
    assert_int_equal(b.links, 0);
    close(l);
    teardown(&b);
}
