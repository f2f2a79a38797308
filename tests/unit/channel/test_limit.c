// SPDX-License-Identifier: BSD-3-Clause
// How the connections of a channel share its rate.
#include "test.h"

#include "channel/limit.h"

#include <stddef.h>

#define KIB     1024u
#define SEGMENT 1460u

static struct loop *loop;

struct mover { // takes all it may, in either direction
    struct limit_member *m;
    uint64_t wants, moved;
    unsigned grants;
};

static void
move(struct mover *v)
{
    size_t may;
    while (v->moved < v->wants && (may = limit_ask(v->m, LIMIT_TO_HOST)) > 0) {
        size_t n = may < v->wants - v->moved ? may : v->wants - v->moved;
        limit_moved(v->m, LIMIT_TO_HOST, n);
        v->moved += n;
    }
    limit_rest(v->m, LIMIT_TO_HOST);
}

static void
on_grant(void *ctx)
{
    struct mover *v = ctx;
    v->grants++;
    assert_false(limit_is_waiting(v->m, LIMIT_TO_HOST));
    assert_true(limit_holds(v->m)); // or an idle= due now would end it
    move(v);
}

static struct limit *
make(uint64_t rate, uint64_t burst, struct mover *movers, size_t count)
{
    loop = loop_new();
    struct limit *limit = limit_new(loop, rate, burst);
    for (size_t i = 0; i < count; i++)
        movers[i] = (struct mover){.m = limit_join(limit, on_grant, &movers[i])};
    return limit;
}

static void
end(struct limit *limit, struct mover *movers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        limit_leave(movers[i].m);
    limit_free(limit);
    loop_free(loop);
}

static void
run_for(uint64_t us)
{
    uint64_t until_us = loop_clock_us() + us;
    while (loop_clock_us() < until_us)
        assert_int_equal(loop_turn(loop, 5), 0);
}

// How slow it becomes is the machine's affair, too: what is to happen is waited for.
static void
run_until_granted(const struct mover *v, unsigned grants)
{
    while (v->grants < grants)
        assert_int_equal(loop_turn(loop, 5), 0);
}

TEST(the_burst_comes_at_once_and_the_rest_at_the_rate)
{
    struct mover v;
    struct limit *limit = make(1000 * KIB, 50 * KIB, &v, 1);
    uint64_t from_us = loop_now_us(loop);
    v.wants = UINT64_MAX;
    move(&v);
    assert_int_equal(v.moved, 50 * KIB);
    assert_true(limit_is_waiting(v.m, LIMIT_TO_HOST));
    run_until_granted(&v, 20);
    uint64_t passed_us = loop_now_us(loop) - from_us;
    assert_in_range(v.moved, 50 * KIB + 20 * 10 * KIB, // a round of 10 KiB and more each time
                    50 * KIB + 1000 * KIB * passed_us / 1000000);
    assert_true(passed_us >= 20 * 10000); // a hundred rounds per second
    end(limit, &v, 1);
}

TEST(the_directions_are_apart)
{
    struct mover v;
    struct limit *limit = make(1000, 5000, &v, 1);
    v.wants = UINT64_MAX;
    move(&v);
    assert_int_equal(limit_ask(v.m, LIMIT_TO_HOST), 0);
    assert_int_equal(limit_ask(v.m, LIMIT_TO_GUEST), 5000);
    assert_false(limit_is_waiting(v.m, LIMIT_TO_GUEST));
    assert_true(limit_holds(v.m));
    assert_false(limit_holds(NULL));
    end(limit, &v, 1);
}

TEST(what_is_not_moved_is_the_others)
{
    struct mover v[2];
    struct limit *limit = make(1, 5000, v, 2);
    assert_int_equal(limit_ask(v[0].m, LIMIT_TO_HOST), 5000);
    limit_moved(v[0].m, LIMIT_TO_HOST, 100);
    assert_int_equal(limit_ask(v[0].m, LIMIT_TO_HOST), 4900); // the rest of the same
    limit_rest(v[0].m, LIMIT_TO_HOST);
    assert_int_equal(limit_ask(v[1].m, LIMIT_TO_HOST), 4900);
    limit_leave(v[1].m); // in the middle of it
    v[1].m = limit_join(limit, on_grant, &v[1]);
    assert_int_equal(limit_ask(v[1].m, LIMIT_TO_HOST), 4900);
    limit_rest(v[1].m, LIMIT_TO_HOST);
    end(limit, v, 2);
}

TEST(all_who_wait_get_as_much)
{
    enum { MOVERS = 7 };
    struct mover v[MOVERS];
    struct limit *limit = make(2000 * KIB, 100 * KIB, v, MOVERS);
    for (int i = 0; i < MOVERS; i++) {
        v[i].wants = UINT64_MAX;
        move(&v[i]);
    }
    uint64_t head_start = v[0].moved; // came first
    run_until_granted(&v[0], 10);
    run_until_granted(&v[MOVERS - 1], 10);
    v[0].moved -= head_start;
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < MOVERS; i++) {
        least = v[i].moved < least ? v[i].moved : least;
        most = v[i].moved > most ? v[i].moved : most;
    }
    assert_true(least >= 10 * SEGMENT);
    assert_true(most - least <= MOVERS * 10); // what the divisions leave over
    end(limit, v, MOVERS);
}

TEST(who_wants_little_leaves_the_rest_to_who_wants_much)
{
    struct mover v[2];
    struct limit *limit = make(1000 * KIB, 50 * KIB, v, 2);
    uint64_t from_us = loop_now_us(loop);
    v[0].wants = UINT64_MAX;
    move(&v[0]);
    v[1].wants = 3000;
    move(&v[1]);
    assert_int_equal(v[1].moved, 0); // nobody overtakes who waits
    run_until_granted(&v[0], 10);
    assert_false(limit_holds(v[1].m));
    assert_int_equal(v[1].moved, 3000);
    assert_false(limit_is_waiting(v[1].m, LIMIT_TO_HOST));
    uint64_t most = 50 * KIB + 1000 * KIB * (loop_now_us(loop) - from_us) / 1000000 - 3000;
    assert_in_range(v[0].moved, 50 * KIB + 9 * 10 * KIB, most); // but for one round, all
    end(limit, v, 2);
}

TEST(at_a_slow_rate_each_round_serves_some_and_none_twice_before_all)
{
    enum { MOVERS = 50 };
    struct mover v[MOVERS];
    struct limit *limit = make(100 * KIB, 4 * KIB, v, MOVERS);
    for (int i = 0; i < MOVERS; i++) {
        v[i].wants = UINT64_MAX;
        move(&v[i]);
    }
    run_until_granted(&v[0], 3);
    for (int i = 1; i < MOVERS; i++)
        assert_in_range(v[i].grants, 2, 3);
    end(limit, v, MOVERS);
}

TEST(a_datagram_moved_whole_is_made_up_for)
{
    struct mover v;
    struct limit *limit = make(1000 * KIB, 1 * KIB * 20, &v, 1);
    assert_int_equal(limit_ask(v.m, LIMIT_TO_HOST), 20 * KIB);
    limit_moved(v.m, LIMIT_TO_HOST, 120 * KIB); // 100 ms' worth more
    uint64_t from_us = loop_now_us(loop);
    v.wants = 1;
    move(&v);
    while (v.moved == 0)
        run_for(1000);
    assert_true(loop_now_us(loop) - from_us >= 100000);
    end(limit, &v, 1);
}

TEST(who_waits_may_leave_and_the_next_is_served)
{
    struct mover v[3];
    struct limit *limit = make(1000 * KIB, 20 * KIB, v, 3);
    for (int i = 0; i < 3; i++) {
        v[i].wants = UINT64_MAX;
        move(&v[i]);
    }
    limit_leave(v[0].m);
    limit_leave(v[2].m);
    run_until_granted(&v[1], 1);
    assert_true(v[1].moved > 0);
    limit_leave(v[1].m);
    run_for(60000); // the timer finds nobody
    v[1].m = NULL;
    end(limit, &v[1], 1);
}

static void
on_grant_leave(void *ctx)
{
    struct mover *v = ctx;
    limit_leave(v->m);
    v->m = NULL;
    v->grants++;
}

TEST(who_is_served_may_leave_there_and_then)
{
    struct mover v[2];
    struct limit *limit = make(1000 * KIB, 20 * KIB, v, 2);
    v[0].wants = 20 * KIB;
    move(&v[0]);
    struct mover leaver = {.m = limit_join(limit, on_grant_leave, &leaver)};
    assert_int_equal(limit_ask(leaver.m, LIMIT_TO_HOST), 0);
    v[1].wants = 1;
    move(&v[1]);
    run_until_granted(&v[1], 1);
    assert_int_equal(leaver.grants, 1);
    assert_int_equal(v[1].moved, 1);
    end(limit, v, 2);
}

TEST(a_lifted_limit_lets_go_who_waits)
{
    struct mover v;
    struct limit *limit = make(1, 1, &v, 1);
    v.wants = 1 << 30;
    move(&v);
    assert_int_equal(v.moved, 1);
    limit_lift(limit);
    run_until_granted(&v, 1);
    assert_int_equal(v.moved, 1 << 30);
    end(limit, &v, 1);
}

TEST(the_fastest_rate_there_is_works)
{
    struct mover v;
    struct limit *limit = make(UINT64_C(1) << 40, UINT64_C(1) << 40, &v, 1);
    v.wants = UINT64_C(1) << 40;
    move(&v);
    assert_true(v.moved == v.wants);
    v.wants *= 2;
    move(&v);
    assert_true(v.moved >= UINT64_C(1) << 40);
    if (limit_is_waiting(v.m, LIMIT_TO_HOST)) {
        run_until_granted(&v, 1);
        assert_true(v.moved > UINT64_C(1) << 40);
    }
    end(limit, &v, 1);
}
