// SPDX-License-Identifier: BSD-3-Clause
// The fixed table of connections: allocation, lookup by the guest's address and ports, the queues
// that bound half-open and TIME-WAIT connections, and the turn's lists. Links are index + 1, so
// that zero pages are an empty table. What a state means is the business of the tcp_* files.
#include "stack/internal.h"

#include "base/log.h"

#include <string.h>

static_assert(sizeof(struct stack_peer) == 4 + 2 * 2 + 16, "no padding: its bytes are hashed");

static const char *const state_names[] = {
    [TCP_FREE] = "free",
    [TCP_OPENING] = "opening",
    [TCP_SYN_SENT] = "syn-sent",
    [TCP_SYN_RECEIVED] = "syn-received",
    [TCP_ESTABLISHED] = "established",
    [TCP_FIN_WAIT_1] = "fin-wait-1",
    [TCP_FIN_WAIT_2] = "fin-wait-2",
    [TCP_CLOSE_WAIT] = "close-wait",
    [TCP_CLOSING] = "closing",
    [TCP_LAST_ACK] = "last-ack",
    [TCP_DRAINING] = "draining",
    [TCP_TIME_WAIT] = "time-wait",
    [TCP_RESETTING] = "resetting",
};

static uint32_t *
bucket_of(const struct stack *s, const struct stack_peer *peer)
{
    const uint32_t id[] = {peer->addr, (uint32_t)peer->local_port << 16 | peer->port};
    uint64_t hash = peer_is_ipv6(peer) ? siphash(&s->config.secret, peer, sizeof *peer)
                                       : siphash(&s->config.secret, id, sizeof id);
    return &s->buckets[hash & s->bucket_mask];
}

static bool
peer_eq(const struct stack_peer *a, const struct stack_peer *b)
{
    return a->addr == b->addr && a->port == b->port && a->local_port == b->local_port &&
           (!peer_is_ipv6(a) || ipv6_addr_eq(&a->addr6, &b->addr6));
}

struct conn *
conn_at(const struct stack *s, uint32_t index)
{
    assert(index < s->conns_touched);
    struct conn *c = &s->conns[index];
    assert(c->state != TCP_FREE && c->attached);
    return c;
}

struct conn *
conn_find(const struct stack *s, const struct stack_peer *peer)
{
    for (uint32_t i = *bucket_of(s, peer); i != 0; i = s->conns[i - 1].hash_next) {
        struct conn *c = &s->conns[i - 1];
        if (peer_eq(&c->peer, peer))
            return c;
    }
    return NULL;
}

static void
queue_remove(struct stack *s, struct conn *c)
{
    struct conn_list *q = &s->queues[c->queue];
    if (c->queue == QUEUE_NONE)
        return;
    if (c->queue_prev)
        s->conns[c->queue_prev - 1].queue_next = c->queue_next;
    else
        q->first = c->queue_next;
    if (c->queue_next)
        s->conns[c->queue_next - 1].queue_prev = c->queue_prev;
    else
        q->last = c->queue_prev;
    if (c->queue == QUEUE_HALF_OPEN)
        s->half_open--;
    c->queue = QUEUE_NONE;
    c->queue_next = c->queue_prev = 0;
}

static void
queue_append(struct stack *s, struct conn *c, enum conn_queue queue)
{
    struct conn_list *q = &s->queues[queue];
    uint32_t me = conn_index(s, c) + 1;
    c->queue = (uint8_t)queue;
    c->queue_prev = q->last;
    c->queue_next = 0;
    if (q->last)
        s->conns[q->last - 1].queue_next = me;
    else
        q->first = me;
    q->last = me;
    if (queue == QUEUE_HALF_OPEN)
        s->half_open++;
}

static struct conn *
entry_take(struct stack *s)
{
    if (!s->free_first && s->conns_touched == s->config.max_conns) {
        uint32_t oldest = s->queues[QUEUE_TIME_WAIT].first;
        if (!oldest)
            return NULL;
        conn_free(s, &s->conns[oldest - 1]);
    }
    if (!s->free_first)
        return &s->conns[s->conns_touched++];
    struct conn *c = &s->conns[s->free_first - 1];
    s->free_first = c->hash_next;
    return c;
}

struct conn *
conn_new(struct stack *s, const struct stack_peer *peer)
{
    struct conn *c = entry_take(s);
    if (!c)
        return NULL;

    // A turn's list may still hold the entry of the conn before; it stays there, and is passed over
    // or serves the new conn.
    uint32_t ready_next = c->ready_next, touched_next = c->touched_next;
    bool in_ready = c->in_ready, in_touched = c->in_touched;
    *c = (struct conn){
        .peer = *peer,
        .ready_next = ready_next,
        .touched_next = touched_next,
        .in_ready = in_ready,
        .in_touched = in_touched,
        .attached = true,
        .heard_us = s->now_us,
        .rto_us = (uint32_t)TCP_RTO_INITIAL_US,
    };
    ring_init(&c->send);
    ring_init(&c->recv);
    tcp_loss_init(c);

    uint32_t *bucket = bucket_of(s, peer);
    c->hash_next = *bucket;
    *bucket = conn_index(s, c) + 1;
    s->conn_count++;
    return c;
}

void
conn_free(struct stack *s, struct conn *c)
{
    uint32_t me = conn_index(s, c) + 1;
    uint32_t *link = bucket_of(s, &c->peer);
    while (*link != me)
        link = &s->conns[*link - 1].hash_next;
    *link = c->hash_next;

    queue_remove(s, c);
    if (c->unresolved)
        s->unresolved--;
    wheel_clear(&s->wheel, me - 1);
    if (c->send.slot != RING_NO_SLOT || c->recv.slot != RING_NO_SLOT)
        s->trim_wanted = true;
    ring_release(&s->send_pool, &c->send);
    ring_release(&s->recv_pool, &c->recv);
    c->state = TCP_FREE;
    c->attached = false;
    c->pending_head = c->pending_tail = 0;
    c->pending_bytes = 0;
    c->hash_next = s->free_first;
    s->free_first = me;
    s->conn_count--;
}

static enum conn_queue
queue_for(enum tcp_state state)
{
    switch (state) {
    case TCP_OPENING:
    case TCP_SYN_RECEIVED:
        return QUEUE_HALF_OPEN;
    case TCP_TIME_WAIT:
        return QUEUE_TIME_WAIT;
    case TCP_FREE:
    case TCP_SYN_SENT:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
    case TCP_DRAINING:
    case TCP_RESETTING:
        return QUEUE_NONE;
    }
    assert(false);
    return QUEUE_NONE;
}

void
conn_set_state(struct stack *s, struct conn *c, enum tcp_state state)
{
    log_trace("conn %u: %s -> %s", conn_index(s, c), state_names[c->state], state_names[state]);
    enum conn_queue queue = queue_for(state);
    c->state = (uint8_t)state;
    if (c->queue == queue)
        return;
    queue_remove(s, c);
    if (queue != QUEUE_NONE)
        queue_append(s, c, queue);
}

void
conn_close(struct stack *s, struct conn *c, enum stack_close_reason reason)
{
    bool tell = c->attached;
    c->attached = false;
    if (tell)
        s->ops->on_closed(s->ctx, conn_index(s, c), reason);
    if (c->state != TCP_TIME_WAIT)
        conn_free(s, c);
}

void
conn_reset(struct stack *s, struct conn *c, enum stack_close_reason reason)
{
    bool sent = tcp_send_reset(s, c);
    bool tell = c->attached;
    c->attached = false;
    conn_set_state(s, c, TCP_RESETTING);
    if (tell)
        s->ops->on_closed(s->ctx, conn_index(s, c), reason);
    if (sent)
        conn_free(s, c);
    else
        conn_ready(s, c);
}

static void
list_append(struct stack *s, struct conn_list *list, struct conn *c, bool *member)
{
    if (*member)
        return;
    *member = true;
    uint32_t me = conn_index(s, c) + 1;
    bool ready = list == &s->ready;
    if (list->last) {
        struct conn *last = &s->conns[list->last - 1];
        *(ready ? &last->ready_next : &last->touched_next) = me;
    } else {
        list->first = me;
    }
    list->last = me;
    *(ready ? &c->ready_next : &c->touched_next) = 0;
}

void
conn_ready(struct stack *s, struct conn *c)
{
    list_append(s, &s->ready, c, &c->in_ready);
}

void
conn_touch(struct stack *s, struct conn *c)
{
    list_append(s, &s->touched, c, &c->in_touched);
}

struct conn *
conn_pop(struct stack *s, struct conn_list *list)
{
    if (!list->first)
        return NULL;
    struct conn *c = &s->conns[list->first - 1];
    bool ready = list == &s->ready;
    list->first = ready ? c->ready_next : c->touched_next;
    if (!list->first)
        list->last = 0;
    *(ready ? &c->in_ready : &c->in_touched) = false;
    return c;
}
