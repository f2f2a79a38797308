// SPDX-License-Identifier: BSD-3-Clause
// Copies of the frames that cross the link, for those who watch. Sends each as one message on a
// socket of the watcher's; what that does not take at once is left out and counted, so that
// watching holds nothing up. What becomes of them is the watcher's.
#pragma once

#include "base/frame.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define CAPTURES_MAX 4

// In front of the bytes of a frame; host byte order.
struct capture_header {
    uint64_t time_us;  // CLOCK_MONOTONIC
    uint32_t len;      // of the whole frame
    uint32_t to_guest; // 0: from the guest, 1: to it
    uint32_t left_out; // frames since the last message
    uint32_t zero;
};

struct capture_sink {
    struct loop_io io; // fd -1: free
    struct captures *owner;
    uint32_t snaplen;
    uint32_t left_out;
};

struct captures {
    struct loop *loop;
    uint32_t count;
    struct capture_sink sinks[CAPTURES_MAX];
};

void captures_init(struct captures *c, struct loop *loop);
void captures_fini(struct captures *c);
// fd: a connected socket that keeps messages apart, taken over. One too many is closed at once. It
// is dropped when its other end is closed.
void captures_add(struct captures *c, int fd, uint32_t snaplen);
// To be called when count > 0.
void captures_take(struct captures *c, const struct frame *frame, bool to_guest);
