// SPDX-License-Identifier: BSD-3-Clause
// The loop: the order of a turn, timers, how long it waits and whether it polls meanwhile.
#include "probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// A log of what ran, one letter each.
struct trace {
    struct loop *loop;
    char text[64];
    int timer;
    uint64_t rearm_us; // the timer sets itself again, that much after now, while rearms > 0
    int rearms;
    uint64_t fired_us;
};

static void
note(struct trace *t, char c)
{
    size_t len = strlen(t->text);
    assert_true(len + 1 < sizeof(t->text));
    t->text[len] = c;
}

static void
trace_io(void *ctx, unsigned events)
{
    note(ctx, 'i');
}

static void
trace_free(void *ctx)
{
    note(ctx, 'f');
}

static void
trace_timer(void *ctx)
{
    struct trace *t = ctx;
    note(t, 't');
    t->fired_us = loop_now_us(t->loop);
    loop_defer(t->loop, trace_free, t);
    if (t->rearms > 0) {
        t->rearms--;
        loop_timer_set(t->loop, t->timer, loop_now_us(t->loop) + t->rearm_us);
    }
}

static void
trace_end(void *ctx)
{
    note(ctx, 'e');
}

static void
trace_second_end(void *ctx)
{
    note(ctx, 'E');
}

TEST(turn_runs_io_timers_ends_frees_in_that_order)
{
    struct loop *loop = loop_new();
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    struct trace t = {.loop = loop};
    struct loop_io io = {.fd = fds[0], .on_event = trace_io, .ctx = &t};
    loop_add(loop, &io, LOOP_READ);
    t.timer = loop_timer_new(loop, trace_timer, &t);
    loop_on_turn_end(loop, trace_end, &t);
    loop_on_turn_end(loop, trace_second_end, &t);

    loop_timer_set(loop, t.timer, loop_clock_us());
    usleep(3000);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(loop, -1);
    assert_string_equal(t.text, "iteEf");

    loop_remove(loop, &io);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

TEST(timer_fires_at_its_time_and_not_before)
{
    struct loop *loop = loop_new();
    struct trace t = {.loop = loop};
    t.timer = loop_timer_new(loop, trace_timer, &t);
    assert_true(loop_next_deadline(loop) == UINT64_MAX);
    uint64_t deadline = loop_clock_us() + 20000;
    loop_timer_set(loop, t.timer, deadline);
    assert_true(loop_next_deadline(loop) <= deadline + 1024);
    while (!t.fired_us)
        assert_int_equal(loop_turn(loop, -1), 0);
    assert_true(t.fired_us >= deadline);
    assert_true(t.fired_us < deadline + 100000); // loose: the machine may be busy
    assert_true(loop_next_deadline(loop) == UINT64_MAX);
    loop_timer_free(loop, t.timer);
    loop_free(loop);
}

TEST(timer_set_for_now_by_a_timer_waits_for_the_next_turn)
{
    struct loop *loop = loop_new();
    struct trace t = {.loop = loop, .rearms = 3};
    t.timer = loop_timer_new(loop, trace_timer, &t);
    loop_timer_set(loop, t.timer, 0);
    for (int i = 0; i < 100 && strlen(t.text) < 8; i++)
        loop_turn(loop, -1 + (t.rearms == 0));
    assert_string_equal(t.text, "tftftftf");
    loop_timer_free(loop, t.timer);
    loop_free(loop);
}

TEST(cleared_and_freed_timers_stay_silent)
{
    struct loop *loop = loop_new();
    struct trace a = {.loop = loop}, b = {.loop = loop};
    a.timer = loop_timer_new(loop, trace_timer, &a);
    b.timer = loop_timer_new(loop, trace_timer, &b);
    loop_timer_set(loop, a.timer, 0);
    loop_timer_set(loop, b.timer, 0);
    loop_timer_clear(loop, a.timer);
    loop_timer_free(loop, b.timer);
    usleep(3000);
    loop_turn(loop, 0);
    assert_string_equal(a.text, "");
    assert_string_equal(b.text, "");
    loop_timer_free(loop, -1); // a handle that was never filled
    loop_free(loop);
}

struct nest {
    struct loop *loop;
    struct nest *made;  // a timer made and set from within the first one's callback
    struct nest *unset; // due in the same turn, cleared before it ran
    int timer;
    int fired;
};

static void
nest_timer(void *ctx)
{
    struct nest *n = ctx;
    n->fired++;
    if (n->unset)
        loop_timer_clear(n->loop, n->unset->timer);
    if (!n->made)
        return;
    for (int i = 0; i < 100; i++) // enough to move the tables
        n->made->timer = loop_timer_new(n->loop, nest_timer, n->made);
    loop_timer_set(n->loop, n->made->timer, 0);
}

TEST(timers_are_made_and_cleared_within_callbacks)
{
    struct loop *loop = loop_new();
    struct nest made = {.loop = loop}, a = {.loop = loop}, b = {.loop = loop};
    a.timer = loop_timer_new(loop, nest_timer, &a);
    b.timer = loop_timer_new(loop, nest_timer, &b);
    a.made = &made;
    a.unset = &b;
    b.unset = &a; // whichever is first silences the other
    b.made = &made;
    uint64_t due = loop_clock_us();
    loop_timer_set(loop, a.timer, due);
    loop_timer_set(loop, b.timer, due);
    for (int i = 0; i < 100 && !made.fired; i++)
        loop_turn(loop, 5);
    assert_int_equal(a.fired + b.fired, 1);
    assert_int_equal(made.fired, 1);
    loop_free(loop);
}

TEST(many_timers_each_fire_once)
{
    enum { COUNT = 1000 };
    struct loop *loop = loop_new();
    static struct nest n[COUNT];
    uint64_t now = loop_clock_us();
    for (int i = 0; i < COUNT; i++) {
        n[i] = (struct nest){.loop = loop};
        n[i].timer = loop_timer_new(loop, nest_timer, &n[i]);
        loop_timer_set(loop, n[i].timer, now + (uint64_t)(i % 50) * 1000);
    }
    while (loop_next_deadline(loop) != UINT64_MAX)
        loop_turn(loop, -1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(n[i].fired, 1);
    loop_free(loop);
}

static void
stop_on_timer(void *ctx)
{
    loop_stop(ctx);
}

TEST(run_ends_at_stop)
{
    struct loop *loop = loop_new();
    int timer = loop_timer_new(loop, stop_on_timer, loop);
    loop_timer_set(loop, timer, loop_clock_us() + 2000);
    assert_int_equal(loop_run(loop), 0);
    loop_stop(loop); // also before the run
    assert_int_equal(loop_run(loop), 0);
    loop_free(loop);
}

TEST(turn_waits_no_longer_than_asked)
{
    struct loop *loop = loop_new();
    int timer = loop_timer_new(loop, stop_on_timer, loop);
    loop_timer_set(loop, timer, loop_clock_us() + 3600u * 1000000u);
    uint64_t start = loop_clock_us();
    loop_turn(loop, 30);
    uint64_t took = loop_clock_us() - start;
    assert_true(took >= 29000 && took < 5000000);
    loop_free(loop);
}

#define POLL_US   20000
#define POLLED_US 1000 // of CPU time at least, however busy the machine is, and never while asleep

// A loop that polls, after waits that were short.
static struct loop *
start_polling(struct probe *p)
{
    struct loop *loop = loop_new();
    probe_open(p, loop);
    loop_set_poll(loop, POLL_US);
    assert_int_equal(loop_add(loop, &p->io, LOOP_WRITE), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(loop_turn(loop, -1), 0);
    loop_modify(loop, &p->io, LOOP_READ);
    return loop;
}

// The CPU time of a turn without events that may wait for twice the poll.
static uint64_t
idle_turn_cpu_us(struct loop *loop)
{
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_int_equal(loop_turn(loop, 2 * POLL_US / 1000), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    return (uint64_t)((after.tv_sec - before.tv_sec) * 1000000 +
                      (after.tv_nsec - before.tv_nsec) / 1000);
}

// The best of some: on a busy machine a poll stops early, as it should.
TEST(short_waits_are_polled_for_and_a_long_one_ends_that)
{
    uint64_t polled_us = 0;
    for (int i = 0; i < 20 && polled_us < POLLED_US; i++) {
        struct probe p;
        struct loop *loop = start_polling(&p);
        polled_us = idle_turn_cpu_us(loop);
        uint64_t slept_us = idle_turn_cpu_us(loop);
        assert_true(slept_us < POLLED_US);
        probe_close(&p);
        loop_free(loop);
    }
    assert_true(polled_us >= POLLED_US);
}

TEST(polling_ends_with_the_event)
{
    struct probe p;
    struct loop *loop = start_polling(&p);
    assert_int_equal(write(p.peer, "x", 1), 1);
    p.calls = 0;
    assert_int_equal(loop_turn(loop, -1), 0);
    assert_int_equal(p.calls, 1);
    probe_close(&p);
    loop_free(loop);
}

TEST(no_poll_after_bulk)
{
    struct probe p;
    struct loop *loop = start_polling(&p);
    loop_moved(loop, 10000);
    loop_moved(loop, 10000);
    assert_true(idle_turn_cpu_us(loop) < POLLED_US);
    probe_close(&p);
    loop_free(loop);
}

TEST(loop_that_was_not_told_to_never_polls)
{
    struct probe p;
    struct loop *loop = start_polling(&p);
    loop_set_poll(loop, 0);
    assert_true(idle_turn_cpu_us(loop) < POLLED_US);
    probe_close(&p);
    loop_free(loop);
}

TEST(deferred_frees_run_at_loop_free_too)
{
    struct loop *loop = loop_new();
    struct trace t = {.loop = loop};
    loop_defer(loop, trace_free, &t);
    loop_free(loop);
    assert_string_equal(t.text, "f");
}
