// SPDX-License-Identifier: BSD-3-Clause
// Everything a seed decides before time begins: how bad the link is, how the stacks are built, what
// each connection will do. The rest of the simulation only carries it out.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PLAN_FLOWS_MAX      12
#define PLAN_HOST_ADDR      0x0a000204u
#define PLAN_GUEST_ADDR     0x0a00020fu
#define PLAN_CLOSED_PORT    599 // of either side: nobody answers there
#define PLAN_HOST_PORT      600 // first channel port; on_port says yes up to PLAN_HOST_PORT_LAST
#define PLAN_HOST_PORT_LAST 699
#define PLAN_GUEST_LISTEN   7000       // first listening port of the guest, one per flow
#define PLAN_ORPHAN_LATE_US 100000000u // a guest's FIN that comes after an orphan's minute
#define PLAN_NEVER          UINT64_MAX

enum side {
    HOST,
    GUEST,
};

enum link_class {
    LINK_CALM,  // nothing is lost, reordered or damaged: bounds are tight
    LINK_MILD,  // each impairment up to a few per cent
    LINK_HARSH, // up to 30 per cent
};

enum peer_kind {
    PEER_LWIP,
    PEER_STACK, // a second instance of ours
};

// One direction of the link.
struct link_plan {
    uint32_t loss_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm, truncate_ppm, pad_ppm;
    uint64_t delay_us, jitter_us;
    bool in_order;        // jitter does not reorder
    uint64_t bytes_per_s; // serialization; 0: infinitely fast
    uint64_t queue_bytes; // dropped behind this much backlog; 0: unbounded
    uint64_t blackout_from_us, blackout_until_us;
    uint32_t refuse_ppm;    // chance per frame that on_emit starts returning false ...
    uint64_t refuse_max_us; // ... for up to this long
    bool cut_gso;           // the link cuts super-frames; else the receiver gets them whole
    bool merge;             // the receiver's NIC merges neighbours (GRO)
    bool partial;           // frames arrive with partial checksums
};

// How one stack is built and driven.
struct node_plan {
    uint16_t mtu;
    bool csum_offload, tso;
    uint32_t ring_bytes;
    uint64_t batch_us;        // frames arriving within this long share a turn
    uint64_t timer_slack_us;  // a timer runs up to this late
    uint32_t early_timer_ppm; // chance per turn that timers run although none is due
    bool split_iov;           // frames are handed in as several iovecs, cut anywhere
    bool late_gather;         // payload is read from the ring after stack_flush returned
};

enum end_finish {
    FINISH_SHUTDOWN,         // FIN behind the last byte
    FINISH_AFTER_PEER,       // FIN behind the last byte, but not before the peer's FIN came
    FINISH_ABORT,            // RST when abort_sent and abort_received are reached
    FINISH_ABORT_AFTER_SEND, // ours only: RST once all is acknowledged
    FINISH_ORPHAN,           // ours only: FIN, and the peer is given a minute for its own
};

// What the application at one end of a connection does.
struct end_plan {
    uint64_t bytes;           // to send
    uint64_t write_max;       // largest single write
    uint32_t write_pause_ppm; // chance of a pause after a write
    uint64_t write_pause_us;  // its longest
    uint64_t read_max;        // largest single read
    uint32_t read_pause_ppm;
    uint64_t read_pause_us;
    uint64_t pauses_us;       // all pauses together are at most this long
    uint64_t finish_delay_us; // between last byte and FIN
    enum end_finish finish;
    uint64_t abort_sent, abort_received; // thresholds of FINISH_ABORT
    bool abort_in_callback;              // abort from inside the data callback
};

enum flow_fate {
    FATE_ACCEPTED,
    FATE_REJECTED,    // on_open is answered by stack_reject
    FATE_CLOSED_PORT, // nobody listens
};

struct flow_plan {
    uint64_t start_us; // after the beginning
    enum side opener;
    enum flow_fate fate;
    uint64_t answer_delay_us;       // between on_open and its answer; 0: inside on_open
    bool any_port;                  // the opener takes an ephemeral port
    uint16_t host_port, guest_port; // the opener's is 0 with any_port
    struct end_plan end[2];
};

struct plan {
    uint64_t seed;
    enum link_class class;
    enum peer_kind peer;
    uint64_t epoch_us;        // the clock's first value
    uint64_t secret[2][2];    // per side, two halves
    struct link_plan link[2]; // by sending side
    struct node_plan node[2];
    bool wrap;                   // choose the epoch so that sequence numbers of flow 0 wrap
    uint32_t wrap_after;         // this many bytes into it
    uint64_t set_link_us;        // the host's offloads change (behind a link_down, the MTU too) ...
    struct node_plan link_after; // ... to these; PLAN_NEVER
    uint64_t link_down_us;       // stack_link_down on the host then; PLAN_NEVER
    int flow_count;
    struct flow_plan flow[PLAN_FLOWS_MAX];
};

// with_lwip: whether a lwIP guest can be chosen.
void plan_make(struct plan *plan, uint64_t seed, bool with_lwip);
// One line for people.
void plan_describe(const struct plan *plan, char *out, unsigned long size);
// True when a peer may give up on this link for lack of answers.
bool plan_is_lossy(const struct plan *plan);
// Virtual time after which a run has failed, counted from the epoch.
uint64_t plan_bound_us(const struct plan *plan);
