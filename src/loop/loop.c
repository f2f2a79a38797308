// SPDX-License-Identifier: BSD-3-Clause
// The event loop: epoll, timers on base/wheel, turn-end callbacks, deferred frees. Knows nothing
// about what its callers poll. The owner of a loop_io or a timer keeps it; the loop only calls.
#include "loop/loop.h"

#include "base/log.h"
#include "base/wheel.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64
#define TURN_END_MAX    4
#define TIMERS_AT_START 16
#define TIMER_NONE      UINT32_MAX
// So many short waits in a row before one is polled for: what comes now and then is slept for.
#define POLL_AFTER 4
// Moved within BULK_US, after which no wait is polled for.
#define BULK_BYTES (16u * 1024)
#define BULK_US    1000

struct timer {
    void (*on_timer)(void *ctx); // NULL: on the free list
    void *ctx;
    uint32_t next_free; // meaningful while free
};

struct turn_end {
    void (*fn)(void *ctx);
    void *ctx;
};

struct deferred {
    void (*fn)(void *ptr);
    void *ptr;
};

struct loop {
    int epoll_fd;
    uint64_t now_us;
    bool in_turn;
    bool stopping;

    // The batch being dispatched; loop_remove empties entries that are still to come.
    struct epoll_event events[EVENTS_PER_TURN];
    int event_count;
    int event_next;

    // Timer i is entry i of the wheel.
    struct wheel wheel;
    struct wheel_entry *entries;
    struct timer *timers;
    uint32_t timer_count; // length of both tables
    uint32_t free_timer;  // head of the free list
    bool in_timers;

    struct turn_end turn_ends[TURN_END_MAX];
    int turn_end_count;

    uint64_t poll_us;     // the longest poll; 0: none ever
    unsigned short_waits; // in a row, up to POLL_AFTER
    size_t moved;         // bytes, since moved_since_us
    uint64_t moved_since_us;
    bool moved_bulk; // in the BULK_US before that

    struct deferred *deferred;
    size_t deferred_count;
    size_t deferred_size;
};

static uint32_t
to_epoll(unsigned events)
{
    uint32_t e = 0;
    if (events & LOOP_READ)
        e |= EPOLLIN;
    if (events & LOOP_WRITE)
        e |= EPOLLOUT;
    if (events & LOOP_RDHUP)
        e |= EPOLLRDHUP;
    if (events & LOOP_URGENT)
        e |= EPOLLPRI;
    if (events & LOOP_EDGE)
        e |= EPOLLET;
    return e;
}

static unsigned
from_epoll(uint32_t e)
{
    unsigned events = 0;
    if (e & EPOLLIN)
        events |= LOOP_READ;
    if (e & EPOLLOUT)
        events |= LOOP_WRITE;
    if (e & EPOLLRDHUP)
        events |= LOOP_RDHUP;
    if (e & EPOLLPRI)
        events |= LOOP_URGENT;
    if (e & (EPOLLHUP | EPOLLERR))
        events |= LOOP_HANGUP;
    return events;
}

// Narrows what was fetched for io but not yet dispatched to `keep`; 0 forgets io altogether.
static void
narrow_fetched(struct loop *loop, const struct loop_io *io, uint32_t keep)
{
    for (int i = loop->event_next; i < loop->event_count; i++) {
        if (loop->events[i].data.ptr != io)
            continue;
        loop->events[i].events &= keep;
        if (loop->events[i].events == 0)
            loop->events[i].data.ptr = NULL;
    }
}

static void
dispatch_events(struct loop *loop)
{
    while (loop->event_next < loop->event_count) {
        struct epoll_event event = loop->events[loop->event_next++];
        struct loop_io *io = event.data.ptr;
        if (io)
            io->on_event(io->ctx, from_epoll(event.events));
    }
}

static void
dispatch_timers(struct loop *loop)
{
    uint32_t i;
    loop->in_timers = true;
    while ((i = wheel_pop(&loop->wheel, loop->now_us)) != WHEEL_NONE)
        loop->timers[i].on_timer(loop->timers[i].ctx);
    loop->in_timers = false;
}

static void
run_deferred(struct loop *loop)
{
    // By index: a free may defer another one and move the table.
    for (size_t i = 0; i < loop->deferred_count; i++) {
        struct deferred d = loop->deferred[i];
        d.fn(d.ptr);
    }
    loop->deferred_count = 0;
}

static bool
grow_timers(struct loop *loop)
{
    if (loop->timer_count > INT_MAX / 2)
        return false;
    uint32_t count = loop->timer_count ? loop->timer_count * 2 : TIMERS_AT_START;
    struct timer *timers = realloc(loop->timers, count * sizeof(*timers));
    if (!timers)
        return false;
    loop->timers = timers;
    struct wheel_entry *entries = calloc(count, sizeof(*entries));
    if (!entries)
        return false;
    if (loop->timer_count == 0) {
        wheel_init(&loop->wheel, entries, count, loop->now_us);
    } else {
        memcpy(entries, loop->entries, loop->timer_count * sizeof(*entries));
        wheel_grow(&loop->wheel, entries, count);
        free(loop->entries);
    }
    loop->entries = entries;
    for (uint32_t i = count; i-- > loop->timer_count;) {
        loop->timers[i] = (struct timer){.next_free = loop->free_timer};
        loop->free_timer = i;
    }
    loop->timer_count = count;
    return true;
}

static uint32_t
checked_timer(const struct loop *loop, int timer)
{
    assert(timer >= 0 && (uint32_t)timer < loop->timer_count && loop->timers[timer].on_timer);
    return (uint32_t)timer;
}

// epoll's timeout: no longer than the caller allows, nor past the next timer.
static int
wait_ms(const struct loop *loop, int timeout_ms, uint64_t now_us)
{
    uint64_t next = wheel_next(&loop->wheel);
    if (timeout_ms == 0 || next == WHEEL_NEVER)
        return timeout_ms;
    if (next <= now_us)
        return 0;
    // Rounded up, so that a timer under a millisecond away does not make the loop spin.
    uint64_t ms = (next - now_us + 999) / 1000;
    if (timeout_ms > 0 && ms > (uint64_t)timeout_ms)
        return timeout_ms;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static int
fetch(struct loop *loop, int timeout_ms)
{
    return epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, timeout_ms);
}

// Looks again and again, from start_us on. A look that took long was one of a process that others
// wanted the CPU of: polling is at their cost, and stops.
static int
poll_events(struct loop *loop, uint64_t start_us)
{
    uint64_t before_us = start_us, now_us;
    int n;
    while ((n = fetch(loop, 0)) == 0) {
        now_us = loop_clock_us();
        if (now_us - start_us >= loop->poll_us)
            break;
        if (now_us - before_us >= loop->poll_us / 2) {
            loop->short_waits = 0;
            break;
        }
        before_us = now_us;
    }
    return n;
}

// Whether much was moved in this millisecond or the last: by few turns, or by many that had little.
static bool
moves_bulk(struct loop *loop, uint64_t now_us)
{
    uint64_t age_us = now_us - loop->moved_since_us;
    if (age_us >= BULK_US) {
        loop->moved_bulk = loop->moved >= BULK_BYTES && age_us < 2 * BULK_US;
        loop->moved = 0;
        loop->moved_since_us = now_us;
    }
    return loop->moved_bulk || loop->moved >= BULK_BYTES;
}

// As epoll_wait. To sleep and be woken costs both sides more than a short wait, the waker most of
// all where the CPU that slept is a virtual one: so waits that have been short are polled for.
static int
wait_from(struct loop *loop, uint64_t start_us, int timeout_ms)
{
    if (moves_bulk(loop, start_us))
        loop->short_waits = 0;
    int n = loop->short_waits == POLL_AFTER ? poll_events(loop, start_us) : 0;
    return n ? n : fetch(loop, timeout_ms);
}

// Waits, and reads the clock for the turn.
static int
wait_for_events(struct loop *loop, int timeout_ms)
{
    uint64_t start_us = loop_clock_us();
    int wait = wait_ms(loop, timeout_ms, start_us);
    bool may_poll = wait != 0 && loop->poll_us > 0;
    int n = may_poll ? wait_from(loop, start_us, wait) : fetch(loop, wait);
    loop->now_us = loop_clock_us();
    if (may_poll && loop->now_us - start_us > loop->poll_us)
        loop->short_waits = 0;
    else if (may_poll && loop->short_waits < POLL_AFTER)
        loop->short_waits++;
    return n;
}

uint64_t
loop_clock_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

struct loop *
loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return NULL;
    loop->now_us = loop_clock_us();
    loop->free_timer = TIMER_NONE;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0 || !grow_timers(loop)) {
        loop_free(loop);
        return NULL;
    }
    return loop;
}

void
loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(!loop->in_turn);
    run_deferred(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop->deferred);
    free(loop->timers);
    free(loop->entries);
    free(loop);
}

int
loop_add(struct loop *loop, struct loop_io *io, unsigned events)
{
    struct epoll_event event = {.events = to_epoll(events), .data.ptr = io};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &event) ? -errno : 0;
}

void
loop_modify(struct loop *loop, struct loop_io *io, unsigned events)
{
    struct epoll_event event = {.events = to_epoll(events), .data.ptr = io};
    int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &event);
    assert(rc == 0); // not added, or closed while added: our bug
    narrow_fetched(loop, io, event.events | EPOLLHUP | EPOLLERR);
}

void
loop_remove(struct loop *loop, struct loop_io *io)
{
    int rc = epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    assert(rc == 0);
    narrow_fetched(loop, io, 0);
}

int
loop_timer_new(struct loop *loop, void (*on_timer)(void *ctx), void *ctx)
{
    assert(on_timer);
    if (loop->free_timer == TIMER_NONE && !grow_timers(loop))
        return -1;
    uint32_t i = loop->free_timer;
    loop->free_timer = loop->timers[i].next_free;
    loop->timers[i] = (struct timer){.on_timer = on_timer, .ctx = ctx};
    return (int)i;
}

void
loop_timer_set(struct loop *loop, int timer, uint64_t deadline_us)
{
    uint32_t i = checked_timer(loop, timer);
    // What a timer sets for now waits for the next turn; else it could keep this one from ending.
    if (loop->in_timers && deadline_us <= loop->now_us)
        deadline_us = loop->now_us + 1;
    wheel_set(&loop->wheel, i, deadline_us);
}

void
loop_timer_clear(struct loop *loop, int timer)
{
    wheel_clear(&loop->wheel, checked_timer(loop, timer));
}

void
loop_timer_free(struct loop *loop, int timer)
{
    if (timer < 0)
        return;
    uint32_t i = checked_timer(loop, timer);
    wheel_clear(&loop->wheel, i);
    loop->timers[i] = (struct timer){.next_free = loop->free_timer};
    loop->free_timer = i;
}

void
loop_on_turn_end(struct loop *loop, void (*on_turn_end)(void *ctx), void *ctx)
{
    assert(loop->turn_end_count < TURN_END_MAX);
    loop->turn_ends[loop->turn_end_count++] = (struct turn_end){on_turn_end, ctx};
}

void
loop_defer(struct loop *loop, void (*fn)(void *), void *ptr)
{
    if (loop->deferred_count == loop->deferred_size) {
        size_t size = loop->deferred_size ? loop->deferred_size * 2 : 64;
        struct deferred *grown = realloc(loop->deferred, size * sizeof(*grown));
        if (!grown) {
            // Freeing it now would pull it from under its own callback; a leak is the lesser harm.
            log_error("loop: out of memory, an object is not freed");
            return;
        }
        loop->deferred = grown;
        loop->deferred_size = size;
    }
    loop->deferred[loop->deferred_count++] = (struct deferred){fn, ptr};
}

void
loop_set_poll(struct loop *loop, uint32_t poll_us)
{
    loop->poll_us = poll_us;
}

void
loop_moved(struct loop *loop, size_t bytes)
{
    loop->moved += bytes;
}

uint64_t
loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

int
loop_fd(const struct loop *loop)
{
    return loop->epoll_fd;
}

uint64_t
loop_next_deadline(const struct loop *loop)
{
    return wheel_next(&loop->wheel);
}

int
loop_turn(struct loop *loop, int timeout_ms)
{
    assert(!loop->in_turn);
    // An object may be waiting to be freed from outside of a turn: do not sleep on it.
    int n = wait_for_events(loop, loop->deferred_count ? 0 : timeout_ms);
    if (n < 0 && errno != EINTR)
        return -errno;
    loop->in_turn = true;
    loop->event_next = 0;
    loop->event_count = n < 0 ? 0 : n;
    dispatch_events(loop);
    dispatch_timers(loop);
    for (int i = 0; i < loop->turn_end_count; i++)
        loop->turn_ends[i].fn(loop->turn_ends[i].ctx);
    run_deferred(loop);
    loop->in_turn = false;
    return 0;
}

int
loop_run(struct loop *loop)
{
    int rc = 0;
    while (!loop->stopping && rc == 0)
        rc = loop_turn(loop, -1);
    loop->stopping = false;
    return rc;
}

void
loop_stop(struct loop *loop)
{
    loop->stopping = true;
}
