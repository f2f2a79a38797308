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
    bucket_init(&b, 5, 5, 1000);
    assert_int_equal(take_all(&b, 1000), 5);
    assert_int_equal(take_all(&b, 1000 + 60 * SECOND_US), 5);
}

TEST(then_they_come_at_the_rate)
{
    static const uint32_t rates[] = {1, 3, 7, 1000, 999983};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct bucket b;
        uint64_t now_us = 77;
        bucket_init(&b, rates[i], rates[i], now_us);
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
    bucket_init(&b, 10, 10, 0);
    assert_true(bucket_take(&b, 0));
    assert_int_equal(take_all(&b, SECOND_US - 1), 10);
}

TEST(the_depth_is_what_may_come_at_once)
{
    struct bucket b;
    bucket_init(&b, 1000, 30, 0);
    assert_int_equal(bucket_level(&b, 0), 30);
    bucket_spend(&b, 30);
    assert_int_equal(bucket_level(&b, 999), 0);
    assert_int_equal(bucket_level(&b, 1000), 1);
    assert_int_equal(bucket_level(&b, 30000), 30);
    assert_int_equal(bucket_level(&b, 3600 * (uint64_t)SECOND_US), 30);
}

TEST(what_was_spent_beyond_the_level_is_made_up_for)
{
    struct bucket b;
    bucket_init(&b, 1000, 100, 0);
    bucket_spend(&b, 600); // 500 of them are not there: half a second
    assert_int_equal(bucket_level(&b, 0), 0);
    assert_int_equal(bucket_wait_us(&b, 1), 501000);
    assert_false(bucket_take(&b, 500999));
    assert_true(bucket_take(&b, 501000));
}

TEST(what_was_returned_can_be_taken_again_up_to_the_depth)
{
    struct bucket b;
    bucket_init(&b, 1, 100, 0);
    bucket_spend(&b, 100);
    bucket_return(&b, 60);
    assert_int_equal(bucket_level(&b, 0), 60);
    bucket_return(&b, UINT64_MAX);
    assert_int_equal(bucket_level(&b, 0), 100);
}

TEST(the_wait_is_as_long_as_it_takes_and_no_microsecond_more)
{
    static const uint64_t rates[] = {1, 3, 1460, 999983, UINT64_C(12) << 30, BUCKET_MAX};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct bucket b;
        uint64_t wanted = rates[i] / 100 + 1;
        bucket_init(&b, rates[i], BUCKET_MAX, 5);
        bucket_spend(&b, BUCKET_MAX);
        uint64_t wait_us = bucket_wait_us(&b, wanted);
        struct bucket early = b;
        assert_true(bucket_level(&early, 5 + wait_us - 1) < wanted);
        assert_true(bucket_level(&b, 5 + wait_us) >= wanted);
        assert_int_equal(bucket_wait_us(&b, wanted), 0);
    }
}

TEST(a_wait_for_more_than_the_depth_is_one_for_the_depth)
{
    struct bucket b;
    bucket_init(&b, 10, 20, 0);
    bucket_spend(&b, 20);
    assert_int_equal(bucket_wait_us(&b, UINT64_MAX), 2 * SECOND_US);
}

TEST(huge_rates_depths_and_times_do_not_overflow)
{
    struct bucket b;
    bucket_init(&b, BUCKET_MAX, BUCKET_MAX, 0);
    bucket_spend(&b, 2 * BUCKET_MAX); // as deep in debt as it goes
    assert_int_equal(bucket_level(&b, SECOND_US), 0);
    assert_int_equal(bucket_level(&b, 2 * SECOND_US), BUCKET_MAX);
    bucket_spend(&b, BUCKET_MAX);
    assert_int_equal(bucket_level(&b, UINT64_MAX), BUCKET_MAX);
    bucket_init(&b, 1, BUCKET_MAX, 0);
    bucket_spend(&b, BUCKET_MAX);
    assert_int_equal(bucket_wait_us(&b, BUCKET_MAX), BUCKET_MAX * SECOND_US);
}

TEST(time_that_wraps_goes_on)
{
    struct bucket b;
    bucket_init(&b, 1000000, 1000, UINT64_MAX - 9);
    bucket_spend(&b, 1000);
    assert_int_equal(bucket_level(&b, 10), 20);
}

TEST(a_trickle_is_not_lost_by_looking_often)
{
    struct bucket b;
    bucket_init(&b, 3, 3, 0);
    bucket_spend(&b, 3);
    for (uint64_t us = 1; us < SECOND_US; us++)
        bucket_level(&b, us);
    assert_int_equal(bucket_level(&b, SECOND_US), 3);
}
