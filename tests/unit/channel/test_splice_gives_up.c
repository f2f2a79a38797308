// SPDX-License-Identifier: BSD-3-Clause
// The splice relay's patience with ends that never end, with its minute cut to 300 ms.
#define GIVE_UP_US (300 * UINT64_C(1000))
#include "channel/splice.c"

#include "splice_rig.h"

#define MIB ((size_t)1024 * 1024)

TEST(guest_that_never_says_goodbye_is_reset)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 1);

    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.guest.eof);
    uint64_t from_us = loop_clock_us();
    RUN_UNTIL(&rig, &r, r.done);
    assert_true(loop_clock_us() - from_us >= 200000);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(half_close_alone_is_no_reason_to_give_up)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 2);

    shutdown(r.host.fd, SHUT_WR);
    uint64_t until_us = loop_clock_us() + 600000;
    RUN_UNTIL(&rig, &r, loop_clock_us() > until_us);
    assert_int_equal(r.done, 0);
    assert_true(r.guest.eof);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(stalled_service_of_a_guest_that_reset_is_given_up)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 3);

    r.host.stalled = true;
    r.guest.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    program_reset(&r.guest);
    RUN_UNTIL(&rig, &r, r.done);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(guest_that_reads_nothing_of_a_broken_service_is_given_up)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 4);

    // Few bytes: they leave the pipe at once and stand in the guest's socket and our send queue.
    r.guest.stalled = r.host.stalled = true;
    r.guest.to_send = 10;
    r.host.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    program_close(&r.host);
    RUN_UNTIL(&rig, &r, r.done);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(progress_earns_more_time)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 5);

    r.guest.stalled = r.host.stalled = true;
    r.guest.to_send = 10;
    r.host.to_send = 64 * MIB;
    rig_settle(&rig, &r);
    size_t written = r.host.sent;
    program_close(&r.host);

    // Reads a part every 100 ms: longer than the patience in all, never as long without progress.
    uint8_t buf[65536];
    while (r.guest.error == 0) {
        uint64_t until_us = loop_clock_us() + 100000;
        size_t part = written / 10;
        while (part > 0 && !program_failed(&r.guest, 0)) {
            ssize_t n = recv(r.guest.fd, buf, part < sizeof buf ? part : sizeof buf, 0);
            if (program_failed(&r.guest, n))
                break;
            r.guest.received += (size_t)n;
            part -= (size_t)n;
            loop_turn(rig.loop, 0);
        }
        RUN_UNTIL(&rig, &r, loop_clock_us() > until_us || r.guest.error);
    }
    assert_int_equal(r.guest.error, ECONNRESET);
    assert_int_equal(r.guest.received, written);
    RUN_UNTIL(&rig, &r, r.done);

    relay_fini(&r);
    rig_fini(&rig);
}
