// SPDX-License-Identifier: BSD-3-Clause
// One side of the link: a TCP/IP stack and the ends that live on it. Two kinds: ours (stack_node.c)
// and lwIP (lwip_node.c).
#pragma once

#include "flow.h"
#include "packet.h"

struct node_ops {
    // Frames that arrived, in order; takes ownership of them.
    void (*input)(struct node *n, struct packet **batch, int count);
    // Runs the timers that are due.
    void (*timers)(struct node *n);
    // Ends a turn.
    void (*flush)(struct node *n);
    // When timers() has to be called at the latest, on the world's clock; PLAN_NEVER.
    uint64_t (*deadline)(const struct node *n);
    // The link takes frames again.
    void (*unblock)(struct node *n);
    // Connections that still exist, TIME-WAIT included where that can be known.
    uint32_t (*live)(const struct node *n);
    // Called after each step: notices what has no callback.
    void (*poll)(struct node *n);
    void (*link_down)(struct node *n); // ours only
    void (*set_link)(struct node *n);  // ours only: n->plan has changed
    // Last checks of its own, when nothing lives any more.
    void (*settle)(struct node *n);
    void (*free)(struct node *n);

    // What ends want. open: begins an active open; the end's ports are set when known.
    void (*open)(struct node *n, struct end *e);
    void (*answer)(struct node *n, struct end *e, bool accept);
    size_t (*write)(struct node *n, struct end *e, size_t len); // how many were taken
    bool (*read)(struct node *n, struct end *e);                // true: more may be there now
    void (*shutdown)(struct node *n, struct end *e);
    void (*abort)(struct node *n, struct end *e);            // closes the end synchronously
    void (*abort_after_send)(struct node *n, struct end *e); // ours only
    void (*orphan)(struct node *n, struct end *e);           // shutdown and stack_orphan; ours only
};

struct node {
    const struct node_ops *ops;
    struct world *world;
    enum side side;
    const struct node_plan *plan;
    struct rng rng;
};

struct node *stack_node_new(struct world *w, enum side side);
struct node *lwip_node_new(struct world *w, enum side side); // one per process
// Offset to add to the world's clock for ours, so that flow 0's sequence numbers wrap soon.
uint64_t stack_node_wrap_offset(const struct plan *plan, enum side side);
