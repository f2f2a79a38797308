// SPDX-License-Identifier: BSD-3-Clause
// The loop: which events are reported, and which are not after a removal. Its turns and timers are
// test_turns.c's.
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

TEST(reports_readable_until_read)
{
    struct loop *loop = loop_new();
    struct probe p;
    probe_open(&p, loop);
    assert_int_equal(loop_add(loop, &p.io, LOOP_READ), 0);

    assert_int_equal(loop_turn(loop, 0), 0);
    assert_int_equal(p.calls, 0);
    assert_int_equal(write(p.peer, "x", 1), 1);
    assert_int_equal(loop_turn(loop, -1), 0);
    assert_int_equal(loop_turn(loop, -1), 0);
    assert_int_equal(p.calls, 2);
    assert_int_equal(p.events, LOOP_READ);

    probe_close(&p);
    loop_free(loop);
}

TEST(edge_mode_reports_once_per_arrival)
{
    struct loop *loop = loop_new();
    struct probe p;
    probe_open(&p, loop);
    assert_int_equal(loop_add(loop, &p.io, LOOP_READ | LOOP_EDGE), 0);

    assert_int_equal(write(p.peer, "x", 1), 1);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(write(p.peer, "y", 1), 1);
    loop_turn(loop, 0);
    assert_int_equal(p.calls, 2);

    probe_close(&p);
    loop_free(loop);
}

TEST(reports_urgent_data_to_who_asks)
{
    struct loop *loop = loop_new();
    struct probe p;
    probe_open(&p, loop);
    assert_int_equal(send(p.peer, "!", 1, MSG_OOB), 1); // Unix sockets have it since Linux 5.15
    assert_int_equal(loop_add(loop, &p.io, LOOP_URGENT), 0);
    loop_turn(loop, 0);
    assert_int_equal(p.events, LOOP_URGENT);

    loop_modify(loop, &p.io, LOOP_RDHUP);
    p.events = 0;
    loop_turn(loop, 0);
    assert_int_equal(p.events, 0);

    probe_close(&p);
    loop_free(loop);
}

TEST(reports_write_rdhup_and_hangup)
{
    struct loop *loop = loop_new();
    struct probe p;
    probe_open(&p, loop);
    assert_int_equal(loop_add(loop, &p.io, LOOP_WRITE), 0);
    loop_turn(loop, 0);
    assert_int_equal(p.events, LOOP_WRITE);

    loop_modify(loop, &p.io, LOOP_RDHUP);
    assert_int_equal(shutdown(p.peer, SHUT_WR), 0);
    loop_turn(loop, 0);
    assert_int_equal(p.events, LOOP_RDHUP);

    loop_modify(loop, &p.io, 0);
    assert_int_equal(shutdown(p.peer, SHUT_RDWR), 0);
    loop_turn(loop, 0);
    assert_int_equal(p.events, LOOP_HANGUP);

    probe_close(&p);
    loop_free(loop);
}

TEST(refuses_what_cannot_be_polled)
{
    struct loop *loop = loop_new();
    FILE *file = tmpfile();
    struct loop_io io = {.fd = fileno(file), .on_event = probe_event};
    assert_int_equal(loop_add(loop, &io, LOOP_READ), -EPERM);
    io.fd = -1;
    assert_int_equal(loop_add(loop, &io, LOOP_READ), -EBADF);
    fclose(file);
    loop_free(loop);
}

// Both are ready in one batch; whichever runs first sees to it that the other does not.
static void
expect_one_to_hear(struct probe *a, struct probe *b)
{
    loop_add(a->loop, &a->io, LOOP_READ);
    loop_add(a->loop, &b->io, LOOP_READ);
    assert_int_equal(write(a->peer, "x", 1), 1);
    assert_int_equal(write(b->peer, "x", 1), 1);
    loop_turn(a->loop, 0);
    assert_int_equal(a->calls + b->calls, 1);
}

TEST(removed_io_hears_nothing_of_the_same_batch)
{
    struct loop *loop = loop_new();
    struct probe a, b;
    probe_open(&a, loop);
    probe_open(&b, loop);
    a.victim = &b;
    b.victim = &a;
    expect_one_to_hear(&a, &b);

    probe_close(&a);
    probe_close(&b);
    loop_free(loop);
}

TEST(reused_fd_does_not_inherit_events_of_the_batch)
{
    struct loop *loop = loop_new();
    struct probe a, b, newborn;
    probe_open(&a, loop);
    probe_open(&b, loop);
    probe_open(&newborn, loop);
    a.victim = &b;
    b.victim = &a;
    a.newborn = b.newborn = &newborn;
    expect_one_to_hear(&a, &b);
    assert_int_equal(newborn.calls, 0);
    // It works, though: the removal took only the old one out.
    struct probe *first = a.calls ? &a : &b;
    loop_modify(loop, &first->io, 0);
    assert_int_equal(write(newborn.peer, "x", 1), 1);
    loop_turn(loop, 0);
    assert_int_equal(newborn.calls, 1);

    probe_close(&a);
    probe_close(&b);
    probe_close(&newborn);
    loop_free(loop);
}

TEST(modified_io_hears_only_what_it_still_wants)
{
    struct loop *loop = loop_new();
    struct probe a, b;
    probe_open(&a, loop);
    probe_open(&b, loop);
    a.quieted = &b;
    b.quieted = &a;
    expect_one_to_hear(&a, &b);

    probe_close(&a);
    probe_close(&b);
    loop_free(loop);
}

TEST(more_ios_than_one_batch_all_get_their_turn)
{
    enum { COUNT = 200 };
    struct loop *loop = loop_new();
    static struct probe probes[COUNT];
    for (int i = 0; i < COUNT; i++) {
        probe_open(&probes[i], loop);
        loop_add(loop, &probes[i].io, LOOP_READ);
        assert_int_equal(write(probes[i].peer, "x", 1), 1);
    }
    for (int turn = 0; turn < 8; turn++)
        loop_turn(loop, 0);
    for (int i = 0; i < COUNT; i++) {
        assert_true(probes[i].calls >= 1);
        probe_close(&probes[i]);
    }
    loop_free(loop);
}

TEST(loop_fd_is_readable_when_a_turn_has_work)
{
    struct loop *loop = loop_new();
    struct probe p;
    probe_open(&p, loop);
    loop_add(loop, &p.io, LOOP_READ);
    struct pollfd pfd = {.fd = loop_fd(loop), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 0), 0);
    assert_int_equal(write(p.peer, "x", 1), 1);
    assert_int_equal(poll(&pfd, 1, 0), 1);
    probe_close(&p);
    loop_free(loop);
}
