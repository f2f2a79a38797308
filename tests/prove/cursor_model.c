// SPDX-License-Identifier: BSD-3-Clause
// base/cursor.h for parsers that walk lists of options, and for all that emit: instead of a place
// in a buffer there is only how much is left of it, and what is read is any value. So a proof over
// it holds for buffers of every length. It may do more than base/cursor.c may, never less:
// prove_cursor.c and prove_writer.c show that what is said here of `at`, `left` and `failed` is so.
//
// Nothing may be touched through `at`, but of a piece that was split off: of that one just as many
// bytes as it has, or the first PIECE_MAX.
#include "base/cursor.h"

#define PIECE_MAX 40 // bytes: the most options that a TCP header has

static uint8_t piece[PIECE_MAX];

static bool
step(size_t *left, bool *failed, size_t len)
{
    if (len > *left) {
        *failed = true;
        *left = 0;
        return false;
    }
    size_t rest = *left - len;
    // Eva does not see that this cannot be.
    while (rest > *left)
        ;
    *left = rest;
    return true;
}

static bool
advance(struct cursor *c, size_t len)
{
    return step(&c->left, &c->failed, len);
}

uint8_t
cursor_u8(struct cursor *c)
{
    return advance(c, 1) ? any_u8() : 0;
}

uint16_t
cursor_u16(struct cursor *c)
{
    return advance(c, 2) ? any_u16() : 0;
}

uint32_t
cursor_u32(struct cursor *c)
{
    return advance(c, 4) ? any_u32() : 0;
}

void
cursor_bytes(struct cursor *c, void *out, size_t len)
{
    advance(c, len);
    Frama_C_make_unknown(out, len);
}

void
cursor_skip(struct cursor *c, size_t len)
{
    advance(c, len);
}

struct cursor
cursor_take(struct cursor *c, size_t len)
{
    size_t before = c->left, kind;
    bool is_there = advance(c, len) && !c->failed;

    //@ split is_there;
    if (!is_there)
        return (struct cursor){.at = NULL, .failed = true};
    // Nor does it see this.
    while (len > before)
        ;
    kind = len > PIECE_MAX ? PIECE_MAX + 1 : len;
    ANY(piece);
    //@ split kind;
    if (kind <= PIECE_MAX)
        return (struct cursor){.at = piece + PIECE_MAX - kind, .left = kind};
    return (struct cursor){.at = piece, .left = any_size(kind, SIZE_MAX)};
}

void
writer_u8(struct writer *w, uint8_t v)
{
    (void)v;
    step(&w->left, &w->failed, 1);
}

void
writer_u16(struct writer *w, uint16_t v)
{
    (void)v;
    step(&w->left, &w->failed, 2);
}

void
writer_u32(struct writer *w, uint32_t v)
{
    (void)v;
    step(&w->left, &w->failed, 4);
}

void
writer_bytes(struct writer *w, const void *data, size_t len)
{
    const uint8_t *from = data;
    if (step(&w->left, &w->failed, len) && len > 0)
        piece[0] = from[any_size(0, len - 1)];
}

void
writer_zero(struct writer *w, size_t len)
{
    step(&w->left, &w->failed, len);
}

size_t
writer_len(const struct writer *w)
{
    (void)w;
    return any_size(0, SIZE_MAX);
}
