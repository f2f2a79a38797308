// SPDX-License-Identifier: BSD-3-Clause
// The one bounds-checked way in for untrusted bytes, and its mirror for writing. Reads past the end
// give zero and set `failed` for good, so a parser checks once at its end. Multi-byte values are
// big-endian on the wire, host order in memory.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at; // next byte
    size_t left;       // bytes from at to the end
    bool failed;       // a read went past the end
};

struct cursor cursor_of(const void *data, size_t len);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
// Copies len bytes to out; zeroes out on failure.
void cursor_bytes(struct cursor *c, void *out, size_t len);
void cursor_skip(struct cursor *c, size_t len);
// Splits off the next len bytes as a cursor of their own (failed and empty when too few).
struct cursor cursor_take(struct cursor *c, size_t len);

struct writer {
    uint8_t *at;   // next byte
    size_t left;   // room
    bool failed;   // a write did not fit
    uint8_t *base; // first byte, for writer_len
};

struct writer writer_of(void *data, size_t size);
void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_bytes(struct writer *w, const void *data, size_t len);
void writer_zero(struct writer *w, size_t len);
size_t writer_len(const struct writer *w);
