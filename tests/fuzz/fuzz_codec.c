// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer entry for the codecs: the host program's bytes, in pieces the input chooses. Checks
// what the unit tests' driver checks: steps within their buffers, progress, an end that stays.
//
// Input: which codec and whether the guest finishes, piece and room sizes, then wire bytes.
// WebSockets start behind a good handshake, or at it.
#include "fuzz.h"

#include "host/codec.h"

enum {
    FLAG_WEBSOCKET = 1,
    FLAG_HANDSHAKE = 2, // WebSocket: fuzz the request itself; telnet: we are the server
    FLAG_FINISH = 4,
    FLAG_ENCODE = 8,
};

static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static void
take_replies(struct codec *c, size_t room)
{
    uint8_t *out = fuzz_exact(NULL, room);
    size_t n;
    do {
        n = codec_reply(c, out, room);
        assert(n <= room);
    } while (n > 0);
    free(out);
}

static int
decode_piece(struct codec *c, const uint8_t *data, size_t len, size_t room, struct codec_step *step)
{
    uint8_t *in = fuzz_exact(data, len), *out = fuzz_exact(NULL, room);
    int rc = codec_decode(c, in, len, out, room, step);
    assert(step->consumed <= len && step->produced <= room && step->produced <= step->consumed);
    assert(rc != 0 || step->consumed > 0 || len == 0); // room is never 0 here
    free(in);
    free(out);
    return rc;
}

static void
encode_some(struct codec *c, const uint8_t *data, size_t len, size_t room)
{
    struct codec_step step;
    uint8_t *in = fuzz_exact(data, len), *out = fuzz_exact(NULL, room);
    codec_encode(c, in, len, out, room, &step);
    assert(step.consumed <= len && step.produced <= room);
    bool takes = codec_is_open(c) && !codec_is_shut(c) && room - step.produced >= CODEC_ROOM_MIN;
    assert(!takes || len == 0 || step.consumed > 0);
    free(in);
    free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uint8_t flags = data[0];
    size_t piece = 1u + data[1], room = 1u + data[2];
    data += 3;
    size -= 3;

    static struct device dev;
    dev.kind = (flags & FLAG_WEBSOCKET) ? DEVICE_WEBSOCKET : DEVICE_TELNET;
    dev.server = (flags & (FLAG_WEBSOCKET | FLAG_HANDSHAKE)) != 0;
    struct codec *c = codec_new(&dev);
    assert(c);
    struct codec_step step;
    int rc = 0;
    if ((flags & FLAG_WEBSOCKET) && !(flags & FLAG_HANDSHAKE))
        rc = codec_decode(c, request, sizeof(request) - 1, NULL, 0, &step);
    while (size > 0 && rc == 0) {
        size_t len = size < piece ? size : piece;
        rc = decode_piece(c, data, len, room, &step);
        if (flags & FLAG_ENCODE)
            encode_some(c, data, len, room + CODEC_ROOM_MIN);
        data += step.consumed;
        size -= step.consumed;
        if (size % 2 == 0)
            take_replies(c, room);
    }
    if (flags & FLAG_FINISH)
        codec_finish(c);
    take_replies(c, room);
    assert(codec_decode(c, NULL, 0, NULL, 0, &step) == rc);
    codec_free(c);
    return 0;
}
