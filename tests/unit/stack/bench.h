// SPDX-License-Identifier: BSD-3-Clause
// A bench for the stack: plays the guest frame by frame, records what the stack emits and tells.
// Time stands still unless a test moves it. One connection's bookkeeping is enough for these tests.
#pragma once

#include "stack/stack.h"
#include "wire/ipv4.h"
#include "wire/tcp.h"

#define GUEST_ADDR 0x0a00020fu // 10.0.2.15
#define OUR_ADDR   0x0a000204u // 10.0.2.4
#define GUEST_PORT 40000
#define OPEN_PORT  600

extern const struct mac guest_mac, our_mac;

struct sent_frame {
    uint8_t bytes[65600];
    size_t len;
    enum frame_csum csum;
    enum frame_gso gso;
    uint16_t gso_size;
    // its payload, which a link refers to until it is flushed; empty from then on
    struct iovec payload[FRAME_IOV_MAX - 1];
};

enum bench_event {
    AT_NOTHING,
    AT_ESTABLISHED,
    AT_DATA,
    AT_READABLE,
    AT_WRITABLE,
};

struct bench {
    struct stack *stack;
    uint64_t now_us;
    // frames the stack emitted since bench_clear
    struct sent_frame sent[64];
    size_t sent_count;
    bool link_full;
    size_t sent_most; // the link is full after so many; 0: it has room
    // events
    uint32_t conn; // of the last on_open or stack_connect
    unsigned opens, establishes, readables, writables, closes;
    enum stack_close_reason reason;
    enum bench_event abort_at; // the host end breaks there: stack_abort from within
    uint8_t data[1 << 17];     // what on_data and bench_drain took
    size_t data_len;
    size_t take_most; // on_data takes no more than this per call
    // the guest's view
    uint32_t seq, ack;
    bool no_sack; // what bench_establish says
};

void bench_init(struct bench *b,
                const struct stack_config *change); // change: NULL, or non-zero fields win
void bench_fini(struct bench *b);
void bench_clear(struct bench *b);             // forgets sent frames
void bench_wait(struct bench *b, uint64_t us); // moves time, deadline by deadline

// One frame from the guest, then the end of the turn.
void bench_frame(struct bench *b, const void *bytes, size_t len);
// The same without the end of the turn; the bytes must live until bench_flush.
void bench_input(struct bench *b, const void *bytes, size_t len);
void bench_flush(struct bench *b);

// Builds a TCP segment of the guest (ports and addresses filled when 0) into out; returns its
// length.
size_t bench_segment(struct tcp_header h, const void *payload, size_t len, uint8_t out[2048]);
void bench_send(struct bench *b, struct tcp_header h, const void *payload, size_t len);
// A segment with seq = b->seq and ack = b->ack; seq moves on by payload, SYN and FIN.
void bench_tcp(struct bench *b, uint8_t flags, const void *payload, size_t len);

// Emitted frame i as a TCP segment with a right checksum (asserted); payload into *payload, length
// returned in *len. NULLs are fine.
struct tcp_header bench_sent_tcp(struct bench *b, size_t i, const uint8_t **payload, size_t *len);
// SYN, accept, SYN-ACK, ACK: b->conn is established and sent frames are cleared.
void bench_establish(struct bench *b);
// Puts text in the send ring; it goes out at the next flush.
void bench_host_sends(struct bench *b, const void *text, size_t len);
