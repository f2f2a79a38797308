// SPDX-License-Identifier: BSD-3-Clause
// See codec_driver.h. Shared by test_codec_*.c.
#include "codec_driver.h"

#include "test.h"

#include <errno.h>

void
driver_init(struct driver *d, enum device_kind kind, bool server)
{
    struct device *dev = calloc(1, sizeof(*dev));
    assert_non_null(dev);
    dev->kind = kind;
    dev->server = server;
    *d = (struct driver){.codec = codec_new(dev)};
    free(dev);
    assert_non_null(d->codec);
    d->stream = malloc(DRIVER_MAX);
    d->wire = malloc(DRIVER_MAX);
    assert_non_null(d->stream);
    assert_non_null(d->wire);
}

void
driver_fini(struct driver *d)
{
    codec_free(d->codec);
    free(d->stream);
    free(d->wire);
}

void
driver_clear(struct driver *d)
{
    d->stream_len = d->wire_len = 0;
}

// A block of exactly len bytes, so that a sanitizer sees the first byte beyond.
static uint8_t *
exact_copy(const void *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

static void
collect(uint8_t *to, size_t *to_len, const uint8_t *from, size_t len)
{
    assert_true(len <= DRIVER_MAX - *to_len);
    if (len > 0)
        memcpy(to + *to_len, from, len);
    *to_len += len;
}

void
driver_reply(struct driver *d, size_t room)
{
    uint8_t *out = malloc(room);
    assert_non_null(out);
    for (;;) {
        size_t n = codec_reply(d->codec, out, room);
        assert_true(n <= room);
        if (n == 0)
            break;
        collect(d->wire, &d->wire_len, out, n);
    }
    free(out);
}

// One decode of all of a piece. Returns what was taken.
static size_t
decode_once(struct driver *d, const uint8_t *in, size_t len, size_t room)
{
    struct codec_step step;
    uint8_t *out = malloc(room > 0 ? room : 1);
    assert_non_null(out);
    int was = d->result;
    d->result = codec_decode(d->codec, in, len, out, room, &step);
    assert_true(d->result == 0 || d->result == CODEC_END || d->result == -EPROTO);
    assert_true(step.consumed <= len && step.produced <= room);
    assert_true(step.produced <= step.consumed);
    if (was != 0) {
        assert_int_equal(d->result, was);
        assert_int_equal(step.consumed, 0);
    }
    if (d->result == 0 && len > 0 && room > 0)
        assert_true(step.consumed > 0);
    collect(d->stream, &d->stream_len, out, step.produced);
    free(out);
    return step.consumed;
}

size_t
driver_decode(struct driver *d, const void *in, size_t len, size_t piece, size_t room)
{
    size_t at = 0;
    while (at < len && d->result == 0) {
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = exact_copy((const uint8_t *)in + at, n);
        at += decode_once(d, copy, n, room);
        free(copy);
        driver_reply(d, room);
    }
    decode_once(d, NULL, 0, room);
    return at;
}

size_t
driver_encode(struct driver *d, const void *in, size_t len, size_t piece, size_t room)
{
    size_t at = 0;
    uint8_t *out = malloc(room);
    assert_non_null(out);
    while (at < len) {
        struct codec_step step;
        size_t n = len - at < piece ? len - at : piece;
        uint8_t *copy = exact_copy((const uint8_t *)in + at, n);
        codec_encode(d->codec, copy, n, out, room, &step);
        free(copy);
        assert_true(step.consumed <= n && step.produced <= room);
        collect(d->wire, &d->wire_len, out, step.produced);
        at += step.consumed;
        if (step.consumed == 0 && step.produced == 0)
            break;
    }
    free(out);
    return at;
}

uint32_t
random_next(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

uint32_t
random_below(uint64_t *seed, uint32_t bound)
{
    return random_next(seed) % bound;
}
