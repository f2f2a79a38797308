// SPDX-License-Identifier: BSD-3-Clause
// Bytes that grow: text put together from pieces. An allocation that fails is remembered, so that
// the caller checks once, at the end. Not for the data path.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buffer {  // zero is empty
    char *data;  // heap, len bytes and a zero byte behind them; NULL while nothing was added
    size_t len;  // without that zero byte
    size_t size; // allocated
    bool failed; // memory ran out: what was added since is lost
};

void buffer_add(struct buffer *b, const void *data, size_t len);
void buffer_add_text(struct buffer *b, const char *text);
void buffer_printf(struct buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Frees what it holds; it is empty again.
void buffer_fini(struct buffer *b);
