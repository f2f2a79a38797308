// SPDX-License-Identifier: BSD-3-Clause
// The log sink and the helpers for lines that a guest can trigger. What a line says, and the object
// it starts with, is the caller's.
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static enum log_level current_level = LOG_INFO;
static void (*current_sink)(void *ctx, enum log_level level, const char *line);
static void *current_ctx;

void
log_set_level(enum log_level level)
{
    current_level = level;
}

bool
log_enabled(enum log_level level)
{
    return level <= current_level;
}

void
log_set_sink(void (*sink)(void *ctx, enum log_level level, const char *line), void *ctx)
{
    current_sink = sink;
    current_ctx = ctx;
}

// A path or a peer's text must not be able to start a second line or to talk to the terminal.
static void
blank_control_bytes(char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            *text = '?';
    }
}

static void
write_stderr(const char *line)
{
    char out[LINE_MAX_BYTES + 16];
    int len = snprintf(out, sizeof(out), "vmchannel: %s\n", line);

    // One write, so that lines of two processes do not mix. Nobody to tell when it fails.
    ssize_t n = write(STDERR_FILENO, out, (size_t)len);
    (void)n;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
    int saved_errno = errno;
    char line[LINE_MAX_BYTES];
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (len >= 0) {
        blank_control_bytes(line);
        if (current_sink != NULL)
            current_sink(current_ctx, level, line);
        else
            write_stderr(line);
    }
    errno = saved_errno;
}

static void
limit_refill(struct log_limit *limit, uint64_t now_us)
{
    if (limit->refilled_us == 0) { // never used: a full bucket
        limit->tokens = limit->burst;
        limit->refilled_us = now_us > 0 ? now_us : 1;
        return;
    }
    if (now_us <= limit->refilled_us)
        return;

    uint64_t back = (now_us - limit->refilled_us) / limit->interval_us;
    if (back >= limit->burst - limit->tokens) {
        limit->tokens = limit->burst;
        limit->refilled_us = now_us;
    } else {
        limit->tokens += (uint32_t)back;
        limit->refilled_us += back * limit->interval_us;
    }
}

bool
log_limit_pass(struct log_limit *limit, uint64_t now_us, uint32_t *suppressed)
{
    *suppressed = 0;
    if (limit->interval_us == 0) // no limit
        return true;
    limit_refill(limit, now_us);
    if (limit->tokens == 0) {
        if (limit->suppressed < UINT32_MAX)
            limit->suppressed++;
        return false;
    }
    limit->tokens--;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}

char *
log_escape(char *out, size_t out_size, const void *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *in = text;
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        // The backslash too, so that no text can pretend to be an escape.
        bool plain = in[i] >= 0x20 && in[i] < 0x7f && in[i] != '\\';
        size_t need = plain ? 1 : 4;
        if (need >= out_size - used)
            break;
        if (plain) {
            out[used++] = (char)in[i];
            continue;
        }
        out[used++] = '\\';
        out[used++] = 'x';
        out[used++] = hex[in[i] >> 4];
        out[used++] = hex[in[i] & 15];
    }
    out[used] = '\0';
    return out;
}
