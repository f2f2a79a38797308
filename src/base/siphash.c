// SPDX-License-Identifier: BSD-3-Clause
// SipHash-2-4 as in the paper, section 2. Where keys come from is the caller's.
#include "base/siphash.h"

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t
rotl(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void
rounds(struct state *s, int n)
{
    while (n-- > 0) {
        s->v0 += s->v1;
        s->v1 = rotl(s->v1, 13) ^ s->v0;
        s->v0 = rotl(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotl(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotl(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotl(s->v1, 17) ^ s->v2;
        s->v2 = rotl(s->v2, 32);
    }
}

static void
compress(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

// Up to 8 bytes as a little-endian word.
static uint64_t
load_le(const uint8_t *p, size_t len)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint64_t
siphash(const struct siphash_key *key, const void *data, size_t len)
{
    const uint8_t *p = data;
    struct state s = {
        .v0 = key->k0 ^ 0x736f6d6570736575,
        .v1 = key->k1 ^ 0x646f72616e646f6d,
        .v2 = key->k0 ^ 0x6c7967656e657261,
        .v3 = key->k1 ^ 0x7465646279746573,
    };

    size_t tail = len % 8;
    for (size_t i = 0; i + 8 <= len; i += 8)
        compress(&s, load_le(p + i, 8));
    // The last word carries the length, so that trailing zeros count.
    compress(&s, (uint64_t)len << 56 | (tail > 0 ? load_le(p + len - tail, tail) : 0));
    s.v2 ^= 0xff;
    rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
