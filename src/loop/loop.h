// SPDX-License-Identifier: BSD-3-Clause
// The event loop: one epoll, timers on a wheel, and the turn. A turn is: wait, io callbacks, due
// timers, turn-end callbacks, deferred frees. Only this folder sees epoll. Single-threaded.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

enum loop_events {
    LOOP_READ = 1, // readable, or end of file
    LOOP_WRITE = 2,
    LOOP_HANGUP = 4,  // both directions gone, or an error (always reported, never asked for)
    LOOP_RDHUP = 8,   // the peer finished sending (must be asked for)
    LOOP_URGENT = 32, // urgent data: reads end at its mark (must be asked for)
    LOOP_EDGE = 16,   // edge-triggered (a mode, never reported)
};

// Embedded in its owner; fill fd, on_event and ctx, then loop_add. The loop keeps a pointer to it
// until loop_remove, after which no callback comes, not even for events already fetched.
struct loop_io {
    int fd; // the owner's
    void (*on_event)(void *ctx, unsigned events);
    void *ctx;
};

struct loop *loop_new(void); // NULL when out of memory or descriptors
void loop_free(struct loop *loop);

// 0 or -errno (EPERM: the fd cannot be polled, e.g. a regular file).
int loop_add(struct loop *loop, struct loop_io *io, unsigned events);
void loop_modify(struct loop *loop, struct loop_io *io, unsigned events);
void loop_remove(struct loop *loop, struct loop_io *io); // before the fd is closed

// A timer is a number; -1 when out of memory. Not armed at first; fires once per arming.
int loop_timer_new(struct loop *loop, void (*on_timer)(void *ctx), void *ctx);
void loop_timer_set(struct loop *loop, int timer, uint64_t deadline_us);
void loop_timer_clear(struct loop *loop, int timer);
void loop_timer_free(struct loop *loop, int timer);

// Called at the end of every turn, in the order of registration (at most 4, asserted).
void loop_on_turn_end(struct loop *loop, void (*on_turn_end)(void *ctx), void *ctx);

// Frees ptr by fn(ptr) after the turn: for objects whose own callback is on the stack.
void loop_defer(struct loop *loop, void (*fn)(void *), void *ptr);

// While waits are short, they are polled for up to poll_us before the loop sleeps; 0 (as at first):
// it sleeps at once. What is moved is told, as after many bytes a wait is better slept through:
// what comes next is the more for it.
void loop_set_poll(struct loop *loop, uint32_t poll_us);
void loop_moved(struct loop *loop, size_t bytes);

// CLOCK_MONOTONIC as of the start of the turn.
uint64_t loop_now_us(const struct loop *loop);
// CLOCK_MONOTONIC read now.
uint64_t loop_clock_us(void);

int loop_fd(
    const struct loop *loop); // pollable: readable when a turn has something to do, but for timers
// When the next timer is due; UINT64_MAX: none.
uint64_t loop_next_deadline(const struct loop *loop);
// One turn; waits at most timeout_ms (-1: until something happens, 0: not at all). 0 or -errno.
int loop_turn(struct loop *loop, int timeout_ms);
// Turns until loop_stop.
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
