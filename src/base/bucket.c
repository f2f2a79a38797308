// SPDX-License-Identifier: BSD-3-Clause
// See bucket.h. Counted in millionths of a token, of which a microsecond brings per_s: exact at any
// rate.
#include "base/bucket.h"

#include <assert.h>

#define TOKEN INT64_C(1000000)

_Static_assert(BUCKET_MAX <= INT64_MAX / TOKEN / 4, "a depth and as much of debt can be added up");

static int64_t
full(const struct bucket *bucket)
{
    return (int64_t)bucket->depth * TOKEN;
}

void
bucket_init(struct bucket *bucket, uint64_t per_s, uint64_t depth, uint64_t now_us)
{
    assert(per_s >= 1 && per_s <= BUCKET_MAX && depth >= 1 && depth <= BUCKET_MAX);
    *bucket = (struct bucket){.per_s = per_s, .depth = depth, .refilled_us = now_us};
    bucket->credit = full(bucket);
}

static void
refill(struct bucket *bucket, uint64_t now_us)
{
    uint64_t passed_us = now_us - bucket->refilled_us;
    uint64_t missing = (uint64_t)(full(bucket) - bucket->credit);
    bucket->refilled_us = now_us;
    if (passed_us > missing / bucket->per_s)
        bucket->credit = full(bucket);
    else
        bucket->credit += (int64_t)(passed_us * bucket->per_s);
}

bool
bucket_take(struct bucket *bucket, uint64_t now_us)
{
    if (bucket_level(bucket, now_us) == 0)
        return false;
    bucket->credit -= TOKEN;
    return true;
}

uint64_t
bucket_level(struct bucket *bucket, uint64_t now_us)
{
    refill(bucket, now_us);
    return bucket->credit > 0 ? (uint64_t)(bucket->credit / TOKEN) : 0;
}

void
bucket_spend(struct bucket *bucket, uint64_t tokens)
{
    assert(tokens <= 2 * BUCKET_MAX);
    bucket->credit -= (int64_t)tokens * TOKEN;
    assert(bucket->credit >= -(int64_t)BUCKET_MAX * TOKEN);
}

void
bucket_return(struct bucket *bucket, uint64_t tokens)
{
    uint64_t missing = (uint64_t)(full(bucket) - bucket->credit);
    if (tokens >= missing / (uint64_t)TOKEN)
        bucket->credit = full(bucket);
    else
        bucket->credit += (int64_t)tokens * TOKEN;
}

uint64_t
bucket_wait_us(const struct bucket *bucket, uint64_t tokens)
{
    int64_t wanted = (int64_t)(tokens < bucket->depth ? tokens : bucket->depth) * TOKEN;
    if (bucket->credit >= wanted)
        return 0;
    uint64_t missing = (uint64_t)(wanted - bucket->credit);
    return (missing + bucket->per_s - 1) / bucket->per_s; // both below 2^62
}
