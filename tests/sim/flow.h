// SPDX-License-Identifier: BSD-3-Clause
// One simulated connection: the applications at its two ends, what they send, and the judgement of
// what arrives. Knows no TCP; a node (node.h) carries out what the ends decide.
#pragma once

#include "plan.h"
#include "rng.h"

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct world;
struct node;
struct flow;

enum end_result {
    END_RUNNING,
    END_CLEAN, // both FINs, all bytes
    END_RESET, // the peer's RST
    END_TIMED_OUT,
    END_REFUSED, // active open: the peer refused
    END_ABORTED, // by ourselves
    END_EVICTED,
    END_REJECTED, // passive open, which we refused
};

struct end {
    struct flow *flow;
    enum side side;
    struct node *node;
    const struct end_plan *plan;
    struct rng rng;
    uint64_t key; // of the byte stream it sends

    // the node's handles
    uint32_t conn; // STACK_NO_CONN: none
    void *pcb;
    void *held;     // struct pbuf chain not yet read
    size_t held_at; // bytes of it already read
    bool fin_held;  // FIN behind what is held
    bool isn_known; // of lwIP's SYN
    uint32_t isn;

    // state
    bool opened; // this end exists (SYN sent, or on_open came)
    bool established;
    bool fin_sent;
    bool eof;           // the peer's FIN was delivered
    bool write_blocked; // the last write took nothing; waits for end_writable
    bool abort_pending; // FINISH_ABORT's thresholds are reached
    enum end_result result;
    uint64_t sent, received;
    uint64_t next_write_us; // not before; PLAN_NEVER: nothing to do
    uint64_t next_read_us;
    uint64_t answer_at_us; // accept or reject then; PLAN_NEVER
    uint64_t doom_us;      // the other end is gone: we should be too by then
    uint64_t pauses_left_us;
};

struct flow {
    struct world *world;
    const struct flow_plan *plan;
    int index;
    uint16_t host_port, guest_port; // 0 until known
    bool started;
    bool excused;      // a give-up that a lossy link explains
    bool peer_fault;   // lwIP spoilt it
    struct end end[2]; // by side
};

void flow_init(struct flow *f, struct world *w, int index);
bool flow_is_done(const struct flow *f);
struct end *end_peer(struct end *e);
const char *end_result_name(enum end_result r);

// --- called by the world
// When the end next wants end_run; PLAN_NEVER: not by itself.
uint64_t end_next_us(const struct end *e);
// Writes, reads, finishes, aborts: what is due at now.
void end_run(struct end *e);
// After the last event: is what both ends saw allowed?
void flow_judge(struct flow *f);

// lwIP has put something wrong on the wire: the flow proves nothing any more, but must still end.
void flow_peer_fault(struct flow *f);

// --- called by nodes
void end_opened(struct end *e);
void end_established(struct end *e);
void end_writable(struct end *e);
// How many of `offered` bytes the application takes now, 0 while it pauses.
size_t end_read_budget(struct end *e, size_t offered);
// Bytes that the application took: must be the next ones that the peer wrote.
void end_bytes(struct end *e, const void *data, size_t len);
// After bytes were taken: draws the next pause.
void end_read_done(struct end *e);
// Bytes are held by the node for a later read.
void end_readable(struct end *e);
void end_eof(struct end *e);
void end_closed(struct end *e, enum end_result result);
// The next bytes of the stream that this end sends, from position `at`.
void end_fill(const struct end *e, uint64_t at, void *out, size_t len);
// Checks len bytes at position `at` of the stream; the position of the first wrong one, or len.
size_t end_check(const struct end *e, uint64_t at, const void *data, size_t len);
