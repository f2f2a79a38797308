// SPDX-License-Identifier: BSD-3-Clause
// Where codec.c and the protocols meet. Only host/codec*.c include this; everybody else knows
// host/codec.h, which says what each operation does.
#pragma once

#include "host/codec.h"

struct codec_ops {
    int (*decode)(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
                  struct codec_step *step);
    // Called only when open, not shut, with nothing owed, in_len >= 1 and out_size >=
    // CODEC_ROOM_MIN.
    void (*encode)(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
                   struct codec_step *step);
    size_t (*reply)(struct codec *c, uint8_t *out, size_t out_size); // fills out or leaves nothing
    void (*finish)(struct codec *c);
    bool (*is_open)(const struct codec *c);
    bool (*is_shut)(const struct codec *c);
    bool (*may_end)(const struct codec *c);
};

// First member of each protocol's own struct, which is one block of memory.
struct codec {
    const struct codec_ops *ops;
};

// Each: NULL when out of memory.
struct codec *codec_telnet_new(bool server);
struct codec *codec_websocket_new(void); // the server side only, as QEMU

// Bytes of a protocol's own, made as a whole and sent in whatever pieces fit.
struct codec_staged {
    uint8_t bytes[512];
    size_t len; // made
    size_t at;  // sent of them
};

// Moves what fits to out; returns how much.
size_t codec_staged_take(struct codec_staged *s, uint8_t *out, size_t out_size);
