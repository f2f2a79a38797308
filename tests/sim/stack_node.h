// SPDX-License-Identifier: BSD-3-Clause
// What the stack_*.c files of the simulation share: our stack as one side of the link.
#pragma once

#include "guard.h"
#include "node.h"
#include "world.h"

#include "stack/stack.h"

#define STACK_CONNS_MAX     64
#define STACK_CONNS_RESERVE 8 // beyond the flows, for ghosts of old SYNs and TIME-WAIT
#define STACK_TURN_MAX      4096

enum slot_use {
    SLOT_FREE,
    SLOT_END,
    SLOT_GHOST, // an old SYN made it; nothing good may come of it
};

struct slot {
    enum slot_use use;
    struct end *end;
};

// A frame whose payload is still in the stack's ring.
struct late_frame {
    struct packet *packet;
    struct iovec payload[FRAME_IOV_MAX];
    int payload_count;
    size_t payload_at;
};

struct stack_node {
    struct node node; // first: a struct node of this kind is one of these
    struct stack *stack;
    struct slot slot[STACK_CONNS_MAX];
    uint64_t clock_offset; // its clock is the world's and this

    // the turn
    bool flushing, blocked;
    struct late_frame late[STACK_TURN_MAX];
    int late_count;
    struct packet *turn[STACK_TURN_MAX]; // given to stack_input, alive until the flush
    int turn_count;

    // timers
    uint64_t deadline_us; // what the stack asked for, world clock; PLAN_NEVER
    uint64_t slack_us;    // how much later it is served
    int timer_runs_here;  // since the clock moved
    uint64_t timer_runs_at;
};

// Runs a statement that calls into the stack, with allocations counted.
#define STACK_CALL(statement)                                                                      \
    do {                                                                                           \
        bool guard_was_ = guard_set(true);                                                         \
        statement;                                                                                 \
        guard_set(guard_was_);                                                                     \
    } while (0)

static inline struct stack_node *
stack_node_of(struct node *n)
{
    return (struct stack_node *)n;
}

// Its own clock.
static inline uint64_t
stack_node_now(const struct stack_node *n)
{
    return n->node.world->now_us + n->clock_offset;
}

static inline uint32_t
stack_node_addr(enum side side)
{
    return side == HOST ? PLAN_HOST_ADDR : PLAN_GUEST_ADDR;
}

struct stack_config stack_node_config(const struct plan *plan, enum side side);
// A packet of f's length and metadata, content unset.
struct packet *stack_node_packet(const struct frame *f);
// on_emit, by stack_node.c.
bool stack_node_emit(struct stack_node *n, const struct frame *f);
// All callbacks, by stack_app.c.
extern const struct stack_ops stack_node_callbacks;

// What ends ask of it (struct node_ops), by stack_app.c.
void stack_app_open(struct node *node, struct end *e);
void stack_app_answer(struct node *node, struct end *e, bool accept);
size_t stack_app_write(struct node *node, struct end *e, size_t len);
bool stack_app_read(struct node *node, struct end *e);
void stack_app_shutdown(struct node *node, struct end *e);
void stack_app_abort(struct node *node, struct end *e);
void stack_app_abort_after_send(struct node *node, struct end *e);
void stack_app_orphan(struct node *node, struct end *e);
