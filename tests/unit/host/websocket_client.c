// SPDX-License-Identifier: BSD-3-Clause
// See websocket_client.h. Shared by test_codec_websocket*.c.
#include "websocket_client.h"

#include "test.h"

void
client_byte(struct client *c, unsigned byte)
{
    assert_true(c->len < sizeof(c->bytes));
    c->bytes[c->len++] = (uint8_t)byte;
}

void
client_header(struct client *c, unsigned first, uint64_t len, size_t extra)
{
    client_byte(c, first);
    client_byte(c, 0x80 | (extra == 8 ? 127 : extra == 2 ? 126 : (unsigned)len));
    for (size_t i = extra; i > 0; i--)
        client_byte(c, (unsigned)(len >> (8 * (i - 1))) & 0xff);
    for (unsigned i = 0; i < 4; i++)
        client_byte(c, 0xa1 + 0x17 * i);
}

void
client_frame(struct client *c, unsigned first, const void *payload, size_t len)
{
    client_header(c, first, len, len > 65535 ? 8 : len > 125 ? 2 : 0);
    for (size_t i = 0; i < len; i++)
        client_byte(c, ((const uint8_t *)payload)[i] ^ (uint8_t)(0xa1 + 0x17 * (i % 4)));
}

void
client_close(struct client *c, unsigned code)
{
    uint8_t body[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    client_frame(c, FIN | CLOSE, body, 2);
}

void
websocket_init(struct driver *d)
{
    static const char request[] = WEBSOCKET_REQUEST;
    driver_init(d, DEVICE_WEBSOCKET, true);
    assert_false(codec_is_open(d->codec));
    assert_int_equal(driver_decode(d, request, sizeof(request) - 1, 4096, 64), sizeof(request) - 1);
    assert_true(codec_is_open(d->codec));
    assert_memory_equal(d->wire, "HTTP/1.1 101 ", 13);
    driver_clear(d);
}

void
expect_bytes(const uint8_t *got, size_t got_len, const void *wanted, size_t wanted_len)
{
    assert_int_equal(got_len, wanted_len);
    assert_memory_equal(got, wanted, wanted_len);
}

size_t
client_read(const uint8_t *wire, size_t len, uint8_t *out)
{
    size_t at = 0, n = 0;
    while (at < len) {
        assert_int_equal(wire[at], FIN | BINARY);
        uint64_t payload = wire[at + 1];
        assert_true(payload <= 127); // unmasked
        size_t extra = payload == 127 ? 8 : payload == 126 ? 2 : 0;
        at += 2;
        if (extra > 0)
            payload = 0;
        for (size_t i = 0; i < extra; i++)
            payload = payload << 8 | wire[at++];
        assert_true(extra != 2 || payload > 125);
        assert_true(extra != 8 || payload > 65535);
        assert_true(payload > 0 && payload <= len - at);
        memcpy(out + n, wire + at, payload);
        n += payload;
        at += payload;
    }
    return n;
}

void
client_conversation(struct client *c)
{
    client_frame(c, FIN | BINARY, "one ", 4);
    client_frame(c, FIN | TEXT, "two ", 4);
    client_frame(c, FIN | BINARY, "", 0);
    client_frame(c, BINARY, "th", 2);
    client_frame(c, FIN | PING, "p1", 2);
    client_frame(c, CONTINUATION, "", 0);
    client_frame(c, CONTINUATION, "re", 2);
    client_frame(c, FIN | PONG, "unasked", 7);
    client_frame(c, FIN | CONTINUATION, "e ", 2);
    client_frame(c, TEXT, "", 0);
    client_frame(c, FIN | CONTINUATION, "four", 4);
    client_close(c, 1001);
}
