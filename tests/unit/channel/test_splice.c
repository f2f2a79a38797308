// SPDX-License-Identifier: BSD-3-Clause
// The splice relay against two real sockets: bytes, ends, resets, stalls. A guest is a TCP
// connection over loopback, a host service one end of a Unix socketpair.
#include "splice_rig.h"

#include <sys/ioctl.h>
#include <sys/resource.h>

#define MIB ((size_t)1024 * 1024)

TEST(carries_bytes_both_ways_at_once)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 1);

    r.guest.to_send = r.host.to_send = 24 * MIB;
    RUN_UNTIL(&rig, &r, r.guest.received == 24 * MIB && r.host.received == 24 * MIB);
    assert_int_equal(r.done, 0);
    assert_int_equal(r.guest.error | r.host.error, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(guest_half_close_leaves_the_way_back_open)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 2);

    r.guest.to_send = 100;
    program_run(&r.guest);
    shutdown(r.guest.fd, SHUT_WR);
    RUN_UNTIL(&rig, &r, r.host.eof);
    assert_int_equal(r.host.received, 100);
    assert_false(r.guest.eof);
    assert_int_equal(r.done, 0);

    r.host.to_send = 3 * MIB;
    RUN_UNTIL(&rig, &r, r.guest.received == 3 * MIB);
    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.guest.eof && r.done);
    assert_int_equal(r.guest.error, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(host_half_close_leaves_the_way_back_open)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 3);

    r.host.to_send = 100;
    program_run(&r.host);
    shutdown(r.host.fd, SHUT_WR);
    RUN_UNTIL(&rig, &r, r.guest.eof);
    assert_int_equal(r.guest.received, 100);
    assert_false(r.host.eof);

    r.guest.to_send = 3 * MIB;
    RUN_UNTIL(&rig, &r, r.host.received == 3 * MIB);
    assert_int_equal(r.done, 0);
    program_close(&r.guest);
    RUN_UNTIL(&rig, &r, r.host.eof && r.done);
    assert_int_equal(r.host.error, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(last_bytes_come_before_the_end)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 4);

    // The service writes all it can into its socket and is gone before anybody read any of it.
    r.host.to_send = MIB;
    program_run(&r.host);
    size_t written = r.host.sent;
    assert_true(written > 1000);
    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.guest.eof);
    assert_int_equal(r.guest.received, written);
    assert_int_equal(r.guest.error, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(guest_reset_closes_the_host_end_after_its_bytes)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 5);

    r.guest.to_send = 5000;
    RUN_UNTIL(&rig, &r, r.host.received == 5000);
    program_reset(&r.guest);
    RUN_UNTIL(&rig, &r, r.host.eof && r.done);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(guest_reset_is_noticed_while_the_host_is_stalled)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 6);

    r.host.stalled = true;
    r.guest.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    program_reset(&r.guest);
    rig_settle(&rig, &r);
    assert_int_equal(r.done, 0); // bytes are still to be delivered

    r.host.stalled = false;
    RUN_UNTIL(&rig, &r, r.host.eof && r.done);
    assert_true(r.host.received > 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(host_error_resets_the_guest_after_all_that_was_sent)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 7);

    // A Unix socket closed with bytes unread tells its peer ECONNRESET.
    r.host.stalled = true;
    r.guest.to_send = 10;
    r.host.to_send = 2 * MIB;
    RUN_UNTIL(&rig, &r, r.host.sent == 2 * MIB);
    int unread = 0;
    RUN_UNTIL(&rig, &r, ioctl(r.host.fd, FIONREAD, &unread) == 0 && unread == 10);
    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.guest.error);
    assert_int_equal(r.guest.error, ECONNRESET);
    assert_int_equal(r.guest.received, 2 * MIB);
    RUN_UNTIL(&rig, &r, r.done);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(host_error_waits_for_a_slow_guest)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 8);

    r.guest.stalled = r.host.stalled = true;
    r.guest.to_send = 10;
    r.host.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    size_t written = r.host.sent;
    assert_true(written < 64 * MIB); // kernel buffers and the pipe are full
    program_close(&r.host);
    rig_settle(&rig, &r);
    assert_int_equal(r.done, 0);

    r.guest.stalled = false;
    RUN_UNTIL(&rig, &r, r.guest.error && r.done);
    assert_int_equal(r.guest.error, ECONNRESET);
    assert_int_equal(r.guest.received, written);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(service_that_leaves_in_the_middle_resets_the_guest)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 9);

    r.guest.to_send = 64 * MIB;
    RUN_UNTIL(&rig, &r, r.host.received > MIB);
    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.guest.error && r.done);
    assert_true(r.guest.error == ECONNRESET || r.guest.error == EPIPE);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(guest_that_leaves_in_the_middle_ends_the_host_connection)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 10);

    r.host.to_send = 64 * MIB;
    RUN_UNTIL(&rig, &r, r.guest.received > MIB);
    program_close(&r.guest);
    RUN_UNTIL(&rig, &r, r.done);
    rig_settle(&rig, &r);
    assert_true(r.host.error == EPIPE || r.host.error == ECONNRESET || r.host.eof);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(service_that_stops_reading_but_goes_on_sending_resets_the_guest)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 11);

    shutdown(r.host.fd, SHUT_RD);
    r.host.stalled = true;
    r.host.to_send = 1000;
    program_run(&r.host);
    r.guest.to_send = 1;
    RUN_UNTIL(&rig, &r, r.guest.error && r.done);
    assert_int_equal(r.guest.error, ECONNRESET);
    assert_int_equal(r.guest.received, 1000);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(stalled_service_fills_its_own_pipe_only)
{
    struct rig rig;
    struct relay r[2];
    rig_init(&rig);
    relay_init(&r[0], &rig, 12);
    relay_init(&r[1], &rig, 20);

    r[0].host.stalled = true;
    r[0].guest.to_send = 64 * MIB;
    for (int i = 0; i < 100; i++)
        rig_step(&rig, r, 2);
    size_t sent = r[0].guest.sent;
    assert_true(sent < 16 * MIB);

    // The other way of the stalled one, and both ways of its neighbour, go on.
    r[0].host.to_send = 2 * MIB;
    r[1].guest.to_send = r[1].host.to_send = 2 * MIB;
    while (r[0].guest.received < 2 * MIB || r[1].guest.received < 2 * MIB ||
           r[1].host.received < 2 * MIB)
        rig_step(&rig, r, 2);
    assert_int_equal(r[0].done, 0);

    r[0].host.stalled = false;
    while (r[0].host.received < 64 * MIB)
        rig_step(&rig, r, 2);

    relay_fini(&r[0]);
    relay_fini(&r[1]);
    rig_fini(&rig);
}

TEST(waits_without_spinning)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 13);

    // Full one way, half closed the other way, reset pending: nothing may happen, often.
    r.host.stalled = r.guest.stalled = true;
    r.guest.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    shutdown(r.host.fd, SHUT_WR);
    rig_settle(&rig, &r);
    uint64_t before_us = loop_clock_us();
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop_turn(rig.loop, 20), 0);
    assert_true(loop_clock_us() - before_us >= 60000);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(a_burst_larger_than_a_turn_needs_no_further_event)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);

    // All of it lies in the relay's receive queue and fits the service's before the first turn.
    int guest[2], host[2], big = 8 * 1024 * 1024;
    tcp_pair(guest);
    unix_pair(host);
    setsockopt(guest[1], SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof big);
    setsockopt(guest[0], SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
    setsockopt(host[1], SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
    r = (struct relay){
        .guest = {.fd = guest[0], .seed = 14, .to_send = 2 * MIB},
        .host = {.fd = host[0], .expects = 14},
    };
    program_run(&r.guest);
    r.splice = splice_new(rig.loop, &rig.kept, guest[1], host[1], relay_on_done, &r);
    int moved = 0;
    loop_turn(rig.loop, 1);
    assert_int_equal(ioctl(r.host.fd, FIONREAD, &moved), 0);
    assert_in_range(moved, 1, MIB - 1);
    for (int i = 0; i < 40; i++)
        loop_turn(rig.loop, 1);
    program_run(&r.host);
    if (r.guest.sent == 2 * MIB) // privileged: the buffers are as large as asked for
        assert_int_equal(r.host.received, 2 * MIB);
    RUN_UNTIL(&rig, &r, r.host.received == 2 * MIB);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(bulk_leaves_room_for_a_small_exchange)
{
    struct rig rig;
    struct relay r[2];
    rig_init(&rig);
    relay_init(&r[0], &rig, 15);
    relay_init(&r[1], &rig, 25);

    r[0].guest.to_send = r[0].host.to_send = 1024 * MIB;
    unsigned worst = 0;
    for (size_t i = 1; i <= 100; i++) {
        unsigned start = rig.turns;
        r[1].guest.to_send = i;
        while (r[1].host.received < i)
            rig_step(&rig, r, 2);
        if (rig.turns - start > worst)
            worst = rig.turns - start;
    }
    assert_true(worst <= 3);

    relay_fini(&r[0]);
    relay_fini(&r[1]);
    rig_fini(&rig);
}

TEST(two_hundred_relays_keep_their_bytes_apart)
{
    enum { COUNT = 200 };
    struct rig rig;
    static struct relay r[COUNT];
    rig_init(&rig);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    for (uint32_t i = 0; i < COUNT; i++) {
        relay_init(&r[i], &rig, 1000 + 10 * i);
        r[i].guest.to_send = 50000 + i;
        r[i].host.to_send = 30000 + i;
    }
    size_t complete = 0;
    while (complete < COUNT) {
        rig_step(&rig, r, COUNT);
        complete = 0;
        for (size_t i = 0; i < COUNT; i++)
            complete += r[i].host.received == 50000 + i && r[i].guest.received == 30000 + i;
    }
    for (size_t i = 0; i < COUNT; i++)
        program_close(i % 2 ? &r[i].guest : &r[i].host);
    size_t ended = 0;
    while (ended < COUNT) {
        rig_step(&rig, r, COUNT);
        ended = 0;
        for (size_t i = 0; i < COUNT; i++)
            ended += i % 2 ? r[i].host.eof : r[i].guest.eof;
    }

    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(r[i].guest.error | r[i].host.error, 0);
        relay_fini(&r[i]);
    }
    rig_fini(&rig);
}

TEST(free_resets_the_guest_and_calls_nobody)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 16);

    r.guest.to_send = r.host.to_send = MIB;
    rig_step(&rig, &r, 1);
    splice_free(r.splice);
    r.splice = NULL;
    RUN_UNTIL(&rig, &r, r.guest.error && (r.host.error || r.host.eof));
    assert_int_equal(r.done, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(reset_fd_sends_rst)
{
    int pair[2];
    char byte;
    tcp_pair(pair);
    splice_reset_fd(pair[1]);
    assert_int_equal(recv(pair[0], &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(pair[0]);
}
