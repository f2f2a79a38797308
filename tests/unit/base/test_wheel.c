// SPDX-License-Identifier: BSD-3-Clause
// The timer wheel at its edges, and against a table of deadlines under random operations.
#include "test.h"

#include "base/random.h"
#include "base/wheel.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#define TICK_US 1024u
#define SPAN_US ((uint64_t)TICK_US << 24)
#define ENTRIES 64

static struct wheel wheel;
static struct wheel_entry entries[ENTRIES];

static void
start(uint64_t now_us)
{
    memset(entries, 0, sizeof(entries));
    wheel_init(&wheel, entries, ENTRIES, now_us);
}

TEST(nothing_set_is_never)
{
    start(123456);
    assert_int_equal(wheel_next(&wheel), WHEEL_NEVER);
    assert_int_equal(wheel_pop(&wheel, 999999999), WHEEL_NONE);
    assert_int_equal(wheel_deadline(&wheel, 0), WHEEL_NEVER);
    wheel_clear(&wheel, 0);
}

TEST(init_does_not_touch_the_entries)
{
    size_t count = 1 << 20, bytes = count * sizeof(struct wheel_entry);
    size_t pages = (bytes + 4095) / 4096, resident = 0;
    struct wheel_entry *lazy = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unsigned char *map = malloc(pages);

    assert_true(lazy != MAP_FAILED);
    wheel_init(&wheel, lazy, (uint32_t)count, 0);
    assert_int_equal(mincore(lazy, bytes, map), 0);
    for (size_t i = 0; i < pages; i++)
        resident += map[i] & 1;
    assert_int_equal(resident, 0);
    wheel_set(&wheel, (uint32_t)count - 1, 5000);
    assert_int_equal(wheel_pop(&wheel, 6100), count - 1);
    free(map);
    munmap(lazy, bytes);
}

TEST(an_entry_expires_once_and_not_early)
{
    start(10000);
    wheel_set(&wheel, 7, 20000);
    assert_int_equal(wheel_deadline(&wheel, 7), 20000);
    assert_int_equal(wheel_pop(&wheel, 19999), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 20000 + TICK_US), 7);
    assert_int_equal(wheel_deadline(&wheel, 7), WHEEL_NEVER);
    assert_int_equal(wheel_pop(&wheel, 20000 + TICK_US), WHEEL_NONE);
    assert_int_equal(wheel_next(&wheel), WHEEL_NEVER);
}

TEST(a_deadline_in_the_past_expires_at_the_next_pop)
{
    start(1000000);
    wheel_set(&wheel, 1, 0);
    wheel_set(&wheel, 2, 999999);
    wheel_set(&wheel, 3, 1000000);
    assert_true(wheel_next(&wheel) <= 1000000);
    uint64_t seen = 0;
    for (int i = 0; i < 3; i++)
        seen |= 1ull << wheel_pop(&wheel, 1000000);
    assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3);
    assert_int_equal(wheel_pop(&wheel, 1000000), WHEEL_NONE);
}

TEST(moving_replaces_and_clearing_forgets)
{
    start(0);
    wheel_set(&wheel, 1, 5000);
    wheel_set(&wheel, 1, 90000);
    wheel_set(&wheel, 2, 5000);
    wheel_clear(&wheel, 2);
    wheel_set(&wheel, 3, 5000);
    wheel_set(&wheel, 3, WHEEL_NEVER);
    assert_int_equal(wheel_pop(&wheel, 80000), WHEEL_NONE);
    assert_int_equal(wheel_deadline(&wheel, 3), WHEEL_NEVER);
    assert_int_equal(wheel_pop(&wheel, 100000), 1);
    assert_int_equal(wheel_pop(&wheel, UINT64_MAX - 1), WHEEL_NONE);
}

TEST(an_entry_due_but_not_popped_can_still_be_cleared)
{
    start(0);
    wheel_set(&wheel, 1, 5000);
    wheel_set(&wheel, 2, 5000);
    uint32_t first = wheel_pop(&wheel, 10000);
    uint32_t other = 3 - first;
    wheel_clear(&wheel, other);
    assert_int_equal(wheel_pop(&wheel, 10000), WHEEL_NONE);
}

TEST(growing_keeps_what_is_set)
{
    struct wheel_entry more[2 * ENTRIES] = {0};

    start(0);
    wheel_set(&wheel, 5, 5000);
    wheel_set(&wheel, 6, 5000);
    memcpy(more, entries, sizeof(entries));
    memset(entries, 0xff, sizeof(entries));
    wheel_grow(&wheel, more, 2 * ENTRIES);
    wheel_set(&wheel, 2 * ENTRIES - 1, 5000);
    uint32_t sum = 0;
    for (int i = 0; i < 3; i++)
        sum += wheel_pop(&wheel, 7000);
    assert_int_equal(sum, 5 + 6 + 2 * ENTRIES - 1);
    assert_int_equal(wheel_pop(&wheel, 7000), WHEEL_NONE);
}

// Sleeping until wheel_next again and again must reach a deadline, from anywhere and however far.
TEST(sleeping_reaches_every_deadline)
{
    static const uint64_t starts_us[] = {0, 1, 1023, SPAN_US - 1, SPAN_US, 1755000000000000};
    static const uint64_t delays_us[] = {0,
                                         1,
                                         1023,
                                         1024,
                                         65535,
                                         65536,
                                         70000,
                                         4194303,
                                         4194304,
                                         268435456,
                                         SPAN_US - 1,
                                         SPAN_US,
                                         SPAN_US + 1,
                                         3 * SPAN_US + 12345,
                                         100 * SPAN_US};

    for (size_t s = 0; s < sizeof(starts_us) / sizeof(starts_us[0]); s++) {
        for (size_t d = 0; d < sizeof(delays_us) / sizeof(delays_us[0]); d++) {
            uint64_t now_us = starts_us[s], deadline_us = now_us + delays_us[d];
            int sleeps = 0;
            start(now_us);
            wheel_set(&wheel, 3, deadline_us);
            while (wheel_pop(&wheel, now_us) == WHEEL_NONE) {
                uint64_t next_us = wheel_next(&wheel);
                assert_true(next_us > now_us && next_us <= deadline_us);
                now_us = next_us;
                assert_true(++sleeps < 300);
            }
            assert_int_equal(now_us, deadline_us);
        }
    }
}

TEST(the_end_of_time_does_not_overflow)
{
    start(UINT64_MAX - 5 * TICK_US);
    wheel_set(&wheel, 1, UINT64_MAX - 1);
    wheel_set(&wheel, 2, UINT64_MAX - 4 * TICK_US);
    assert_int_equal(wheel_pop(&wheel, UINT64_MAX - 3 * TICK_US), 2);
    assert_true(wheel_next(&wheel) <= UINT64_MAX - 1);
    assert_int_equal(wheel_pop(&wheel, UINT64_MAX - 1), 1);
}

TEST(an_entry_far_beyond_the_span_does_not_hide_a_nearer_one)
{
    start(0);
    wheel_set(&wheel, 1, 1000 * SPAN_US); // waits in the farthest slot of the top level
    uint64_t now_us = SPAN_US / 2;
    assert_int_equal(wheel_pop(&wheel, now_us), WHEEL_NONE);
    wheel_set(&wheel, 2, SPAN_US + SPAN_US / 4); // lands in a later slot, but is due first
    assert_true(wheel_next(&wheel) <= SPAN_US + SPAN_US / 4);
    assert_int_equal(wheel_pop(&wheel, SPAN_US + SPAN_US / 4), 2);
    assert_int_equal(wheel_pop(&wheel, 1000 * SPAN_US - 1), WHEEL_NONE);
    assert_int_equal(wheel_pop(&wheel, 1000 * SPAN_US), 1);
}

TEST(a_crowd_in_one_slot_does_not_hide_the_soonest)
{
    static const uint64_t begins_us[] = {50 * TICK_US, 1000 * TICK_US, 100000 * TICK_US};

    for (int level = 0; level < 3; level++) {
        start(0);
        wheel_set(&wheel, 0, begins_us[level] + 1);
        for (uint32_t i = 1; i < ENTRIES; i++)
            wheel_set(&wheel, i, begins_us[level] + 100 + i);
        uint64_t now_us = 0;
        while (wheel_pop(&wheel, now_us) == WHEEL_NONE) {
            assert_true(wheel_next(&wheel) > now_us);
            now_us = wheel_next(&wheel);
        }
        assert_int_equal(now_us, begins_us[level] + 1);
    }
}

TEST(thousands_in_one_tick_are_popped_exactly)
{
    enum { MANY = 10000 };
    static struct wheel_entry many[MANY];
    struct wheel w;
    uint32_t popped = 0;

    wheel_init(&w, many, MANY, 0);
    for (uint32_t i = 0; i < MANY; i++)
        wheel_set(&w, i, 102400 + i % TICK_US);
    for (uint64_t now_us = 102300; now_us < 102400 + TICK_US; now_us += 7) {
        uint32_t i;
        while ((i = wheel_pop(&w, now_us)) != WHEEL_NONE) {
            assert_true(102400 + i % TICK_US <= now_us);
            popped++;
        }
        assert_true(wheel_next(&w) > now_us);
    }
    assert_true(popped > MANY - 100);
}

struct model {
    uint64_t deadline_us[ENTRIES];
};

static uint64_t
model_soonest(const struct model *m)
{
    uint64_t soonest_us = WHEEL_NEVER;
    for (int i = 0; i < ENTRIES; i++)
        soonest_us = m->deadline_us[i] < soonest_us ? m->deadline_us[i] : soonest_us;
    return soonest_us;
}

static uint64_t
random_delay(struct random *rnd)
{
    // From below a tick to several spans, every magnitude as likely as another.
    return random_u64(rnd) >> (26 + random_below(rnd, 38));
}

static void
pop_all(struct model *m, uint64_t now_us)
{
    uint32_t i;

    while ((i = wheel_pop(&wheel, now_us)) != WHEEL_NONE) {
        assert_true(i < ENTRIES);
        assert_true(m->deadline_us[i] <= now_us); // set, and never early
        m->deadline_us[i] = WHEEL_NEVER;
    }
    uint64_t soonest_us = model_soonest(m), next_us = wheel_next(&wheel);
    assert_true(soonest_us == WHEEL_NEVER || soonest_us + TICK_US > now_us); // at most a tick late
    assert_true(next_us <= soonest_us);
    assert_true(next_us > now_us); // or the caller would spin
    assert_true(soonest_us != WHEEL_NEVER || next_us == WHEEL_NEVER);
}

static void
agree_with_model(uint64_t seed)
{
    struct random rnd = {seed};
    struct model m;
    uint64_t now_us = random_u64(&rnd) >> (10 + random_below(&rnd, 50));

    start(now_us);
    for (int i = 0; i < ENTRIES; i++)
        m.deadline_us[i] = WHEEL_NEVER;
    for (int step = 0; step < 2000; step++) {
        uint32_t i = random_below(&rnd, ENTRIES);
        switch (random_below(&rnd, 8)) {
        case 0:
            wheel_clear(&wheel, i);
            m.deadline_us[i] = WHEEL_NEVER;
            break;
        case 1: // into the past
            m.deadline_us[i] = now_us - random_below(&rnd, 5000) % (now_us + 1);
            wheel_set(&wheel, i, m.deadline_us[i]);
            break;
        case 2: // time passes, or sleeps as long as it may
            now_us += random_delay(&rnd);
            pop_all(&m, now_us);
            break;
        case 3:
            if (wheel_next(&wheel) != WHEEL_NEVER && wheel_next(&wheel) > now_us)
                now_us = wheel_next(&wheel);
            pop_all(&m, now_us);
            break;
        default:
            m.deadline_us[i] = now_us + random_delay(&rnd);
            wheel_set(&wheel, i, m.deadline_us[i]);
            break;
        }
        assert_int_equal(wheel_deadline(&wheel, i), m.deadline_us[i]);
        assert_true(wheel_next(&wheel) <= model_soonest(&m));
    }
}

TEST(random_sets_clears_and_jumps_agree_with_a_model)
{
    for (uint64_t seed = 1; seed <= 200; seed++)
        agree_with_model(seed);
}
