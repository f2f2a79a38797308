// SPDX-License-Identifier: BSD-3-Clause
// See limit.h. A bucket and a queue for each direction. The queue's front is served when there is
// enough in the bucket to be worth the trouble, by a timer: a channel at its rate wakes us a
// hundred times per second, whatever the rate and however many wait.
#include "channel/limit.h"

#include "base/bucket.h"

#include <assert.h>
#include <stdlib.h>

#define ROUNDS_PER_S 100  // at most
#define SLOW_ROUNDS  10   // per second, of a rate at which the others would move SHARE_MIN or less
#define SHARE_MIN    1460 // bytes, where there are as many: a segment

struct share { // of a member, in one direction
    struct limit_member *next, *prev;
    size_t granted; // taken from the bucket, and not yet moved
    bool waiting;   // is in the queue
};

struct limit_member {
    struct limit *limit;
    void (*on_grant)(void *ctx);
    void *ctx;
    struct share shares[2]; // enum limit_way
};

struct queue {
    struct limit *limit;
    enum limit_way way;
    struct bucket bucket;
    struct limit_member *first, *last;
    size_t count;
    int timer;
    uint64_t round; // bytes worth a round
};

struct limit {
    struct loop *loop;
    struct queue queues[2]; // enum limit_way
};

// --- the queue -----------------------------------------------------------------------------------

static void
push(struct queue *q, struct limit_member *m)
{
    struct share *s = &m->shares[q->way];
    s->waiting = true;
    s->next = NULL;
    s->prev = q->last;
    if (q->last)
        q->last->shares[q->way].next = m;
    else
        q->first = m;
    q->last = m;
    q->count++;
}

static void
take_out(struct queue *q, struct limit_member *m)
{
    struct share *s = &m->shares[q->way];
    if (s->prev)
        s->prev->shares[q->way].next = s->next;
    else
        q->first = s->next;
    if (s->next)
        s->next->shares[q->way].prev = s->prev;
    else
        q->last = s->prev;
    s->waiting = false;
    s->next = s->prev = NULL;
    q->count--;
}

static void
arm(struct queue *q)
{
    uint64_t now_us = loop_now_us(q->limit->loop);
    bucket_level(&q->bucket, now_us);
    loop_timer_set(q->limit->loop, q->timer, now_us + bucket_wait_us(&q->bucket, q->round));
}

// An equal part for each, or a segment for as many as it goes round: the others are first in the
// next round. Who wants more comes behind them.
static void
on_timer(void *ctx)
{
    struct queue *q = ctx;
    uint64_t now_us = loop_now_us(q->limit->loop);
    for (size_t left = q->count; left > 0 && q->first; left--) {
        uint64_t level = bucket_level(&q->bucket, now_us);
        uint64_t part = level / left > SHARE_MIN ? level / left : SHARE_MIN;
        if (part > level)
            part = level;
        if (part == 0)
            break;
        struct limit_member *m = q->first;
        take_out(q, m);
        m->shares[q->way].granted = part;
        bucket_spend(&q->bucket, part);
        m->on_grant(m->ctx);
    }
    if (q->first)
        arm(q);
}

// --- limits --------------------------------------------------------------------------------------

static uint64_t
round_bytes(uint64_t rate, uint64_t burst)
{
    uint64_t bytes = rate / ROUNDS_PER_S;
    if (bytes < SHARE_MIN)
        bytes = rate / SLOW_ROUNDS < SHARE_MIN ? rate / SLOW_ROUNDS : SHARE_MIN;
    if (bytes > burst / 2) // a timer that is late must not find the bucket full
        bytes = burst / 2;
    return bytes > 0 ? bytes : 1;
}

static bool
queue_init(struct queue *q, struct limit *limit, enum limit_way way, uint64_t rate, uint64_t burst)
{
    *q = (struct queue){.limit = limit, .way = way, .round = round_bytes(rate, burst)};
    bucket_init(&q->bucket, rate, burst, loop_now_us(limit->loop));
    q->timer = loop_timer_new(limit->loop, on_timer, q);
    return q->timer >= 0;
}

struct limit *
limit_new(struct loop *loop, uint64_t rate, uint64_t burst)
{
    struct limit *limit = malloc(sizeof *limit);
    if (!limit)
        return NULL;
    limit->loop = loop;
    bool ok = queue_init(&limit->queues[0], limit, LIMIT_TO_HOST, rate, burst);
    ok &= queue_init(&limit->queues[1], limit, LIMIT_TO_GUEST, rate, burst);
    if (ok)
        return limit;
    limit_free(limit);
    return NULL;
}

void
limit_free(struct limit *limit)
{
    if (!limit)
        return;
    for (int i = 0; i < 2; i++) {
        assert(!limit->queues[i].first);
        loop_timer_free(limit->loop, limit->queues[i].timer);
    }
    free(limit);
}

void
limit_lift(struct limit *limit)
{
    for (int i = 0; i < 2; i++) {
        struct queue *q = &limit->queues[i];
        bucket_init(&q->bucket, BUCKET_MAX, BUCKET_MAX, loop_now_us(limit->loop));
        if (q->first)
            arm(q);
    }
}

// --- members -------------------------------------------------------------------------------------

struct limit_member *
limit_join(struct limit *limit, void (*on_grant)(void *ctx), void *ctx)
{
    struct limit_member *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->limit = limit;
    m->on_grant = on_grant;
    m->ctx = ctx;
    return m;
}

void
limit_leave(struct limit_member *m)
{
    if (!m)
        return;
    for (enum limit_way way = LIMIT_TO_HOST; way <= LIMIT_TO_GUEST; way++) {
        limit_rest(m, way);
        if (m->shares[way].waiting)
            take_out(&m->limit->queues[way], m);
    }
    free(m);
}

size_t
limit_ask(struct limit_member *m, enum limit_way way)
{
    struct share *s = &m->shares[way];
    struct queue *q = &m->limit->queues[way];
    if (s->granted > 0 || s->waiting)
        return s->granted;
    uint64_t level = q->first ? 0 : bucket_level(&q->bucket, loop_now_us(m->limit->loop));
    if (level > 0) {
        s->granted = level;
        bucket_spend(&q->bucket, level);
        return level;
    }
    push(q, m);
    if (q->count == 1)
        arm(q);
    return 0;
}

void
limit_moved(struct limit_member *m, enum limit_way way, size_t bytes)
{
    struct share *s = &m->shares[way];
    size_t granted = bytes < s->granted ? bytes : s->granted;
    s->granted -= granted;
    if (bytes > granted)
        bucket_spend(&m->limit->queues[way].bucket, bytes - granted);
}

void
limit_rest(struct limit_member *m, enum limit_way way)
{
    struct share *s = &m->shares[way];
    if (s->granted > 0)
        bucket_return(&m->limit->queues[way].bucket, s->granted);
    s->granted = 0;
}

bool
limit_is_waiting(const struct limit_member *m, enum limit_way way)
{
    return m->shares[way].waiting;
}

bool
limit_holds(const struct limit_member *m)
{
    for (int way = 0; m && way < 2; way++)
        if (m->shares[way].waiting || m->shares[way].granted > 0)
            return true;
    return false;
}
