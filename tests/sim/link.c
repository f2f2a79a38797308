// SPDX-License-Identifier: BSD-3-Clause
// Delays, loses, duplicates, reorders, damages and cuts frames. Two heaps ordered by arrival.

#include "link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CUT_MAX 256 // segments of a 64 KiB super-frame at an MSS of 256 or more

static bool
is_before(const struct packet *a, const struct packet *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

static void
heap_push(struct link_way *w, struct packet *p)
{
    size_t i = w->count++;

    if (w->count > w->room) {
        w->room = w->room ? w->room * 2 : 64;
        w->heap = realloc(w->heap, w->room * sizeof(struct packet *));
        assert(w->heap);
    }
    for (; i > 0 && is_before(p, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = p;
}

static struct packet *
heap_pop(struct link_way *w)
{
    struct packet *top = w->heap[0], *last = w->heap[--w->count];
    size_t i = 0, child;

    while ((child = i * 2 + 1) < w->count) {
        if (child + 1 < w->count && is_before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!is_before(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

void
link_init(struct link *l, const struct plan *plan, struct trace *trace)
{
    *l = (struct link){.plan = plan->link, .trace = trace, .epoch_us = plan->epoch_us};
    l->rng = rng_fork(plan->seed, 2);
}

void
link_fini(struct link *l)
{
    for (int i = 0; i < 2; i++) {
        while (l->way[i].count > 0)
            free(heap_pop(&l->way[i]));
        free(l->way[i].heap);
    }
}

bool
link_takes(struct link *l, enum side from, uint64_t now_us)
{
    const struct link_plan *plan = &l->plan[from];
    struct link_way *w = &l->way[from];

    if (w->refuse_until_us > 0)
        return false;
    if (!rng_chance(&l->rng, plan->refuse_ppm))
        return true;
    w->refuse_until_us = now_us + 1 + rng_below(&l->rng, plan->refuse_max_us);
    trace_line(l->trace, now_us, "%s link refuses frames", from == HOST ? "host" : "guest");
    return false;
}

uint64_t
link_unblocks_at(const struct link *l, enum side from)
{
    return l->way[from].refuse_until_us ? l->way[from].refuse_until_us : PLAN_NEVER;
}

void
link_unblocked(struct link *l, enum side from)
{
    l->way[from].refuse_until_us = 0;
}

// When a frame sent now arrives: waits for the wire, crosses it, and may be overtaken.
static uint64_t
arrival(struct link *l, enum side from, size_t len, uint64_t now_us)
{
    const struct link_plan *plan = &l->plan[from];
    struct link_way *w = &l->way[from];
    uint64_t due = now_us;

    if (plan->bytes_per_s) {
        if (w->wire_free_us > due)
            due = w->wire_free_us;
        due += len * 1000000 / plan->bytes_per_s;
        w->wire_free_us = due;
    }
    due += plan->delay_us + rng_below(&l->rng, plan->jitter_us + 1);
    if (rng_chance(&l->rng, plan->reorder_ppm))
        return due + rng_below(&l->rng, plan->delay_us * 4 + 2000);
    if (plan->in_order && due < w->last_due_us)
        due = w->last_due_us;
    w->last_due_us = due;
    return due;
}

static void
enqueue(struct link *l, enum side from, struct packet *p, uint64_t now_us)
{
    p->due_us = arrival(l, from, p->len, now_us);
    p->order = l->order++;
    heap_push(&l->way[from], p);
}

// True when the frame is lost, and why.
static bool
is_lost(struct link *l, enum side from, uint64_t now_us, const char **why)
{
    const struct link_plan *plan = &l->plan[from];
    const struct link_way *w = &l->way[from];
    uint64_t t = now_us - l->epoch_us;
    uint64_t backlog_us = w->wire_free_us > now_us ? w->wire_free_us - now_us : 0;

    *why = "lost";
    if (rng_chance(&l->rng, plan->loss_ppm))
        return true;
    *why = "lost in blackout";
    if (t >= plan->blackout_from_us && t < plan->blackout_until_us)
        return true;
    *why = "lost, queue full";
    return plan->queue_bytes && backlog_us * plan->bytes_per_s / 1000000 > plan->queue_bytes;
}

static struct packet *
pad(struct link *l, struct packet *p)
{
    size_t extra = rng_range(&l->rng, 1, 46);
    struct packet *q = packet_new(p->len + extra);

    memcpy(q, p, sizeof(*p) + p->len);
    for (size_t i = 0; i < extra; i++)
        q->data[p->len + i] = (uint8_t)rng_next(&l->rng);
    q->len = p->len + extra;
    free(p);
    return q;
}

// Damage, padding and checksum mode of one frame. Returns what to show.
static const char *
treat(struct link *l, enum side from, struct packet **p)
{
    const struct link_plan *plan = &l->plan[from];
    bool whole = (*p)->gso == FRAME_GSO_NONE;

    if (whole && rng_chance(&l->rng, plan->corrupt_ppm)) {
        packet_complete_csum(*p);
        l->damaged++;
        return packet_corrupt(*p, &l->rng) ? "corrupted" : "";
    }
    if (whole && rng_chance(&l->rng, plan->truncate_ppm)) {
        packet_complete_csum(*p);
        (*p)->len = rng_below(&l->rng, (*p)->len + 1);
        l->damaged++;
        return "truncated";
    }
    if (whole && rng_chance(&l->rng, plan->pad_ppm))
        *p = pad(l, *p);
    if (plan->partial && whole)
        packet_make_partial(*p);
    else if (whole && plan->cut_gso)
        packet_complete_csum(*p);
    return "";
}

static void
send_one(struct link *l, enum side from, struct packet *p, uint64_t now_us)
{
    const char *what;

    l->sent++;
    if (is_lost(l, from, now_us, &what)) {
        l->lost++;
        trace_packet(l->trace, now_us, from, what, p);
        free(p);
        return;
    }
    if (rng_chance(&l->rng, l->plan[from].duplicate_ppm)) {
        l->duplicated++;
        trace_packet(l->trace, now_us, from, "duplicated", p);
        enqueue(l, from, packet_copy(p), now_us);
    }
    what = treat(l, from, &p);
    enqueue(l, from, p, now_us);
    if (l->trace->lines)
        trace_packet(l->trace, now_us, from, what, p);
}

void
link_send(struct link *l, enum side from, struct packet *p, uint64_t now_us)
{
    struct packet *cut[CUT_MAX];
    int n;

    if (p->gso == FRAME_GSO_NONE || !l->plan[from].cut_gso) {
        send_one(l, from, p, now_us);
        return;
    }
    n = packet_cut(p, cut, CUT_MAX);
    for (int i = 0; i < n; i++)
        send_one(l, from, cut[i], now_us);
    free(p);
}

uint64_t
link_next_us(const struct link *l, enum side from)
{
    return l->way[from].count > 0 ? l->way[from].heap[0]->due_us : PLAN_NEVER;
}

struct packet *
link_receive(struct link *l, enum side from, uint64_t now_us)
{
    if (link_next_us(l, from) > now_us)
        return NULL;
    return heap_pop(&l->way[from]);
}
