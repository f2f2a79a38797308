// SPDX-License-Identifier: BSD-3-Clause
// How the makers of load measure, and the lines of JSON that bench.py reads: load.c in a guest with
// a kernel, tests/vhost_guest in one without. What they measure is each one's own.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LAPS_MAX (1 << 20)

static inline int64_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

// Bytes of several connections in one run.
struct bulk_sum {
    uint64_t total, least, most;
};

static const struct bulk_sum BULK_SUM_EMPTY = {.least = UINT64_MAX};

static inline void
bulk_sum_add(struct bulk_sum *s, uint64_t bytes)
{
    s->total += bytes;
    s->least = bytes < s->least ? bytes : s->least;
    s->most = bytes > s->most ? bytes : s->most;
}

static inline void
bulk_sum_report(const struct bulk_sum *s, double seconds)
{
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"least\": %llu, \"most\": %llu}\n",
           (unsigned long long)s->total, seconds, (unsigned long long)s->least,
           (unsigned long long)s->most);
}

// One thing done again and again, and how long it took each time:
//     for (laps_begin(&l, run_ms); laps_go_on(&l); laps_note(&l))
struct laps {
    int64_t began, last, ends;
    size_t count;
    uint32_t ns[LAPS_MAX];
};

static inline void
laps_begin(struct laps *l, unsigned run_ms)
{
    l->began = l->last = now_ns();
    l->ends = l->began + run_ms * INT64_C(1000000);
    l->count = 0;
}

static inline bool
laps_go_on(const struct laps *l)
{
    return l->count < LAPS_MAX && l->last < l->ends;
}

static inline void
laps_note(struct laps *l)
{
    int64_t now = now_ns();
    l->ns[l->count++] = (uint32_t)(now - l->last);
    l->last = now;
}

static inline int
laps_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void
laps_report(struct laps *l)
{
    qsort(l->ns, l->count, sizeof(l->ns[0]), laps_compare);
    printf("{\"count\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", l->count,
           (double)(l->last - l->began) / 1e9, l->ns[l->count / 2] / 1e3,
           l->ns[l->count * 99 / 100] / 1e3);
}
