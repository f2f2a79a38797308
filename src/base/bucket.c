// SPDX-License-Identifier: BSD-3-Clause
// See bucket.h. Counted in millionths of a token, of which a microsecond brings per_s: exact at any
// rate.
#include "base/bucket.h"

#include <assert.h>

#define TOKEN UINT64_C(1000000)

void
bucket_init(struct bucket *bucket, uint32_t per_s, uint64_t now_us)
{
    assert(per_s >= 1);
    *bucket = (struct bucket){.per_s = per_s, .credit = per_s * TOKEN, .refilled_us = now_us};
}

bool
bucket_take(struct bucket *bucket, uint64_t now_us)
{
    uint64_t passed_us = now_us - bucket->refilled_us;
    uint64_t most = bucket->per_s * TOKEN; // a second's worth
    uint64_t more = passed_us < TOKEN ? passed_us * bucket->per_s : most;
    bucket->refilled_us = now_us;
    bucket->credit = more < most - bucket->credit ? bucket->credit + more : most;
    if (bucket->credit < TOKEN)
        return false;
    bucket->credit -= TOKEN;
    return true;
}
