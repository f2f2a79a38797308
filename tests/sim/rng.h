// SPDX-License-Identifier: BSD-3-Clause
// The simulation's only source of chance: splitmix64, so that everything follows from one 64-bit
// seed. Each actor owns a generator forked from the seed, so one actor's draws never shift
// another's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t
rng_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t
rng_next(struct rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return rng_mix(r->state);
}

// A generator of its own for the actor numbered `actor`.
static inline struct rng
rng_fork(uint64_t seed, uint64_t actor)
{
    return (struct rng){rng_mix(rng_mix(seed) ^ rng_mix(actor + 0x5851f42d4c957f2du))};
}

// 0 .. n-1; 0 for n = 0.
static inline uint64_t
rng_below(struct rng *r, uint64_t n)
{
    uint64_t v = rng_next(r);

    return n == 0 ? 0 : v % n;
}

// lo .. hi, both included.
static inline uint64_t
rng_range(struct rng *r, uint64_t lo, uint64_t hi)
{
    return lo + rng_below(r, hi - lo + 1);
}

// True with a chance of ppm in a million.
static inline bool
rng_chance(struct rng *r, uint32_t ppm)
{
    return rng_below(r, 1000000) < ppm;
}

// lo .. hi with equal weight for each power of two; lo >= 1.
static inline uint64_t
rng_log(struct rng *r, uint64_t lo, uint64_t hi)
{
    unsigned spread = (unsigned)(__builtin_clzll(lo) - __builtin_clzll(hi));
    uint64_t base = lo << rng_below(r, spread + 1);
    uint64_t v = rng_range(r, base, base * 2 - 1);

    return v > hi ? hi : v;
}
