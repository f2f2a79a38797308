// SPDX-License-Identifier: BSD-3-Clause
// One direction of a splice relay: bytes from one socket to another, copied while they are few,
// spliced through a pipe once they are many. Not of it: events, ends, the order of the two
// directions (splice.c). Nobody but splice.c includes this.
#pragma once

#include "base/ring.h"
#include "channel/limit.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct splice_side {
    struct loop_io io;
    struct splice *owner;
    bool watched; // io is in the loop
    bool tcp;
    bool readable;        // a read may give something: not answered EAGAIN since the last edge
    bool writable;        // likewise for a write
    bool reads_end_early; // a short read does not tell that there is nothing more
    bool hangup;          // both directions are gone
    bool broken;          // by an error: nothing can be written to it any more
};

// From sides[i] to sides[!i]. At the end of its life a flow is done: the sink was shut down after
// the last byte, or broke.
struct splice_flow {
    struct ring kept;       // copied bytes that the sink did not take
    struct ring_pool *pool; // where it has a slot while there are such
    int pipe[2];            // read end, write end; -1 while bytes are copied
    bool no_pipe;           // there was none to be had: copied to the end
    uint32_t in_pipe;       // bytes read from the source and not yet taken by the sink
    bool full;  // the pipe took no more, though it may have room for bytes (it counts pages)
    bool grown; // a larger pipe was asked for
    bool ended; // the source has given its last byte
    bool done;
    uint64_t *bytes;            // where what the sink took is counted; NULL: nowhere
    struct limit_member *limit; // asked before the source is read; NULL: no limit
    enum limit_way way;
};

void splice_flow_init(struct splice_flow *f, struct ring_pool *pool);
void splice_flow_fini(struct splice_flow *f);
// One step from source to sink, of a run that has moved `moved` bytes so far. Bytes moved; 0 when
// there is nothing to do now, or the run has had its share of the turn.
size_t splice_flow_step(struct splice_flow *f, struct splice_side *source, struct splice_side *sink,
                        size_t moved);
// Nothing can be written to the side any more; what can still be read is there already.
void splice_side_break(struct splice_side *side);
