// SPDX-License-Identifier: BSD-3-Clause
// What a splice relay copies: few bytes, what a full sink leaves of them, and bulk where there is
// no descriptor for a pipe.
#include "splice_rig.h"

#include <dirent.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>

#define MIB ((size_t)1024 * 1024)

// Descriptors that this process has open.
static size_t
count_fds(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

TEST(few_bytes_need_no_descriptor_of_their_own)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    size_t before = count_fds();
    relay_init(&r, &rig, 30);
    assert_int_equal(count_fds(), before + 4); // the two pairs
    for (size_t i = 1; i <= 50; i++) {
        r.guest.to_send += 500;
        r.host.to_send += 9000;
        RUN_UNTIL(&rig, &r, r.host.received == 500 * i && r.guest.received == 9000 * i);
    }
    assert_int_equal(count_fds(), before + 4);

    r.guest.to_send += 4 * MIB; // one way only is bulk: one pipe
    RUN_UNTIL(&rig, &r, r.host.received == r.guest.to_send);
    assert_int_equal(count_fds(), before + 6);

    relay_fini(&r);
    rig_fini(&rig);
    assert_int_equal(count_fds(), before - 1); // the loop's went too
}

TEST(without_descriptors_bulk_is_copied)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 40);
    struct rlimit was, tight;
    getrlimit(RLIMIT_NOFILE, &was);
    for (int room = 0; room < 2; room++) { // a pipe wants two
        int next = dup(0);
        close(next);
        tight = was;
        tight.rlim_cur = (rlim_t)(next + room);
        setrlimit(RLIMIT_NOFILE, &tight);
        r.guest.to_send += 24 * MIB;
        r.host.to_send += 24 * MIB;
        RUN_UNTIL(&rig, &r,
                  r.guest.received == r.host.to_send && r.host.received == r.guest.to_send);
        setrlimit(RLIMIT_NOFILE, &was);
    }
    shutdown(r.guest.fd, SHUT_WR);
    RUN_UNTIL(&rig, &r, r.host.eof);
    assert_int_equal(r.guest.error | r.host.error | r.done, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(what_a_full_sink_leaves_of_a_copy_is_kept)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 50);
    size_t heap = mallinfo2().uordblks;

    // Small pieces, each in a turn of its own, until the service's socket takes no more.
    r.host.stalled = true;
    size_t before = 0;
    do {
        before = r.guest.sent;
        r.guest.to_send += 3001;
        rig_step(&rig, &r, 1);
    } while (r.guest.sent > before);
    rig_settle(&rig, &r);
    r.host.to_send = 1000; // the other way goes on
    RUN_UNTIL(&rig, &r, r.guest.received == 1000);
    assert_int_equal(rig.kept.free_count, rig.kept.slots - 1); // there, and in no memory of its own
    assert_int_equal(mallinfo2().uordblks, heap);
    shutdown(r.guest.fd, SHUT_WR);
    r.guest.to_send = r.guest.sent;
    rig_settle(&rig, &r);
    assert_false(r.host.eof);

    r.host.stalled = false;
    RUN_UNTIL(&rig, &r, r.host.eof);
    assert_int_equal(r.host.received, r.guest.sent);
    assert_int_equal(rig.kept.free_count, rig.kept.slots);
    assert_int_equal(r.guest.error | r.host.error, 0);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(kept_bytes_come_before_a_reset)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 60);

    r.host.stalled = true;
    for (int i = 0; i < 200; i++) {
        r.guest.to_send += 3001;
        rig_step(&rig, &r, 1);
    }
    rig_settle(&rig, &r);
    program_reset(&r.guest);
    rig_settle(&rig, &r);
    assert_int_equal(r.done, 0);

    r.host.stalled = false;
    RUN_UNTIL(&rig, &r, r.host.eof && r.done);
    assert_true(r.host.received > 16 * 1024); // each byte of it was checked

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(bytes_behind_an_urgent_one_need_no_further_event)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 70);

    // All three lie there before the relay looks; a read ends at the urgent mark.
    uint8_t bytes[30];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = stream_byte(70, i);
    assert_int_equal(send(r.guest.fd, bytes, 10, 0), 10);
    assert_int_equal(send(r.guest.fd, "!", 1, MSG_OOB), 1);
    assert_int_equal(send(r.guest.fd, bytes + 10, 20, 0), 20);
    RUN_UNTIL(&rig, &r, r.host.received == 30);

    relay_fini(&r);
    rig_fini(&rig);
}

TEST(bytes_behind_a_passed_descriptor_need_no_further_event)
{
    struct rig rig;
    struct relay r;
    rig_init(&rig);
    relay_init(&r, &rig, 80);

    uint8_t bytes[20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = stream_byte(81, i);
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &r.host.fd, sizeof(int));
    struct msghdr m = {
        .msg_iov = &(struct iovec){bytes, 10},
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    assert_int_equal(sendmsg(r.host.fd, &m, 0), 10);
    assert_int_equal(send(r.host.fd, bytes + 10, 10, 0), 10);
    RUN_UNTIL(&rig, &r, r.guest.received == 20);

    relay_fini(&r);
    rig_fini(&rig);
}
