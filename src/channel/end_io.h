// SPDX-License-Identifier: BSD-3-Clause
// A host end in the loop: its one or two descriptors, edge-triggered, told to one callback. What
// cannot be polled (a regular file, /dev/zero) is always ready.
#pragma once

#include "host/end.h"
#include "loop/loop.h"

struct end_io {
    struct host_end end;
    struct loop_io in, out;     // out: where it has a descriptor of its own to write to
    bool in_polled, out_polled; // whether readiness for reading, for writing is told
    bool in_added, out_added;   // to the loop
    void (*on_event)(void *ctx, unsigned events);
    void *ctx;
};

// Puts e->end, already filled in, into the loop. events: LOOP_READ, LOOP_WRITE, LOOP_RDHUP, and
// LOOP_HANGUP only where both directions are gone. 0 or -errno; the end stays the caller's.
int end_io_start(struct end_io *e, struct loop *loop, void (*on_event)(void *ctx, unsigned events),
                 void *ctx);
// Takes it out of the loop. Harmless when it is not in there.
void end_io_stop(struct end_io *e, struct loop *loop);
