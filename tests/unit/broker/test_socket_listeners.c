// SPDX-License-Identifier: BSD-3-Clause
// Listeners of socket links: all or none, one more, and that a frame link has none.
#include "test.h"

#include "broker/socket_listeners.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static struct guest_config guest;
static struct link_listener made[GUEST_CHANNELS_MAX];
static struct unix_listener *hybrid;

static void
setup(void)
{
    guest_config_init(&guest);
    assert_int_equal(guest_config_add_channel(&guest, "600-602:null", NULL), 0);
}

TEST(frame_links_have_no_listeners)
{
    static const enum link_kind kinds[] = {LINK_STREAM, LINK_TAP, LINK_PACKET, LINK_MESSAGE,
                                           LINK_VHOST_USER};
    setup();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct link_spec link = {.kind = kinds[i], .fd = -1};
        struct error err;
        assert_int_equal(socket_listeners_open(&guest, &link, made, &hybrid, &err), -EINVAL);
        assert_true(made[0].fd == -1 && made[2].fd == -1 && !hybrid);
        assert_int_equal(socket_listeners_add(&guest, &link, 1, made, NULL, &err), -EINVAL);
        assert_int_equal(made[1].fd, -1);
    }
    guest_config_fini(&guest);
}

TEST(listener_that_cannot_be_shared_is_not_there)
{
    struct link_spec link = {.kind = LINK_HYBRID, .fd = -1};
    struct error err = {{0}};
    char dir[] = "/tmp/test-listeners-XXXXXX", path[128];
    setup();
    assert_non_null(mkdtemp(dir));
    snprintf(link.path, sizeof(link.path), "%s/h", dir);
    assert_int_equal(socket_listeners_open(&guest, &link, made, &hybrid, &err), 0);
    socket_listeners_remove(1, made, hybrid);
    assert_int_equal(made[1].fd, -1);
    assert_int_equal(socket_listeners_add(&guest, &link, 1, made, hybrid, &err), 0);
    assert_true(made[1].fd >= 0);
    socket_listeners_close(made, hybrid, guest.channel_count);
    snprintf(path, sizeof(path), "%s/h_601", dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0);
    // The directory is gone.
    assert_int_equal(socket_listeners_open(&guest, &link, made, &hybrid, &err), -ENOENT);
    assert_int_equal(made[0].fd, -1);
    guest_config_fini(&guest);
}

// Where this host has no vsock for guests, that is said; e2e/test_vsock.py has a kernel that does.
TEST(vsock_listeners_come_and_go_or_the_reason_is_named)
{
    struct link_spec link = {.kind = LINK_VSOCK, .fd = -1, .cid = 3};
    struct error err = {{0}};
    setup();
    int rc = socket_listeners_open(&guest, &link, made, &hybrid, &err);
    if (rc < 0) {
        assert_true(rc == -ENODEV || rc == -EAFNOSUPPORT);
        assert_non_null(strstr(err.text, "vsock"));
        for (size_t i = 0; i < guest.channel_count; i++)
            assert_int_equal(made[i].fd, -1);
        guest_config_fini(&guest);
        return;
    }
    socket_listeners_remove(1, made, NULL);
    assert_int_equal(made[1].fd, -1);
    assert_int_equal(socket_listeners_add(&guest, &link, 1, made, NULL, &err), 0);
    assert_int_equal(socket_listeners_add(&guest, &link, 1, &made[4], NULL, &err), -EADDRINUSE);
    socket_listeners_close(made, NULL, guest.channel_count);
    guest_config_fini(&guest);
}
