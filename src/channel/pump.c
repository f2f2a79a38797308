// SPDX-License-Identifier: BSD-3-Clause
// See pump.h. Each direction (a flow) moves bytes until its source is empty, its sink is full, or
// its share of the turn is used up. A pump that waits for one side to take its last bytes, or whose
// host end is gone both ways, is given GIVE_UP_US without progress.
#include "channel/pump.h"

#include "channel/end_io.h"
#include "channel/splice.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES (64 * 1024)
#define TURN_BYTES   (256 * 1024) // of one flow per callback; then the others have their turn
#ifndef GIVE_UP_US                // a test cannot wait for a minute
#define GIVE_UP_US (60 * UINT64_C(1000000))
#endif
#define POLL_MIN_US UINT64_C(1000)
#define POLL_MAX_US UINT64_C(100000)

struct flow {
    uint8_t bytes[BUFFER_BYTES];
    size_t at, len; // read and not yet written: len bytes from `at` on
    bool ended;     // the source has given its last byte
    bool done;      // and the sink was told
};

struct pump {
    struct loop *loop;
    struct pump_events events;

    struct loop_io guest;
    bool guest_added; // to the loop
    bool guest_readable, guest_writable;
    bool guest_broken; // by an error, or reset by the guest

    struct end_io host;
    bool host_readable, host_writable;
    bool host_hangup; // both directions are gone
    bool host_failed; // by an error: the guest is reset after what was read before
    bool draining;    // what can be read now is all that the host end will ever give

    struct flow to_host, to_guest;
    struct limit_member *limit; // NULL: none

    // While something must end that does not end by itself, or goes on without an event.
    int timer;
    bool moved;        // bytes moved in this run
    uint64_t moved_us; // when they last did
    bool timed;
    uint64_t give_up_us; // when timed
    uint64_t poll_us;
};

// --- the end of a pump ---------------------------------------------------------------------------

static void
dismantle(struct pump *p)
{
    if (p->guest_added)
        loop_remove(p->loop, &p->guest);
    end_io_stop(&p->host, p->loop);
    host_end_close(&p->host.end);
    limit_leave(p->limit);
    if (p->timer >= 0)
        loop_timer_free(p->loop, p->timer);
    loop_defer(p->loop, free, p); // a callback of ours may be on the stack
}

void
pump_free(struct pump *p)
{
    dismantle(p);
    splice_reset_fd(p->guest.fd);
}

uint64_t
pump_moved_us(const struct pump *p)
{
    return limit_holds(p->limit) ? loop_now_us(p->loop) : p->moved_us;
}

bool
pump_guest_has_finished(const struct pump *p)
{
    return p->to_host.done || p->host_failed;
}

static void
finish(struct pump *p)
{
    dismantle(p);
    close(p->guest.fd);
    p->events.on_done(p->events.ctx);
}

static void
finish_by_reset(struct pump *p)
{
    pump_free(p);
    p->events.on_done(p->events.ctx);
}

// How much may be read; 0: the pump waits for its turn.
static size_t
may_take(struct pump *p, enum limit_way way)
{
    size_t may = p->limit ? limit_ask(p->limit, way) : BUFFER_BYTES;
    return may < BUFFER_BYTES ? may : BUFFER_BYTES;
}

// Whether a socket has given its last byte, which costs no token to hear.
static bool
has_ended(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

// --- guest -> host -------------------------------------------------------------------------------

static bool
read_guest(struct pump *p)
{
    struct flow *f = &p->to_host;
    if (f->len > 0 || f->ended || !p->guest_readable)
        return false;
    size_t may = may_take(p, LIMIT_TO_HOST);
    if (may == 0 && has_ended(p->guest.fd))
        may = 1;
    if (may > 0 && p->host.end.way == HOST_END_DATAGRAM)
        may = sizeof(f->bytes); // what comes at once is one datagram
    if (may == 0)
        return false;
    ssize_t n = recv(p->guest.fd, f->bytes, may, MSG_DONTWAIT);
    if (n > 0) {
        if (p->limit)
            limit_moved(p->limit, LIMIT_TO_HOST, (size_t)n);
        f->at = 0;
        f->len = (size_t)n;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN) {
        p->guest_readable = false;
        return false;
    }
    f->ended = true;
    p->guest_broken = n < 0;
    return false;
}

static void
host_write_failed(struct pump *p, int errnum)
{
    bool left = errnum == EPIPE || errnum == ECONNRESET;
    if (!left || p->host.end.way == HOST_END_FILE) // a client or a service may; not a pipe's reader
        p->events.on_fault(p->events.ctx, "connection reset", errnum);
    p->host_failed = true;
    p->host_writable = false;
    p->to_host.len = 0;
    p->to_host.done = true;
    bool ends_by_itself = p->host.end.way == HOST_END_SOCKET || p->host.end.way == HOST_END_CODEC;
    p->draining |= !ends_by_itself;
    p->host_readable = true;
}

static bool
write_host(struct pump *p)
{
    struct flow *f = &p->to_host;
    if (f->len == 0 || f->done || !p->host_writable)
        return false;
    const struct iovec iov = {f->bytes + f->at, f->len};
    ssize_t n = host_end_write(&p->host.end, &iov, 1);
    if (p->host.end.log_error) {
        p->events.on_fault(p->events.ctx, "logfile lacks some of the traffic",
                           p->host.end.log_error);
        p->host.end.log_error = 0;
    }
    if (n < 0 && (n != -EAGAIN || !p->host.out_polled)) {
        host_write_failed(p, (int)-n);
        return true;
    }
    if (n < (ssize_t)f->len && p->host.out_polled)
        p->host_writable = false;
    if (n <= 0)
        return false;
    f->at += (size_t)n;
    f->len -= (size_t)n;
    loop_moved(p->loop, (size_t)n);
    if (p->events.bytes_from_guest)
        *p->events.bytes_from_guest += (uint64_t)n;
    return true;
}

static void
flush_host(struct pump *p)
{
    if (!p->host.end.codec || !p->host_writable || p->host_failed)
        return;
    int rc = host_end_flush(&p->host.end);
    if (rc < 0 && rc != -EAGAIN)
        host_write_failed(p, -rc);
    p->host_writable = rc == 0;
}

static void
run_to_host(struct pump *p)
{
    struct flow *f = &p->to_host;
    flush_host(p);
    for (size_t total = 0; total < TURN_BYTES;) {
        bool moved = read_guest(p);
        size_t before = f->len;
        moved |= write_host(p);
        if (!moved)
            break;
        total += before - f->len;
        p->moved = true;
    }
    if (f->ended && f->len == 0 && !f->done && !p->guest_broken) {
        f->done = true;
        if (!host_end_shutdown(&p->host.end))
            p->draining = p->host_readable = true;
    }
}

// --- host -> guest -------------------------------------------------------------------------------

static bool
read_host(struct pump *p)
{
    struct flow *f = &p->to_guest;
    if (f->len > 0 || f->ended || !p->host_readable)
        return false;
    size_t may = may_take(p, LIMIT_TO_GUEST);
    if (may == 0 && p->host.end.way == HOST_END_SOCKET && has_ended(p->host.end.read_fd))
        may = 1;
    if (may == 0)
        return false;
    const struct iovec iov = {f->bytes, may};
    ssize_t n = host_end_read(&p->host.end, &iov, 1);
    if (p->host.end.codec && n != -EAGAIN && !p->host_failed)
        p->host_writable = true; // it may have opened the codec, or made it owe an answer
    if (n > 0) {
        if (p->limit)
            limit_moved(p->limit, LIMIT_TO_GUEST, (size_t)n);
        f->at = 0;
        f->len = (size_t)n;
        return true;
    }
    if (n == -EINTR)
        return true;
    if (n == -EAGAIN) {
        p->host_readable = false;
        f->ended = p->draining;
        return false;
    }
    f->ended = true;
    p->host_failed |= n < 0;
    return false;
}

static bool
write_guest(struct pump *p)
{
    struct flow *f = &p->to_guest;
    if (f->len == 0 || !p->guest_writable || p->guest_broken)
        return false;
    ssize_t n = send(p->guest.fd, f->bytes + f->at, f->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno != EAGAIN) {
        p->guest_broken = true;
        return false;
    }
    if (n < (ssize_t)f->len)
        p->guest_writable = false;
    if (n <= 0)
        return false;
    f->at += (size_t)n;
    f->len -= (size_t)n;
    loop_moved(p->loop, (size_t)n);
    if (p->events.bytes_to_guest)
        *p->events.bytes_to_guest += (uint64_t)n;
    return true;
}

static void
run_to_guest(struct pump *p)
{
    struct flow *f = &p->to_guest;
    for (size_t total = 0; total < TURN_BYTES; total += BUFFER_BYTES / 16) {
        bool moved = read_host(p);
        size_t before = f->len;
        moved |= write_guest(p);
        if (!moved)
            break;
        total += before - f->len;
        p->moved = true;
    }
    if (f->ended && f->len == 0 && !f->done && !p->host_failed && !p->guest_broken) {
        f->done = true;
        shutdown(p->guest.fd, SHUT_WR);
    }
}

// --- together ------------------------------------------------------------------------------------

// Whether a flow stopped in the middle because its share of the turn was used up.
static bool
has_more(const struct pump *p)
{
    const struct flow *h = &p->to_host, *g = &p->to_guest;
    bool h_may = !p->limit || !limit_is_waiting(p->limit, LIMIT_TO_HOST);
    bool g_may = !p->limit || !limit_is_waiting(p->limit, LIMIT_TO_GUEST);
    bool host =
        !h->done && p->host_writable && (h->len > 0 || (!h->ended && p->guest_readable && h_may));
    bool guest =
        !g->done && p->guest_writable && (g->len > 0 || (!g->ended && p->host_readable && g_may));
    return host || guest;
}

static void
give_time(struct pump *p, uint64_t poll_us)
{
    uint64_t now = loop_now_us(p->loop);
    if (!p->timed || p->moved)
        p->give_up_us = now + GIVE_UP_US;
    p->timed = true;
    loop_timer_set(p->loop, p->timer, poll_us ? now + poll_us : p->give_up_us);
}

// A reset drops what the guest has not acknowledged, and no event tells when it has: it is looked
// at.
static void
reset_guest_when_sent(struct pump *p)
{
    int unsent = 0;
    if (ioctl(p->guest.fd, SIOCOUTQ, &unsent) < 0 || unsent <= 0) {
        finish_by_reset(p);
        return;
    }
    if (p->poll_us < POLL_MAX_US)
        p->poll_us = p->poll_us ? p->poll_us * 2 : POLL_MIN_US;
    give_time(p, p->poll_us);
}

// Ends the pump if nothing is left to do, or sees to it that it will end.
static void
settle(struct pump *p)
{
    if (p->guest_broken) {
        finish_by_reset(p); // what it sent before was written, as far as the host end took it
        return;
    }
    if (p->to_guest.ended && p->to_guest.len == 0 && p->host_failed) {
        reset_guest_when_sent(p);
        return;
    }
    if (p->to_guest.done && p->to_host.done) {
        if (host_end_flush(&p->host.end) != -EAGAIN)
            finish(p);
        else
            give_time(p, 0);
        return;
    }
    if (has_more(p))
        loop_timer_set(p->loop, p->timer, loop_now_us(p->loop));
    else if (p->to_guest.done && (p->host_hangup || host_end_is_over(&p->host.end)))
        give_time(p, 0); // the guest may forget to say goodbye
}

static void
run(struct pump *p)
{
    p->moved = false;
    run_to_host(p);
    run_to_guest(p);
    if (p->limit) {
        limit_rest(p->limit, LIMIT_TO_HOST);
        limit_rest(p->limit, LIMIT_TO_GUEST);
        p->moved |= limit_holds(p->limit); // what waits for its turn is no less alive
    }
    if (p->moved)
        p->moved_us = loop_now_us(p->loop);
    settle(p);
}

static void
on_timer(void *ctx)
{
    struct pump *p = ctx;
    if (p->timed && loop_now_us(p->loop) >= p->give_up_us && !limit_holds(p->limit))
        finish_by_reset(p);
    else
        run(p);
}

static void
on_guest_event(void *ctx, unsigned events)
{
    struct pump *p = ctx;
    if (events & (LOOP_READ | LOOP_RDHUP | LOOP_HANGUP))
        p->guest_readable = true;
    if (events & (LOOP_WRITE | LOOP_HANGUP))
        p->guest_writable = true;
    if (events & LOOP_HANGUP) {
        // A flow that does not read would not hear of a reset.
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(p->guest.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            run_to_host(p);
            p->guest_broken = true;
        }
    }
    run(p);
}

static void
on_host_event(void *ctx, unsigned events)
{
    struct pump *p = ctx;
    if (events & (LOOP_READ | LOOP_RDHUP | LOOP_HANGUP))
        p->host_readable = true;
    if ((events & (LOOP_WRITE | LOOP_HANGUP)) && !p->to_host.done)
        p->host_writable = true;
    if ((events & LOOP_WRITE) && p->host.end.codec)
        p->host_writable = !p->host_failed;
    p->host_hangup |= (events & LOOP_HANGUP) != 0;
    run(p);
}

static void
on_grant(void *ctx)
{
    run(ctx);
}

struct pump *
pump_new(struct loop *loop, int guest_fd, const struct host_end *end,
         const struct pump_events *events)
{
    struct pump *p = calloc(1, sizeof(*p));
    if (!p) {
        struct host_end unused = *end;
        host_end_close(&unused);
        splice_reset_fd(guest_fd);
        return NULL;
    }
    p->loop = loop;
    p->events = *events;
    p->guest = (struct loop_io){guest_fd, on_guest_event, p};
    p->host.end = *end;
    p->moved_us = loop_now_us(loop);
    p->timer = loop_timer_new(loop, on_timer, p);
    if (events->limit)
        p->limit = limit_join(events->limit, on_grant, p);
    if (p->timer < 0 || (events->limit && !p->limit) ||
        end_io_start(&p->host, loop, on_host_event, p) < 0) {
        pump_free(p);
        return NULL;
    }
    p->guest_added =
        loop_add(loop, &p->guest, LOOP_READ | LOOP_WRITE | LOOP_RDHUP | LOOP_EDGE) == 0;
    if (!p->guest_added) {
        pump_free(p);
        return NULL;
    }
    // What is polled tells; what is not must be begun with.
    p->host_readable = !p->host.in_polled;
    p->host_writable = !p->host.out_polled;
    loop_timer_set(loop, p->timer, loop_now_us(loop));
    return p;
}
