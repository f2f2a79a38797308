// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link when the kernel refuses a call.
#include "failing.h"
#include "vhost_guest.h"

#include <fcntl.h>

static void
expect_refused(const char *call, int errnum)
{
    int fds[2];
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fail_next(call, errnum);
    assert_null(link_new_vhost_user(loop, fds[0], &receiver_events, r));
    failed(1);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    loop_free(loop);
    free(r);
    close(fds[1]);
}

TEST(link_that_cannot_be_made_is_refused)
{
    expect_refused("calloc", ENOMEM);
    expect_refused("epoll_ctl", ENOSPC);
}

// A message that cannot be done as its descriptor or its ring fails the one call.
static void
expect_down_by(const char *call, uint32_t nth, int errnum, const char *why)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_fd(&g, VHOST_SET_VRING_KICK, FROM_GUEST, g.kick[FROM_GUEST]);
    fail_some(call, nth, 0, errnum);
    vg_turns(&g);
    failed(1);
    assert_int_equal(g.r->down, 1);
    assert_string_equal(g.r->why, why);
    vg_free(&g);
}

TEST(ring_that_cannot_be_started_ends_the_link)
{
    expect_down_by("fstat64", 1, ENOMEM,
                   "a notification by something else than an eventfd: Invalid argument");
    expect_down_by("fcntl64", 1, EPERM, "eventfd: Operation not permitted");
    expect_down_by("fcntl64", 2, EPERM, "eventfd: Operation not permitted");
    expect_down_by("epoll_ctl", 1, ENOSPC, "cannot wait for kicks: No space left on device");
}

TEST(reply_that_cannot_be_sent_ends_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    assert_true(vg_send(&g, VHOST_GET_FEATURES, 0, NULL, 0, NULL, 0) > 0);
    fail_next("sendmsg", ENOMEM);
    vg_turns(&g);
    failed(1);
    assert_int_equal(g.r->down, 1);
    assert_string_equal(g.r->why, "reply: Cannot allocate memory");
    vg_free(&g);
}
