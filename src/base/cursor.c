// SPDX-License-Identifier: BSD-3-Clause
// Bounds-checked reading and writing. What the bytes mean is left to wire/ and the links.
#include "base/cursor.h"

#include <string.h>

struct cursor
cursor_of(const void *data, size_t len)
{
    return (struct cursor){.at = data, .left = len};
}

// The next len bytes, or NULL and a cursor that has failed and, being empty, will again.
static const uint8_t *
cursor_advance(struct cursor *c, size_t len)
{
    if (len > c->left) {
        c->failed = true;
        c->left = 0;
        return NULL;
    }
    const uint8_t *p = c->at;
    if (len > 0) {
        c->at += len;
        c->left -= len;
    }
    return p;
}

uint8_t
cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_advance(c, 1);
    return p == NULL ? 0 : p[0];
}

uint16_t
cursor_u16(struct cursor *c)
{
    const uint8_t *p = cursor_advance(c, 2);
    if (p == NULL)
        return 0;
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t
cursor_u32(struct cursor *c)
{
    const uint8_t *p = cursor_advance(c, 4);
    if (p == NULL)
        return 0;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void
cursor_bytes(struct cursor *c, void *out, size_t len)
{
    const uint8_t *p = cursor_advance(c, len);

    if (len == 0)
        return;
    if (p == NULL)
        memset(out, 0, len);
    else
        memcpy(out, p, len);
}

void
cursor_skip(struct cursor *c, size_t len)
{
    cursor_advance(c, len);
}

struct cursor
cursor_take(struct cursor *c, size_t len)
{
    const uint8_t *p = cursor_advance(c, len);
    if (c->failed)
        return (struct cursor){.at = c->at, .failed = true};
    return cursor_of(p, len);
}

struct writer
writer_of(void *data, size_t size)
{
    return (struct writer){.at = data, .left = size, .base = data};
}

// Room for the next len bytes, or NULL and a writer that takes nothing any more.
static uint8_t *
writer_advance(struct writer *w, size_t len)
{
    if (len > w->left) {
        w->failed = true;
        w->left = 0;
        return NULL;
    }
    uint8_t *p = w->at;
    if (len > 0) {
        w->at += len;
        w->left -= len;
    }
    return p;
}

void
writer_u8(struct writer *w, uint8_t v)
{
    uint8_t *p = writer_advance(w, 1);
    if (p != NULL)
        p[0] = v;
}

void
writer_u16(struct writer *w, uint16_t v)
{
    uint8_t *p = writer_advance(w, 2);
    if (p == NULL)
        return;
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void
writer_u32(struct writer *w, uint32_t v)
{
    uint8_t *p = writer_advance(w, 4);
    if (p == NULL)
        return;
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void
writer_bytes(struct writer *w, const void *data, size_t len)
{
    uint8_t *p = writer_advance(w, len);
    if (p != NULL && len > 0)
        memcpy(p, data, len);
}

void
writer_zero(struct writer *w, size_t len)
{
    uint8_t *p = writer_advance(w, len);
    if (p != NULL && len > 0)
        memset(p, 0, len);
}

size_t
writer_len(const struct writer *w)
{
    return (size_t)(w->at - w->base);
}
