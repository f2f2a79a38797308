// SPDX-License-Identifier: BSD-3-Clause
// Drives a codec in the tests as an end would, and checks on the way what holds for every codec:
// steps stay within their buffers, room always means progress, an end stays an end.
#pragma once

#include "host/codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRIVER_MAX (1u << 14)

struct driver {
    struct codec *codec;
    int result;      // of the last decode
    uint8_t *stream; // all decoded bytes, DRIVER_MAX of room
    size_t stream_len;
    uint8_t *wire; // all replies and encoded bytes, DRIVER_MAX of room
    size_t wire_len;
};

void driver_init(struct driver *d, enum device_kind kind, bool server);
void driver_fini(struct driver *d);
// Decodes all of `in`, at most `piece` bytes at a time and into `room` bytes at a time, each in a
// heap block of exactly that size; then collects replies. Stops at an end. Returns what was taken.
size_t driver_decode(struct driver *d, const void *in, size_t len, size_t piece, size_t room);
void driver_reply(struct driver *d, size_t room);
// Encodes all of `in`; stops where the codec takes nothing. Returns what was taken.
size_t driver_encode(struct driver *d, const void *in, size_t len, size_t piece, size_t room);
// Forgets what was collected, not the codec.
void driver_clear(struct driver *d);

// xorshift64*: the tests' own stream of numbers, the same in every run.
uint32_t random_next(uint64_t *seed);
uint32_t random_below(uint64_t *seed, uint32_t bound);
