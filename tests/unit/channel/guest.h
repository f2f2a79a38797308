// SPDX-License-Identifier: BSD-3-Clause
// A hub on a loop, an opener that the test answers by hand, and a guest: a second stack on the
// other end of a stream link, in the same loop.
#pragma once

#include "channel/hub.h"

#define GUEST_CONNS 16
#define HUB_CONNS   32

struct guest_conn {
    bool established, closed, eof;
    enum stack_close_reason reason;
    uint8_t data[1 << 16];
    size_t len;     // received so far, at most sizeof data kept
    uint64_t total; // received so far
};

struct open_request {
    uint64_t session;
    uint16_t channel;
    struct stack_peer peer;
};

struct rig {
    struct loop *loop;
    struct hub *hub;
    bool link_down; // the hub's link broke
    // opener
    struct open_request opens[64];
    size_t open_count;
    uint64_t cancelled[64];
    size_t cancel_count;
    // guest
    struct stack *guest;
    struct link *guest_link;
    int guest_timer;
    struct guest_conn conns[GUEST_CONNS];
    // Told of all that a conn receives, when set.
    void (*on_bytes)(void *ctx, const uint8_t *bytes, size_t len);
    void *ctx;
};

void rig_init(struct rig *r); // no channel yet
// The guest alone, on its end of a stream link: what it talks to, and the loop, are the caller's.
void rig_init_guest(struct rig *r, struct loop *loop, int link_fd);
void rig_fini_guest(struct rig *r);
void rig_fini(struct rig *r);
uint16_t rig_channel(struct rig *r, struct hub_channel config);
void rig_cut(struct rig *r); // the guest's end of the link goes away
// Turns the loop until *flag (or for at most 5 s, which fails the test).
void rig_until(struct rig *r, const bool *flag);
void rig_until_count(struct rig *r, const size_t *count, size_t at_least);
void rig_turns(struct rig *r, int ms); // a while

uint32_t rig_connect(struct rig *r, uint16_t port);
void rig_send(struct rig *r, uint32_t conn, const void *data, size_t len);
// Answers the newest request with one end of a socketpair; returns the other end (non-blocking).
int rig_open(struct rig *r);
// Connects and opens: *host_fd is the host program's end.
uint32_t rig_join(struct rig *r, uint16_t port, int *host_fd);
// Reads from the host program's end until len bytes came.
void rig_host_reads(struct rig *r, int fd, void *out, size_t len);
