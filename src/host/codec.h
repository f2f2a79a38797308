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

#define CODEC_END      1  // the peer closed in the protocol's own way; nothing more will be decoded
#define CODEC_ROOM_MIN 32 // codec_encode takes nothing into less room than this

bool codec_is_needed(const struct device *dev);
// NULL for a device that needs none (raw), or when out of memory: tell apart by codec_is_needed.
struct codec *codec_new(const struct device *dev);
void codec_free(struct codec *c);

// Host -> guest. Takes wire bytes, writes stream bytes. 0; CODEC_END; or -EPROTO (the peer broke
// the protocol: send what codec_reply still has, which says why, and close). The step is filled in
// every case: what was produced before the end is good. May take without producing, never the other
// way round; never waits for codec_reply. An answer stays as it is once it was CODEC_END or
// -EPROTO.
int codec_decode(struct codec *c, const void *in, size_t in_len, void *out, size_t out_size,
                 struct codec_step *step);
// Guest -> host. Takes stream bytes, writes wire bytes, and before them what codec_reply would
// give. Takes nothing before codec_is_open, after codec_is_shut, or into less than CODEC_ROOM_MIN;
// takes something otherwise.
void codec_encode(struct codec *c, const void *in, size_t in_len, void *out, size_t out_size,
                  struct codec_step *step);
// Wire bytes the protocol itself wants sent now (negotiation, handshake answer, pong, close), to be
// asked for after codec_new, codec_decode and codec_finish. Any out_size; what does not fit is
// kept. Returns how many were written, 0: none.
size_t codec_reply(struct codec *c, void *out, size_t out_size);
// The guest has sent its last byte, and all were encoded: what the protocol says then goes out by
// codec_reply. Decoding goes on until the peer's own end.
void codec_finish(struct codec *c);
bool codec_is_open(const struct codec *c); // the handshake, if any, is done
// Nothing will be encoded any more: finished, or the peer closed. Of a stream that the guest still
// writes to, this is what EPIPE is for a socket.
bool codec_is_shut(const struct codec *c);
// An end of file of the wire is regular here. False: the stream was cut (a WebSocket without its
// Close, RFC 6455 7.1.5), which is an error of the host end.
bool codec_may_end(const struct codec *c);
