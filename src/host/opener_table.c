// SPDX-License-Identifier: BSD-3-Clause
// See opener_table.h.
#include "host/opener_table.h"

#include <stddef.h>
#include <stdlib.h>

#define BUCKETS_MIN 16
#define BUCKETS_MAX (UINT32_C(1) << 20)

static uint32_t
index_of(const struct opener_table *t, const struct request *r)
{
    return (uint32_t)(r - t->requests);
}

static void
append(struct opener_table *t, struct request *r, struct request_list *list)
{
    r->next = OPENER_NONE;
    r->prev = list->last;
    if (list->last != OPENER_NONE)
        t->requests[list->last].next = index_of(t, r);
    else
        list->first = index_of(t, r);
    list->last = index_of(t, r);
}

static void
unlink_request(struct opener_table *t, struct request *r, struct request_list *list)
{
    if (r->prev != OPENER_NONE)
        t->requests[r->prev].next = r->next;
    else
        list->first = r->next;
    if (r->next != OPENER_NONE)
        t->requests[r->next].prev = r->prev;
    else
        list->last = r->prev;
}

bool
opener_table_init(struct opener_table *t, uint32_t size)
{
    uint32_t buckets = BUCKETS_MIN;
    while (buckets < size && buckets < BUCKETS_MAX)
        buckets *= 2;
    *t = (struct opener_table){
        .bucket_mask = buckets - 1, .size = size, .free = size > 0 ? 0 : OPENER_NONE};
    t->requests = calloc((size_t)size + 1, sizeof(*t->requests));
    t->buckets = calloc(buckets, sizeof(*t->buckets));
    if (!t->requests || !t->buckets)
        return false;
    for (uint32_t i = 0; i < buckets; i++)
        t->buckets[i] = OPENER_NONE;
    for (uint32_t i = 0; i < size; i++) {
        t->requests[i].state = REQUEST_STATES;
        t->requests[i].next = i + 1 < size ? i + 1 : OPENER_NONE;
    }
    return true;
}

void
opener_table_fini(struct opener_table *t)
{
    free(t->requests);
    free(t->buckets);
}

void
request_list_init(struct request_list *list)
{
    *list = (struct request_list){OPENER_NONE, OPENER_NONE};
}

struct request *
opener_table_find(const struct opener_table *t, uint64_t session)
{
    uint32_t i = t->buckets[session & t->bucket_mask];
    while (i != OPENER_NONE && t->requests[i].session != session)
        i = t->requests[i].chain;
    return i == OPENER_NONE ? NULL : &t->requests[i];
}

struct request *
opener_table_add(struct opener_table *t, uint64_t session, struct opener_channel *channel,
                 struct request_list lists[REQUEST_STATES])
{
    uint32_t i = t->free;
    if (i == OPENER_NONE)
        return NULL;
    struct request *r = &t->requests[i];
    t->free = r->next;
    *r = (struct request){.session = session,
                          .state = REQUEST_WAITING,
                          .chain = t->buckets[session & t->bucket_mask],
                          .channel = channel,
                          .io = {.fd = -1}};
    t->buckets[session & t->bucket_mask] = i;
    append(t, r, &lists[REQUEST_WAITING]);
    t->pending++;
    return r;
}

void
opener_table_move(struct opener_table *t, struct request *r, enum request_state state,
                  struct request_list lists[REQUEST_STATES])
{
    unlink_request(t, r, &lists[r->state]);
    if (r->state != REQUEST_OPEN)
        t->pending--;
    if (state != REQUEST_OPEN)
        t->pending++;
    r->state = state;
    append(t, r, &lists[state]);
}

void
opener_table_remove(struct opener_table *t, struct request *r,
                    struct request_list lists[REQUEST_STATES])
{
    unlink_request(t, r, &lists[r->state]);
    if (r->state != REQUEST_OPEN)
        t->pending--;
    uint32_t *link = &t->buckets[r->session & t->bucket_mask];
    while (*link != index_of(t, r))
        link = &t->requests[*link].chain;
    *link = r->chain;
    r->state = REQUEST_STATES;
    r->next = t->free;
    t->free = index_of(t, r);
}

struct request *
opener_table_first(const struct opener_table *t, const struct request_list *list)
{
    return list->first == OPENER_NONE ? NULL : &t->requests[list->first];
}
