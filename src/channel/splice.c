// SPDX-License-Identifier: BSD-3-Clause
// The relay of a socket link: two sockets. Each direction (a flow) moves bytes until its source is
// empty, its sink is full, or its share of the turn is used up; how it moves them is
// splice_flow.c's. Which bytes, who may connect and what a session is called are the hub's
// business; the hub calls this once per accepted guest socket and hears of it again when both are
// closed.
//
// A side breaks when its socket reports an error. What its peer sent before is still delivered,
// then the other side is reset. A relay that waits for that, or whose one end is gone for both
// ways, is given GIVE_UP_US without progress.
#include "channel/splice.h"

#include "channel/splice_flow.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef GIVE_UP_US // a test cannot wait for a minute
#define GIVE_UP_US (60 * UINT64_C(1000000))
#endif
#define POLL_MIN_US UINT64_C(1000)
#define POLL_MAX_US UINT64_C(100000)

#define EVENTS (LOOP_READ | LOOP_WRITE | LOOP_RDHUP | LOOP_URGENT | LOOP_EDGE)

enum { GUEST, HOST };

struct splice {
    struct loop *loop;
    struct splice_side sides[2]; // GUEST, HOST
    struct splice_flow flows[2]; // GUEST: what the guest sends; HOST: what the host sends
    void (*on_done)(void *ctx);
    void *ctx;
    struct limit_member *limit; // NULL: none

    // While something must end that does not end by itself.
    int timer;
    bool timed;        // the timer is armed for give_up_us, or for a look at the send queue before
    bool moved;        // bytes moved in this run
    uint64_t moved_us; // when they last did
    uint64_t give_up_us; // when timed
    uint64_t poll_us;    // until the next look at a send queue
    uint32_t unsent;     // bytes in that queue at the last look
};

void
splice_reset_fd(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

// Takes the relay apart, up to the two sockets.
static void
dismantle(struct splice *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->sides[i].watched)
            loop_remove(s->loop, &s->sides[i].io);
        splice_flow_fini(&s->flows[i]);
    }
    limit_leave(s->limit);
    if (s->timer >= 0)
        loop_timer_free(s->loop, s->timer);
    loop_defer(s->loop, free, s); // a callback of ours may be on the stack
}

void
splice_free(struct splice *s)
{
    dismantle(s);
    for (int i = 0; i < 2; i++)
        splice_reset_fd(s->sides[i].io.fd);
}

void
splice_count(struct splice *s, uint64_t *from_guest, uint64_t *to_guest)
{
    s->flows[GUEST].bytes = from_guest;
    s->flows[HOST].bytes = to_guest;
}

uint64_t
splice_moved_us(const struct splice *s)
{
    return limit_holds(s->limit) ? loop_now_us(s->loop) : s->moved_us;
}

bool
splice_guest_has_finished(const struct splice *s)
{
    return s->flows[GUEST].done;
}

static void
finish(struct splice *s)
{
    dismantle(s);
    for (int i = 0; i < 2; i++)
        close(s->sides[i].io.fd);
    s->on_done(s->ctx);
}

static void
finish_by_reset(struct splice *s)
{
    splice_free(s);
    s->on_done(s->ctx);
}

// Asks for the events that hold now once more, so that a flow which stopped with work left goes on
// in the next turn, behind everybody else who is ready.
static void
rearm(struct splice_side *side)
{
    loop_modify(side->owner->loop, &side->io, EVENTS);
}

static void
flow_run(struct splice *s, int from)
{
    struct splice_flow *f = &s->flows[from];
    struct splice_side *source = &s->sides[from], *sink = &s->sides[!from];

    size_t moved = 0;
    while (!f->done && !sink->broken) {
        size_t n = splice_flow_step(f, source, sink, moved);
        if (n == 0)
            break;
        moved += n;
    }
    bool held = s->limit && limit_is_waiting(s->limit, f->way); // goes on when it may
    if (s->limit)
        limit_rest(s->limit, f->way);
    s->moved |= moved > 0 || held; // what waits for its turn is no less alive
    loop_moved(s->loop, moved);

    if (f->done)
        return;
    if (sink->broken) {
        f->done = true;
        return;
    }
    if (f->in_pipe > 0 || f->kept.used > 0) {
        if (sink->writable)
            rearm(sink);
        return;
    }
    if (!f->ended) {
        if (source->readable && !held && (f->pipe[0] >= 0 || sink->writable))
            rearm(source);
        return;
    }
    if (!source->broken)
        shutdown(sink->io.fd, SHUT_WR);
    f->done = true;
}

// Bytes that the peer of a TCP side has not acknowledged; a reset would drop them. On a Unix socket
// they stand in the peer's own queue already.
static uint32_t
side_unsent(const struct splice_side *side)
{
    int n = 0;
    if (!side->tcp || side->broken || ioctl(side->io.fd, SIOCOUTQ, &n) < 0 || n < 0)
        return 0;
    return (uint32_t)n;
}

// Gives the relay GIVE_UP_US from now, or from the last progress.
static void
give_time(struct splice *s)
{
    if (s->timed && !s->moved)
        return;
    s->timed = true;
    s->give_up_us = loop_now_us(s->loop) + GIVE_UP_US;
    loop_timer_set(s->loop, s->timer, s->give_up_us);
}

// No event tells that a send queue ran empty, so it is looked at.
static void
poll_unsent(struct splice *s, uint32_t unsent)
{
    if (unsent != s->unsent || s->poll_us == 0)
        s->poll_us = POLL_MIN_US;
    else if (s->poll_us < POLL_MAX_US)
        s->poll_us *= 2;
    s->moved |= unsent != s->unsent;
    s->unsent = unsent;
    give_time(s);
    loop_timer_set(s->loop, s->timer, loop_now_us(s->loop) + s->poll_us);
}

// Ends the relay if nothing is left to do, or sees to it that it will end.
static void
settle(struct splice *s)
{
    const struct splice_flow *flows = s->flows;
    const struct splice_side *sides = s->sides;

    if (!sides[GUEST].broken && !sides[HOST].broken) {
        if (flows[GUEST].done && flows[HOST].done)
            return finish(s);
        // An end that is gone said goodbye already; the other one may forget to.
        for (int i = 0; i < 2; i++)
            if (sides[i].hangup && flows[i].done)
                give_time(s);
        return;
    }
    if (sides[GUEST].broken && sides[HOST].broken)
        return finish_by_reset(s);

    int from = sides[GUEST].broken ? GUEST : HOST;
    if (!flows[from].done)
        return give_time(s);
    uint32_t unsent = side_unsent(&sides[!from]);
    if (unsent == 0)
        return finish_by_reset(s);
    poll_unsent(s, unsent);
}

static void
run(struct splice *s)
{
    s->moved = false;
    flow_run(s, GUEST);
    flow_run(s, HOST);
    if (s->sides[GUEST].broken)
        flow_run(s, GUEST); // the line above may have found out
    if (s->moved)
        s->moved_us = loop_now_us(s->loop);
    settle(s);
}

static void
on_timer(void *ctx)
{
    struct splice *s = ctx;
    if (loop_now_us(s->loop) >= s->give_up_us && !limit_holds(s->limit))
        return finish_by_reset(s);
    run(s);
}

static void
on_grant(void *ctx)
{
    run(ctx);
}

static void
on_event(void *ctx, unsigned events)
{
    struct splice_side *side = ctx;
    if (events & (LOOP_RDHUP | LOOP_HANGUP | LOOP_URGENT))
        side->reads_end_early = true;
    if (events & (LOOP_READ | LOOP_RDHUP | LOOP_HANGUP))
        side->readable = true;
    if (events & (LOOP_WRITE | LOOP_HANGUP))
        side->writable = true;
    if (events & LOOP_HANGUP) {
        // Asked here, for a read after FIN would give end of file in its place, and a flow that
        // does not read would not hear of it.
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(side->io.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        side->hangup = true;
        if (error)
            splice_side_break(side);
    }
    run(side->owner);
}

static void
side_init(struct splice_side *side, struct splice *owner, int fd)
{
    *side = (struct splice_side){.io = {fd, on_event, side}, .owner = owner};

    int protocol = 0;
    socklen_t len = sizeof protocol;
    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len);
    side->tcp = protocol == IPPROTO_TCP;
    if (side->tcp) // a relay adds no delay of its own
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

struct splice *
splice_new(struct loop *loop, struct ring_pool *pool, int guest_fd, int host_fd,
           void (*on_done)(void *ctx), void *ctx)
{
    struct splice *s = malloc(sizeof *s);
    if (!s) {
        splice_reset_fd(guest_fd);
        close(host_fd);
        return NULL;
    }
    *s = (struct splice){
        .loop = loop,
        .on_done = on_done,
        .moved_us = loop_now_us(loop),
        .ctx = ctx,
        .timer = loop_timer_new(loop, on_timer, s),
    };
    for (int i = 0; i < 2; i++)
        splice_flow_init(&s->flows[i], pool);
    side_init(&s->sides[GUEST], s, guest_fd);
    side_init(&s->sides[HOST], s, host_fd);

    bool ok = s->timer >= 0;
    for (int i = 0; i < 2 && ok; i++)
        ok = s->sides[i].watched = loop_add(loop, &s->sides[i].io, EVENTS) == 0;
    if (!ok) {
        splice_free(s);
        return NULL;
    }
    return s;
}

bool
splice_limit(struct splice *s, struct limit *limit)
{
    s->limit = limit_join(limit, on_grant, s);
    s->flows[GUEST].limit = s->flows[HOST].limit = s->limit;
    s->flows[GUEST].way = LIMIT_TO_HOST;
    s->flows[HOST].way = LIMIT_TO_GUEST;
    return s->limit != NULL;
}
