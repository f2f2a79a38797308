// SPDX-License-Identifier: BSD-3-Clause
// Inside src/link only: what every frame link starts with, and the table of functions a kind fills.
#pragma once

#include "link/link.h"

struct link_ops {
    bool (*send)(struct link *link, const struct frame *frame);
    void (*flush)(struct link *link);
    void (*stop)(struct link *link); // at link_free: leaves the loop; NULL: has no more than io
    // What the kind allocated, and the link itself. The fd is closed by then; runs after the turn.
    void (*free)(void *link);
};

// First member of each kind's struct.
struct link {
    const struct link_ops *ops;
    struct loop *loop;
    struct loop_io io;
    const struct link_events *events;
    void *ctx;
    struct link_caps caps;
    struct link_stats stats;
    enum frame_csum csum_in; // of what comes in, where the link itself does not say
    bool closed;             // link_free was called: touch nothing but the struct, call nobody
    bool broken;             // on_down is due or was called; frames are dropped
    int down_timer;          // calls on_down from the loop for what link_send or link_flush found
    char why[128];           // for on_down
};

// Makes fd non-blocking and adds it to the loop for reading. The caller has filled ops and caps.
// On failure fd is closed and link freed by ops->free: false.
bool link_init(struct link *link, struct loop *loop, int fd, const struct link_events *events,
               void *ctx, void (*on_event)(void *ctx, unsigned loop_events));
// Marks the link broken and stops listening to its fd; on_down comes from the loop, in a later
// call. A non-zero errnum (positive errno) appends its text. Only the first reason counts.
void link_break(struct link *link, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
// Hands a batch up and counts it. False when the link is gone or broken afterwards: return at once.
bool link_deliver(struct link *link, const struct frame *frames, size_t count);
