// SPDX-License-Identifier: BSD-3-Clause
// What the tests of the splice relay share: a loop, relays between a guest's TCP connection and a
// host's Unix one, and the two programs at their far ends, which send and check a known stream of
// bytes without ever blocking. All in one thread; nothing here belongs to the relay.
#pragma once

#include "test.h"

#include "channel/splice.h"
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIG_RELAYS_MAX 256 // of one loop, at once

// A program at the far end of a relay.
struct program {
    int fd;
    uint32_t seed; // of what it sends
    size_t to_send;
    size_t sent;
    bool stalled;     // does not read
    uint32_t expects; // seed of what it must receive
    size_t received;
    bool eof;  // read end of file
    int error; // errno of the first failed read or write
};

struct relay {
    struct splice *splice;
    struct program guest; // TCP
    struct program host;  // Unix
    int done;             // calls of on_done
};

struct rig {
    struct loop *loop;
    struct ring_pool kept;
    unsigned turns;
};

// Byte number `at` of the stream `seed`.
static inline uint8_t
stream_byte(uint32_t seed, size_t at)
{
    return (uint8_t)((((uint32_t)at + seed) * 2654435761u) >> 23);
}

static inline void
rig_init(struct rig *rig)
{
    signal(SIGPIPE, SIG_IGN);
    *rig = (struct rig){.loop = loop_new()};
    assert_non_null(rig->loop);
    assert_int_equal(ring_pool_init(&rig->kept, 2 * RIG_RELAYS_MAX, SPLICE_KEPT_BYTES), 0);
}

static inline void
rig_fini(struct rig *rig)
{
    loop_turn(rig->loop, 0); // deferred frees
    loop_free(rig->loop);
    assert_int_equal(rig->kept.free_count, rig->kept.slots);
    ring_pool_fini(&rig->kept);
}

static inline void
tcp_pair(int pair[2])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(pair[0], (struct sockaddr *)&sa, sizeof sa), 0);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(pair[1] >= 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    close(listener);
}

static inline void
unix_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static inline void
relay_on_done(void *ctx)
{
    struct relay *r = ctx;
    r->done++;
    r->splice = NULL;
}

// The programs start with nothing to send, each expecting what the other would.
static inline void
relay_init(struct relay *r, struct rig *rig, uint32_t seed)
{
    int guest[2], host[2];
    tcp_pair(guest);
    unix_pair(host);
    *r = (struct relay){
        .guest = {.fd = guest[0], .seed = seed, .expects = seed + 1},
        .host = {.fd = host[0], .seed = seed + 1, .expects = seed},
    };
    r->splice = splice_new(rig->loop, &rig->kept, guest[1], host[1], relay_on_done, r);
    assert_non_null(r->splice);
}

static inline void
program_close(struct program *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

// A TCP program that dies with SO_LINGER 0.
static inline void
program_reset(struct program *p)
{
    splice_reset_fd(p->fd);
    p->fd = -1;
}

static inline void
relay_fini(struct relay *r)
{
    program_close(&r->guest);
    program_close(&r->host);
    if (r->splice)
        splice_free(r->splice);
}

static inline bool
program_failed(struct program *p, ssize_t n)
{
    if (n >= 0)
        return false;
    if (errno != EAGAIN && p->error == 0)
        p->error = errno;
    return true;
}

// Sends and receives what can be without blocking, in pieces of uneven size.
static inline void
program_run(struct program *p)
{
    uint8_t buf[70001];
    while (p->fd >= 0 && p->sent < p->to_send && !p->error) {
        size_t len = 1 + (p->sent * 7919 + p->seed) % sizeof buf;
        if (len > p->to_send - p->sent)
            len = p->to_send - p->sent;
        for (size_t i = 0; i < len; i++)
            buf[i] = stream_byte(p->seed, p->sent + i);
        ssize_t n = send(p->fd, buf, len, MSG_NOSIGNAL);
        if (program_failed(p, n))
            break;
        p->sent += (size_t)n;
    }
    while (p->fd >= 0 && !p->stalled && !p->eof && !p->error) {
        ssize_t n = recv(p->fd, buf, sizeof buf, 0);
        if (program_failed(p, n))
            break;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] != stream_byte(p->expects, p->received + (size_t)i))
                fail_msg("byte %zu is wrong", p->received + (size_t)i);
        p->received += (size_t)n;
        p->eof = n == 0;
    }
}

static inline void
rig_step(struct rig *rig, struct relay *relays, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        program_run(&relays[i].guest);
        program_run(&relays[i].host);
    }
    rig->turns++;
    assert_int_equal(loop_turn(rig->loop, 1), 0);
}

// Runs one relay until the condition holds. The test's timeout ends what never does.
#define RUN_UNTIL(rig, relay, condition)                                                           \
    while (!(condition))                                                                           \
    rig_step(rig, relay, 1)

// Runs one relay for so long that whatever was going to happen has happened.
static inline void
rig_settle(struct rig *rig, struct relay *r)
{
    for (int i = 0; i < 60; i++)
        rig_step(rig, r, 1);
}
