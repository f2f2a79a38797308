// SPDX-License-Identifier: BSD-3-Clause
// One side of the socket between broker and worker: sends messages in order, keeps what the socket
// does not take until it does, receives and validates. Never blocks. The broker's side (whose
// limits say from_worker) reads nothing while it keeps something.
#pragma once

#include "broker/protocol.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct courier_events {
    // A valid message and its descriptors, whose ownership passes. There are none, though the
    // message wants some (message_fds), when this process had no room for them (EMFILE).
    void (*on_message)(void *ctx, const struct message *m, const int *fds, size_t nfds);
    // The other side sent something else; it was dropped, its descriptors closed.
    void (*on_garbage)(void *ctx);
    // The other side is gone. Called once.
    void (*on_gone)(void *ctx);
};

struct courier_item {
    struct message message;
    int fds[MESSAGE_FDS_MAX]; // owned
    size_t nfds;
};

struct courier {
    struct loop *loop;
    struct loop_io io;
    unsigned watched; // events asked of the loop
    struct message_limits limits;
    const struct courier_events *events;
    void *ctx;
    struct courier_item *queue; // ring of what the socket did not take
    uint32_t size, head, used;
    int timer;    // -1: none
    bool crowded; // the first of the queue waits for the timer, not for room in the socket
};

// sock is taken over, also on failure. At most queue_size messages are kept. events and ctx outlive
// the courier. 0 or -errno.
int
courier_init(struct courier *c, struct loop *loop, int sock, uint32_t queue_size,
             const struct message_limits *limits, const struct courier_events *events, void *ctx);
void courier_fini(struct courier *c); // harmless on a zeroed courier or a second time

// Sends m with fd (-1: none; taken over, also on failure), now or as soon as the socket takes it.
// False when the queue is full or the other side gone.
bool courier_send(struct courier *c, const struct message *m, int fd);
// The same with nfds descriptors, 0 to MESSAGE_FDS_MAX.
bool courier_send_fds(struct courier *c, const struct message *m, const int *fds, size_t nfds);
// Messages that may still be queued.
uint32_t courier_room(const struct courier *c);
