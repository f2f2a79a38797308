// SPDX-License-Identifier: BSD-3-Clause
// A guest: a network card of two virtqueues with our own stack behind it, which opens connections
// to channels. Single-threaded: guest_turn() moves what there is, then waits. The memory that
// the stack sends from is the guest's, so nothing of the payload is copied on this side.
#pragma once

#include "nic.h"
#include "stack/stack.h"

#define GUEST_ADDR   0x0a00020fu // 10.0.2.15
#define CHANNEL_ADDR 0x0a000204u // 10.0.2.4

struct guest_options {
    const char *path; // of the back-end's socket
    unsigned within_ms;
    struct nic_options nic;
    uint32_t max_conns;
};

// One connection. The caller fills what is to be sent; what happens is told here.
struct peer {
    uint32_t conn;    // STACK_NO_CONN: not any more, or not yet
    uint64_t to_send; // bytes that are still to be put on their way
    uint64_t sent, received;
    uint64_t wrong;  // received bytes that are not what was sent
    bool exact;      // sends a pattern, and expects it back
    bool shuts_down; // behind the last byte
    bool established, at_end;
    bool closed; // for `reason`
    enum stack_close_reason reason;
};

struct guest {
    struct front_end front;
    struct nic nic;
    struct stack *stack;
    size_t pool_at;      // of the send pool, in the guest's memory
    struct peer **peers; // by conn
    uint64_t events;     // counts what may matter to who waits for something
};

// Connected, rings running. False: a message was printed.
bool guest_init(struct guest *g, const struct guest_options *options);
void guest_fini(struct guest *g); // stops the rings first
// Opens a connection to the port. `peer` is the caller's and stays until it is closed or forgotten.
bool guest_connect(struct guest *g, struct peer *peer, uint16_t port);
// More was added to to_send or shuts_down was set.
void guest_pump(struct guest *g, struct peer *peer);
// Forgets the peer: what comes is dropped, our side is closed in order.
void guest_close(struct guest *g, struct peer *peer);
// Moves frames both ways; with nothing to do, waits at most so long. extra_fd: one more to wait
// for, or -1.
void guest_turn(struct guest *g, int timeout_ms, int extra_fd);
uint64_t guest_now_us(void);
