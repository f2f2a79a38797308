// SPDX-License-Identifier: BSD-3-Clause
// A receiver for link tests: records what a link reports, and builds frames to send.
#pragma once

#include "link/link.h"

#include "../test.h"

#include <stdio.h>

#define GOT_FRAMES 4096
#define GOT_BYTES  (8 * 1024 * 1024)

struct receiver {
    struct link *link;
    int batches;
    size_t count;
    size_t lens[GOT_FRAMES];  // of the frames, in order
    struct frame last;        // its iov is not valid any more
    uint8_t bytes[GOT_BYTES]; // the frames, one behind the other
    size_t used;
    int writable, down;
    char why[160];
    bool free_in_frames; // link_free from within on_frames
    bool echo;           // send back what came, and flush
};

static inline void
receiver_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct receiver *r = ctx;
    r->batches++;
    for (size_t i = 0; i < count; i++) {
        assert_true(r->count < GOT_FRAMES);
        assert_true(r->used + frames[i].len <= sizeof(r->bytes));
        r->lens[r->count++] = frames[i].len;
        for (int j = 0; j < frames[i].iovcnt; j++) {
            memcpy(r->bytes + r->used, frames[i].iov[j].iov_base, frames[i].iov[j].iov_len);
            r->used += frames[i].iov[j].iov_len;
        }
        r->last = frames[i];
        if (r->echo)
            link_send(r->link, &frames[i]);
    }
    if (r->echo)
        link_flush(r->link);
    if (r->free_in_frames) {
        link_free(r->link);
        r->link = NULL;
    }
}

static inline void
receiver_writable(void *ctx)
{
    struct receiver *r = ctx;
    r->writable++;
}

static inline void
receiver_down(void *ctx, const char *why)
{
    struct receiver *r = ctx;
    r->down++;
    snprintf(r->why, sizeof(r->why), "%s", why);
    link_free(r->link);
    r->link = NULL;
}

static const struct link_events receiver_events = {
    .on_frames = receiver_frames,
    .on_writable = receiver_writable,
    .on_down = receiver_down,
};

static inline struct receiver *
receiver_new(void)
{
    struct receiver *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    return r;
}

static inline void
turns(struct loop *loop, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(loop_turn(loop, 0), 0);
}

// A frame of len bytes whose content depends on seed; header of 14 bytes, payload in two pieces.
struct test_frame {
    uint8_t bytes[FRAME_MAX];
    struct iovec iov[3];
    struct frame frame;
};

static inline const struct frame *
frame_fill(struct test_frame *f, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        f->bytes[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
    size_t head = len < 14 ? len : 14;
    size_t half = (len - head) / 2;
    f->iov[0] = (struct iovec){f->bytes, head};
    f->iov[1] = (struct iovec){f->bytes + head, half};
    f->iov[2] = (struct iovec){f->bytes + head + half, len - head - half};
    f->frame = (struct frame){.iov = f->iov, .iovcnt = 3, .len = len};
    return &f->frame;
}
