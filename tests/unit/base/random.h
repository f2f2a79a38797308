// SPDX-License-Identifier: BSD-3-Clause
// Repeatable random numbers for tests (splitmix64). A test prints its seed or has a fixed one.
#pragma once

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline uint64_t
random_u64(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// 0 .. bound - 1
static inline uint32_t
random_below(struct random *r, uint32_t bound)
{
    return (uint32_t)(random_u64(r) >> 32) % bound;
}
