// SPDX-License-Identifier: BSD-3-Clause
// A token bucket: so many per second, and as many at once as have come together meanwhile, at most
// a second's worth. Time is an argument.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    uint32_t per_s;
    uint64_t credit;      // millionths of a token
    uint64_t refilled_us; // when credit was last computed
};

// Full. per_s >= 1.
void bucket_init(struct bucket *bucket, uint32_t per_s, uint64_t now_us);
// Takes one. False when there is none.
bool bucket_take(struct bucket *bucket, uint64_t now_us);
