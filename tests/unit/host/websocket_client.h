// SPDX-License-Identifier: BSD-3-Clause
// A tiny WebSocket client for the codec's tests: writes masked frames, right ones and wrong ones,
// and reads the codec's.
#pragma once

#include "codec_driver.h"

enum {
    CONTINUATION = 0x0,
    TEXT = 0x1,
    BINARY = 0x2,
    CLOSE = 0x8,
    PING = 0x9,
    PONG = 0xa,
    FIN = 0x80,
};

#define WEBSOCKET_REQUEST                                                                          \
    "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                   \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// What a client writes.
struct client {
    uint8_t bytes[8192];
    size_t len;
};

void client_byte(struct client *c, unsigned byte);
// A header whose length field has `extra` bytes (0, 2 or 8), masked, without payload.
void client_header(struct client *c, unsigned first, uint64_t len, size_t extra);
// `first` is opcode and FIN.
void client_frame(struct client *c, unsigned first, const void *payload, size_t len);
void client_close(struct client *c, unsigned code);
// Everything that is allowed, in one stream: "one two three four", one ping "p1", Close 1001.
void client_conversation(struct client *c);
// Payloads of the data frames that the codec wrote, one after the other; checks the frames.
size_t client_read(const uint8_t *wire, size_t len, uint8_t *out);

// A driver with the handshake done and its answer forgotten.
void websocket_init(struct driver *d);

void expect_bytes(const uint8_t *got, size_t got_len, const void *wanted, size_t wanted_len);
#define EXPECT_STREAM(d, text) expect_bytes((d)->stream, (d)->stream_len, text, sizeof(text) - 1)
#define EXPECT_WIRE(d, text)   expect_bytes((d)->wire, (d)->wire_len, text, sizeof(text) - 1)
