// SPDX-License-Identifier: BSD-3-Clause
// The log: one line per event to stderr, "vmchannel: " in front, errno preserved. The sink and its
// level are the program's only mutable globals. Lines start with their object ("vm1: channel 600:
// conn 12: ..."), which the caller writes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_ERROR, // an operator must act
    LOG_WARN,  // something was refused
    LOG_INFO,  // lifecycle
    LOG_DEBUG, // a connection
    LOG_TRACE, // a frame
};

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

// Where lines go instead of stderr (tests, embedders); NULL restores stderr. line has no newline.
void log_set_sink(void (*sink)(void *ctx, enum log_level level, const char *line), void *ctx);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_at(level, ...)                                                                         \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_line(level, __VA_ARGS__);                                                          \
    } while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)

// A token bucket for lines that a guest can trigger: `burst` lines, then one per interval. The
// first line that passes after a drought says how many were left out.
struct log_limit {
    uint32_t burst;       // tokens at most
    uint64_t interval_us; // one token comes back per interval
    uint32_t tokens;      // tokens now
    uint64_t refilled_us; // when tokens was last computed
    uint32_t suppressed;  // lines left out since the last one that passed
};

// True if a line may be logged at now_us; *suppressed is then the number left out before it.
bool log_limit_pass(struct log_limit *limit, uint64_t now_us, uint32_t *suppressed);

// Copies len bytes of untrusted text to out (out_size >= 1) as printable ASCII, other bytes as
// \xNN; always terminated, cut where it does not fit. Returns out.
char *log_escape(char *out, size_t out_size, const void *text, size_t len);
