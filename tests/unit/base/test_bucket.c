// SPDX-License-Identifier: BSD-3-Clause
// The token bucket, under a clock of the test's.
#include "test.h"

#include "base/bucket.h"

#define SECOND_US 1000000u

static unsigned
take_all(struct bucket *b, uint64_t now_us)
{
    unsigned count = 0;
    while (bucket_take(b, now_us))
        count++;
    return count;
}

TEST(a_seconds_worth_may_come_at_once)
{
    struct bucket b;
    bucket_init(&b, 5, 1000);
    assert_int_equal(take_all(&b, 1000), 5);
    assert_int_equal(take_all(&b, 1000 + 60 * SECOND_US), 5);
}

TEST(then_they_come_at_the_rate)
{
    static const uint32_t rates[] = {1, 3, 7, 1000, 999983};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct bucket b;
        uint64_t now_us = 77;
        bucket_init(&b, rates[i], now_us);
        take_all(&b, now_us);
        uint64_t total = 0;
        for (int step = 0; step < 100000; step++) { // 10 s
            now_us += 100;
            total += take_all(&b, now_us);
        }
        assert_in_range(total, 10ull * rates[i] - 1, 10ull * rates[i]);
    }
}

TEST(waiting_within_a_second_brings_no_more_than_its_worth)
{
    struct bucket b;
    bucket_init(&b, 10, 0);
    assert_true(bucket_take(&b, 0));
    assert_int_equal(take_all(&b, SECOND_US - 1), 10);
}
