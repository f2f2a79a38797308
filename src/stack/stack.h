// SPDX-License-Identifier: BSD-3-Clause
// The guest-side network stack, sans-IO: Ethernet frames in, frames and stream events out by
// callback, time an argument. No fd, no clock, no allocation after stack_new. One guest per stack.
// ARP, ICMP echo, DHCP and their like of IPv6 are answered inside; each TCP connection is a `conn`,
// a number below config.max_conns that is valid from on_open (or stack_connect) until on_closed.
//
// A turn: any number of stack_input() calls, then stack_flush(), which delivers what arrived,
// answers it and sends what may be sent. In-order payload is handed over at the flush, straight
// from the caller's frames, so frames given to stack_input must stay readable until stack_flush
// returns. Callbacks may call any stack_* function on the conn they are about. Data and ends are
// told at the flush, but stack_input may have to do it at once (a RST, bytes out of order, a very
// large turn).
#pragma once

#include "base/frame.h"
#include "base/ipv6_addr.h"
#include "base/siphash.h"
#include "wire/ether.h"

#include <sys/uio.h>

struct stack;

#define STACK_NO_CONN UINT32_MAX

struct stack_config {
    struct mac mac;      // ours
    uint32_t addr;       // the channel address (10.0.2.4), host order
    uint32_t guest_addr; // what DHCP leases (10.0.2.15)
    uint32_t netmask;
    struct ipv6_addr addr6; // the channel address (fd10:0:2::4); ::: no IPv6
    uint16_t mtu;           // largest IP packet to and from the guest without GSO; told to it
    bool csum_offload;      // the link takes FRAME_CSUM_PARTIAL frames
    bool tso;               // the link takes FRAME_GSO_TCP4 frames (implies csum_offload)
    bool tso6;              // ... and FRAME_GSO_TCP6 frames (likewise)
    uint32_t max_conns;     // table size
    uint32_t max_half_open; // connections not yet established; beyond it the oldest one gives way
    uint32_t ring_bytes;    // capacity of each direction's ring, a power of two >= 4096
    struct siphash_key secret; // random; keys ISNs and the connection hash
};

enum stack_close_reason {
    STACK_CLOSED,    // both sides finished in order
    STACK_RESET,     // the guest sent RST
    STACK_TIMED_OUT, // the guest did not answer retransmissions or probes
    STACK_ABORTED,   // stack_abort, stack_reject, stack_link_down
    STACK_REFUSED,   // active open: the guest refused
    STACK_EVICTED,   // made room: oldest half-open
};

struct stack_peer {
    uint32_t addr;          // the guest's IPv4 address, host order; 0: see addr6
    uint16_t port;          // the guest's port
    uint16_t local_port;    // the channel's port
    struct ipv6_addr addr6; // its IPv6 address; :: beside an IPv4 address, or where it has neither
};

struct stack_ops {
    // Sends one frame now. Header bytes live during the call, payload iovecs (of rings and replies)
    // until the next stack_* call after the flush. False: no room; the stack keeps its work, and
    // goes on at the next stack_flush after stack_unblock().
    bool (*on_emit)(void *ctx, const struct frame *frame);
    // True if the channel address answers on this port (else RST). Asked once per SYN, cheap.
    bool (*on_port)(void *ctx, uint16_t port);
    // A guest wants to connect. Nothing is answered until stack_accept() or stack_reject().
    void (*on_open)(void *ctx, uint32_t conn, const struct stack_peer *peer);
    // The handshake is complete (either direction).
    void (*on_established)(void *ctx, uint32_t conn);
    // In-order bytes from the guest. Returns how many were taken from the front, 0 when the host
    // end takes none now; the stack keeps the rest in the receive ring (see stack_recv_iov). Called
    // only while the receive ring is empty. A broken host end calls stack_abort and returns 0.
    size_t (*on_data)(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt);
    // Bytes were added to the receive ring and wait for stack_recv_consume, or the guest's FIN came
    // after the last byte: ask stack_recv_at_end().
    void (*on_readable)(void *ctx, uint32_t conn);
    // The send ring has room again after stack_send_iov gave none.
    void (*on_writable)(void *ctx, uint32_t conn);
    // The conn is gone; its number may be reused after this returns. Also called for conns whose
    // on_open is unanswered. Not called for a conn between stack_reject and return.
    void (*on_closed)(void *ctx, uint32_t conn, enum stack_close_reason reason);
};

// Counters, monotonic.
struct stack_stats {
    uint64_t frames_in, frames_out;
    uint64_t bytes_in, bytes_out; // TCP payload delivered, sent (without retransmissions)
    uint64_t dropped_malformed;   // any layer
    uint64_t dropped_checksum;
    uint64_t dropped_not_for_us;    // address, protocol, fragment
    uint64_t dropped_no_ring;       // ring pool exhausted
    uint64_t retransmits, timeouts; // segments; RTO expiries
    uint64_t resets_sent, challenge_acks;
    uint64_t conns_opened, conns_refused, conns_evicted;
};

// ops and ctx are the caller's and outlive the stack. NULL when out of memory.
struct stack *stack_new(const struct stack_config *config, const struct stack_ops *ops, void *ctx,
                        uint64_t now_us);
void stack_free(struct stack *s); // no callbacks

// One frame from the guest. Never fails: what cannot be used is counted and dropped.
void stack_input(struct stack *s, const struct frame *frame, uint64_t now_us);
// Ends a turn.
void stack_flush(struct stack *s, uint64_t now_us);
// Runs due timers; follow with stack_flush.
void stack_timers(struct stack *s, uint64_t now_us);
// When stack_timers wants to be called at the latest; UINT64_MAX: never.
uint64_t stack_next_deadline(const struct stack *s);
// The link takes frames again.
void stack_unblock(struct stack *s);
// The link is gone or another guest came: every conn ends with on_closed(STACK_ABORTED), silently
// towards the guest; what was learned about the guest (MAC) is forgotten.
void stack_link_down(struct stack *s);
// Changes what the link can carry (a new link was attached).
void stack_set_link(struct stack *s, uint16_t mtu, bool csum_offload, bool tso, bool tso6);

// Answers on_open: SYN-ACK, or RST with ACK. After stack_reject the conn is gone, without
// on_closed.
void stack_accept(struct stack *s, uint32_t conn, uint64_t now_us);
void stack_reject(struct stack *s, uint32_t conn, uint64_t now_us);
// Active open to guest addr:port (IPv4) from local_port (0: an ephemeral one). The conn, or
// STACK_NO_CONN when the table is full or addr is 0. on_established or on_closed follows.
uint32_t
stack_connect(struct stack *s, uint32_t addr, uint16_t port, uint16_t local_port, uint64_t now_us);
void stack_peer_of(const struct stack *s, uint32_t conn, struct stack_peer *out);

// Host -> guest. Free room of the send ring as 0..2 iovecs to be filled from the front; 0 arms
// on_writable. Then always stack_send_commit(n) of them, 0 included; they go out at the next flush.
int stack_send_iov(struct stack *s, uint32_t conn, struct iovec iov[2]);
void stack_send_commit(struct stack *s, uint32_t conn, size_t n);
// FIN after what is in the send ring (SHUT_WR). Idempotent.
void stack_shutdown(struct stack *s, uint32_t conn);

// Guest -> host, what on_data did not take: kept bytes as 0..2 iovecs, in order; then consume n.
int stack_recv_iov(const struct stack *s, uint32_t conn, struct iovec iov[2]);
void stack_recv_consume(struct stack *s, uint32_t conn, size_t n);
// True once the guest's FIN has come and every byte before it was taken.
bool stack_recv_at_end(const struct stack *s, uint32_t conn);

// RST now; the conn is gone with on_closed(STACK_ABORTED).
void stack_abort(struct stack *s, uint32_t conn, uint64_t now_us);
// RST as soon as the guest has acknowledged what is in the send ring (a host end that broke after
// bytes were received from it). Bytes from the guest are refused by then too.
void stack_abort_after_send(struct stack *s, uint32_t conn, uint64_t now_us);
// The host end is closed for both ways: a guest that neither sends nor closes is given 60 s.
void stack_orphan(struct stack *s, uint32_t conn);

const struct stack_stats *stack_stats_of(const struct stack *s);
uint32_t stack_conn_count(const struct stack *s);
