// SPDX-License-Identifier: BSD-3-Clause
// The virtual cable: what one side sends arrives at the other later, or twice, or never, or
// damaged, as the plan and the link's own generator decide.
#pragma once

#include "packet.h"
#include "plan.h"
#include "trace.h"

struct link {
    const struct link_plan *plan; // [2], by sending side
    struct trace *trace;
    uint64_t epoch_us;
    struct rng rng;
    uint64_t order;
    struct link_way {
        struct packet **heap; // by due time; grows
        size_t count, room;
        uint64_t wire_free_us; // when the last byte sent so far has left
        uint64_t last_due_us;  // for in_order
        uint64_t refuse_until_us;
    } way[2]; // by sending side
    uint64_t sent, lost, duplicated, damaged;
};

void link_init(struct link *l, const struct plan *plan, struct trace *trace);
void link_fini(struct link *l);
// False while the sender has to wait (on_emit's refusal); asked once per frame.
bool link_takes(struct link *l, enum side from, uint64_t now_us);
// When a refusing link takes frames again; PLAN_NEVER when it does not refuse.
uint64_t link_unblocks_at(const struct link *l, enum side from);
void link_unblocked(struct link *l, enum side from);
// Sends p; takes ownership.
void link_send(struct link *l, enum side from, struct packet *p, uint64_t now_us);
// When the next frame from `from` arrives at the other side; PLAN_NEVER: none under way.
uint64_t link_next_us(const struct link *l, enum side from);
// The next frame that has arrived by now_us, the caller's from then on; NULL: none.
struct packet *link_receive(struct link *l, enum side from, uint64_t now_us);
