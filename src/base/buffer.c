// SPDX-License-Identifier: BSD-3-Clause
// A heap block that doubles. Who adds pieces from outside bounds their number.
#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 256

// Room for len more bytes and the zero byte.
static bool
reserve(struct buffer *b, size_t len)
{
    if (b->failed || len >= SIZE_MAX / 4 - b->len) {
        b->failed = true;
        return false;
    }
    size_t size = b->size > 0 ? b->size : FIRST_SIZE;
    while (size <= b->len + len)
        size *= 2;
    if (size == b->size)
        return true;
    char *grown = realloc(b->data, size);
    if (!grown) {
        b->failed = true;
        return false;
    }
    b->data = grown;
    b->size = size;
    return true;
}

void
buffer_add(struct buffer *b, const void *data, size_t len)
{
    if (!reserve(b, len))
        return;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void
buffer_add_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

void
buffer_printf(struct buffer *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0 || !reserve(b, (size_t)len)) {
        b->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(b->data + b->len, (size_t)len + 1, fmt, args);
    va_end(args);
    b->len += (size_t)len;
}

void
buffer_fini(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
