// SPDX-License-Identifier: BSD-3-Clause
// What the files of hostile segments share beside the rig: one that is new, one with a connection.
#pragma once

#include "rig.h"

#include "../unit/test.h"

#define PORT 40000 // the guest's

#define SEGMENT(...) (&(struct segment_spec){.sport = PORT, __VA_ARGS__})

// There is one at a time. max_half_open 0: as rig_init has it.
static inline struct rig *
rig_new(uint32_t max_half_open)
{
    static struct rig r;

    rig_init(&r, max_half_open);
    return &r;
}

static inline struct rig *
rig_connected(struct guest *g)
{
    struct rig *r = rig_new(0);

    guest_connect(g, r, PORT);
    rig_clear(r);
    return r;
}

static inline void
finish(struct rig *r)
{
    rig_assert_alive(r);
    rig_fini(r);
}

static inline void
fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 256);
}

// One byte range of a stream that begins at the guest's seq, which does not move.
static inline void
send_range(struct rig *r, const struct guest *g, const uint8_t *bytes, size_t at, size_t len)
{
    rig_clear(r);
    rig_send(r, SEGMENT(.seq = g->seq + (uint32_t)at, .ack = g->ack, .flags = ACK, .window = 30000,
                        .payload = bytes + at, .payload_len = len));
}
