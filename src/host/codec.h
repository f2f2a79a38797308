// SPDX-License-Identifier: BSD-3-Clause
// What stands between the stream of a connection and the bytes on a host end: telnet (RFC 854, 855,
// and the options QEMU's chardev negotiates), WebSocket (RFC 6455, server, binary frames), nothing.
// Pure: buffers in, buffers out, no fd, no allocation after codec_new.
#pragma once

#include "host/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct codec;

struct codec_step {
    size_t consumed; // bytes taken from `in`
    size_t produced; // bytes written to `out`
};

#define CODEC_END 1 // the peer closed in the protocol's own way; nothing more will be decoded

// NULL for a device that needs none (raw), or when out of memory: tell apart by codec_is_needed.
bool codec_is_needed(const struct device *dev);
struct codec *codec_new(const struct device *dev);
void codec_free(struct codec *c);

// Host -> guest. Takes wire bytes, writes stream bytes. 0; CODEC_END; or -EPROTO (the peer broke the
// protocol: close). May take without producing and the other way round; call again while either
// moved. Answers that the protocol owes the peer are kept for codec_reply.
int codec_decode(struct codec *c, const void *in, size_t in_len, void *out, size_t out_size,
    struct codec_step *step);
// Guest -> host. Takes stream bytes, writes wire bytes; out_size >= 32. Takes nothing before
// codec_is_open.
void codec_encode(
    struct codec *c, const void *in, size_t in_len, void *out, size_t out_size, struct codec_step *step);
// Wire bytes the protocol itself wants sent now (negotiation, handshake answer, pong, close), before
// any encoded data of a later call. Returns how many were written, 0: none.
size_t codec_reply(struct codec *c, void *out, size_t out_size);
// The guest has sent its last byte: what the protocol says then goes out by codec_reply.
void codec_finish(struct codec *c);
bool codec_is_open(const struct codec *c); // the handshake, if any, is done
