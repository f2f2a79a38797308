// SPDX-License-Identifier: BSD-3-Clause
// A token bucket: so many per second, and as many at once as have come together meanwhile, at most
// its depth. Time is an argument.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_MAX (UINT64_C(1) << 40) // tokens per second, and of depth

struct bucket {
    uint64_t per_s, depth;
    int64_t credit;       // millionths of a token; below zero after bucket_spend()
    uint64_t refilled_us; // when credit was last computed
};

// Full. Both from 1 to BUCKET_MAX.
void bucket_init(struct bucket *bucket, uint64_t per_s, uint64_t depth, uint64_t now_us);
// Takes one. False when there is none.
bool bucket_take(struct bucket *bucket, uint64_t now_us);
// Whole tokens that are there now.
uint64_t bucket_level(struct bucket *bucket, uint64_t now_us);
// Takes so many, also more than there are: then none come before those were made up for. At most
// BUCKET_MAX in all more than there are.
void bucket_spend(struct bucket *bucket, uint64_t tokens);
// Gives back what was spent in vain.
void bucket_return(struct bucket *bucket, uint64_t tokens);
// How long until so many are there, at most depth; 0: they are. As of the last call with a time.
uint64_t bucket_wait_us(const struct bucket *bucket, uint64_t tokens);
