// SPDX-License-Identifier: BSD-3-Clause
// A bench for hostile segments: our stack with an echoing host behind it, and guests made of single
// segments in front of it. No link, no loss; time moves only when a test says so.
#pragma once

#include "packet.h"

#include "stack/stack.h"

#define RIG_HOST      0x0a000204u // 10.0.2.4
#define RIG_GUEST     0x0a00020fu // 10.0.2.15
#define RIG_PORT      600         // the host echoes here
#define RIG_CONNS     256
#define RIG_SENT_MAX  1024
#define RIG_RING      65536
#define RIG_STREAM    (1 << 17)
#define RIG_SECOND_US 1000000ull

enum {
    FIN = 1,
    SYN = 2,
    RST = 4,
    PSH = 8,
    ACK = 16,
    URG = 32,
};

// What the host's user has seen of a conn.
struct rig_conn {
    bool open, established, at_end;
    bool shut; // the host's user has called stack_shutdown: it writes no more
    struct stack_peer peer;
    size_t received, echoed;
};

struct rig {
    struct stack *stack;
    uint64_t now_us;
    // how the host's user behaves
    bool hold_opens;  // on_open is left unanswered
    bool refuse;      // on_open is answered by stack_reject
    bool stall;       // takes no bytes
    bool keep_silent; // takes bytes, answers nothing
    // what happened
    struct rig_conn conn[RIG_CONNS];
    uint32_t last_conn; // of the last on_open
    uint32_t opens, closes;
    enum stack_close_reason reason; // of the last close
    uint8_t stream[RIG_STREAM];     // bytes taken, of all conns, in order
    size_t stream_len;
    // what the stack emitted since rig_clear
    struct packet *sent[RIG_SENT_MAX];
    size_t sent_count;
    uint64_t frames; // all of them, ever
};

// One end of a connection, as a guest that obeys keeps it.
struct guest {
    struct rig *rig;
    uint32_t addr;
    uint16_t port;
    uint32_t seq; // next to send
    uint32_t ack; // next expected
    uint16_t window;
    uint16_t told_window; // the host's, of its last segment
    bool fin_seen, reset_seen;
    uint8_t received[4096];
    size_t received_len;
};

// A segment to be sent as it is.
struct segment_spec {
    uint32_t src; // 0: RIG_GUEST
    uint16_t sport;
    uint16_t dport; // 0: RIG_PORT
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window, urgent;
    const uint8_t *options; // padded by the caller to whole words
    size_t options_len;
    const void *payload;
    size_t payload_len;
    uint8_t data_offset; // 0: as the options say
};

// max_half_open 0: the default of 64.
void rig_init(struct rig *r, uint32_t max_half_open);
void rig_fini(struct rig *r);
// Sends and ends the turn.
void rig_send(struct rig *r, const struct segment_spec *spec);
// The guest tells its MAC by ARP.
void rig_arp(struct rig *r);
// Moves time, timer by timer.
void rig_run(struct rig *r, uint64_t us);
void rig_clear(struct rig *r);
// The host's user ends its direction.
void rig_shutdown(struct rig *r, uint32_t conn);
// The host's user takes what was kept while it stalled.
void rig_unstall(struct rig *r);
// The last emitted segment to that guest port that has all of these flags; false: none.
bool rig_find(const struct rig *r, uint16_t port, uint8_t flags, struct tcp_view *out);
// How many segments were emitted to that port since rig_clear.
size_t rig_count(const struct rig *r, uint16_t port);

// A SYN with ordinary options. The rest of the handshake follows if the host accepts.
void guest_syn(struct guest *g, struct rig *r, uint16_t port);
// The whole handshake; asserts that it succeeds.
void guest_connect(struct guest *g, struct rig *r, uint16_t port);
// A segment at the guest's own seq and ack; seq moves on.
void guest_send(struct guest *g, uint8_t flags, const void *payload, size_t len);
// Reads what was emitted to this guest since rig_clear, in order, and acknowledges it.
void guest_pump(struct guest *g);
// Sends len bytes and asserts that they come back within a virtual second.
void guest_echo(struct guest *g, size_t len);
// Both FINs; asserts that the connection ends in order.
void guest_close(struct guest *g);
// The test of every test: a fresh connection echoes within a virtual second, and ends.
void rig_assert_alive(struct rig *r);
