// SPDX-License-Identifier: BSD-3-Clause
// The sessions an opener knows, in a table bounded at start: found by number, and in order of
// arrival on one of three lists of their channel. What is done with them is host/opener_channel's.
#pragma once

#include "host/proxy.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define OPENER_NONE UINT32_MAX

enum request_state {
    REQUEST_WAITING,    // for its turn, a host client or the next retry
    REQUEST_CONNECTING, // io.fd is on its way
    REQUEST_OPEN,       // answered; counted until it is closed
    REQUEST_STATES,
};

struct request {
    uint64_t session;
    uint32_t state;          // enum request_state; REQUEST_STATES: this entry is free
    uint32_t next, prev;     // in its list; next alone in the free list
    uint32_t chain;          // next in the same hash bucket
    uint32_t way;            // of the back end's, tried now
    uint64_t number;         // of this try
    struct proxy_peer guest; // whom it is for
    struct opener_channel *channel;
    struct loop_io io; // while connecting
};

struct request_list {
    uint32_t first, last; // OPENER_NONE: empty
};

struct opener_table {
    struct request *requests;
    uint32_t *buckets; // by session, a power of two
    uint32_t bucket_mask;
    uint32_t size;
    uint32_t free;    // first free request
    uint32_t pending; // not yet open
};

// False when out of memory; fini is harmless then.
bool opener_table_init(struct opener_table *t, uint32_t size);
void opener_table_fini(struct opener_table *t);
void request_list_init(struct request_list *list);

// The request of that session, or NULL.
struct request *opener_table_find(const struct opener_table *t, uint64_t session);
// A request at the end of channel's list of waiting ones. NULL when the table is full.
struct request *
opener_table_add(struct opener_table *t, uint64_t session, struct opener_channel *channel,
                 struct request_list lists[REQUEST_STATES]);
// To the end of another list.
void opener_table_move(struct opener_table *t, struct request *r, enum request_state state,
                       struct request_list lists[REQUEST_STATES]);
void opener_table_remove(struct opener_table *t, struct request *r,
                         struct request_list lists[REQUEST_STATES]);
// The first of a list, or NULL.
struct request *opener_table_first(const struct opener_table *t, const struct request_list *list);
