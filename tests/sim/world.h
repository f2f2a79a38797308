// SPDX-License-Identifier: BSD-3-Clause
// The clock, and everything that runs by it: two nodes, the link between them, the flows.
#pragma once

#include "flow.h"
#include "link.h"
#include "plan.h"
#include "tap.h"
#include "trace.h"

struct world {
    struct plan plan;
    struct trace trace;
    struct link link;
    struct tap tap;
    struct node *node[2]; // by side
    struct flow flow[PLAN_FLOWS_MAX];
    uint64_t now_us;
    struct rng rng;
    bool excuse_resets; // the link went down: whatever was open may end anyhow

    const struct packet *last_emitted; // while it is being judged
    enum side last_from;

    // guards against spinning
    uint64_t steps_here; // steps since the clock moved
    uint64_t steps;      // all of them
    uint64_t progress;   // bytes and events that got anybody further
    uint64_t idle_steps; // steps since progress
};

struct world_options {
    bool trace;
    const char *pcap; // path or NULL
    bool with_lwip;
};

// Runs one seed to its end; exits the process with 1 at the first violation. Returns how many
// connections ended in a give-up that loss (or lwIP) excuses.
int world_run(uint64_t seed, const struct world_options *options);

// A violation: prints it with seed, time and plan, and exits with 1.
void world_fail(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
// The flow of these ports; NULL when there is none.
struct flow *world_find_flow(struct world *w, uint16_t host_port, uint16_t guest_port);
// A frame that `from`'s stack has emitted: judged, recorded, sent. Takes ownership.
void world_emit(struct world *w, enum side from, struct packet *p);
