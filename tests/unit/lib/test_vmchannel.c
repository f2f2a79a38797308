// SPDX-License-Identifier: BSD-3-Clause
// The library as an embedder uses it: host ends opened in process, driven by poll on vmc_fd().
#include "test.h"

#include "base/log.h"
#include "lib/guest_end.h"
#include "lib/vmchannel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct embedder {
    char dir[64], path[80];
    struct channel_spec channel;
    struct vmc *vmc;
    struct guest_end guest;
    bool link_down;
};

static void
on_link_down(void *ctx)
{
    ((struct embedder *)ctx)->link_down = true;
}

static void
quiet(void *ctx, enum log_level level, const char *line)
{
}

static struct vmc_config
config_of(struct embedder *e)
{
    return (struct vmc_config){.guest = "vm1",
                               .channel_addr = 0x0a000204,
                               .guest_addr = 0x0a00020f,
                               .netmask = 0xffffff00,
                               .mtu = 1500,
                               .max_conns = 32,
                               .channels = &e->channel,
                               .channel_count = 1};
}

static void
embedder_init(struct embedder *e, const char *options)
{
    char text[160];
    struct error err = {{0}};
    int sv[2];
    memset(e, 0, sizeof(*e));
    log_set_sink(quiet, NULL);
    snprintf(e->dir, sizeof(e->dir), "/tmp/test-vmchannel-XXXXXX");
    assert_non_null(mkdtemp(e->dir));
    snprintf(e->path, sizeof(e->path), "%s/s", e->dir);
    snprintf(text, sizeof(text), "600:unix:%s%s", e->path, options);
    assert_int_equal(channel_spec_parse(text, &e->channel, NULL), 0);
    struct vmc_config config = config_of(e);
    e->vmc = vmc_new(&config, &err);
    if (!e->vmc)
        fail_msg("%s", err.text);
    vmc_on_link_down(e->vmc, on_link_down, e);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    assert_int_equal(vmc_attach_fd(e->vmc, LINK_STREAM, sv[0]), 0);
    guest_end_init(&e->guest, sv[1]);
}

static void
embedder_fini(struct embedder *e)
{
    vmc_free(e->vmc);
    guest_end_fini(&e->guest);
    unlink(e->path);
    assert_int_equal(rmdir(e->dir), 0);
    log_set_sink(NULL, NULL);
}

// As a hypervisor's main loop would: the library runs when its descriptor is readable, only then.
static void
until(struct embedder *e, const bool *flag, int timeout_ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)timeout_ms * 1000;
    while (!*flag && loop_clock_us() < end) {
        struct pollfd p[2] = {{.fd = vmc_fd(e->vmc), .events = POLLIN},
                              {.fd = loop_fd(e->guest.loop), .events = POLLIN}};
        assert_true(p[0].fd >= 0);
        poll(p, 2, 10);
        if (p[0].revents & POLLIN)
            assert_int_equal(vmc_dispatch(e->vmc), 0);
        loop_turn(e->guest.loop, 0);
    }
    assert_true(*flag);
}

static int
listen_at(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

TEST(connection_is_opened_in_process)
{
    struct embedder e;
    char bytes[8];
    embedder_init(&e, "");
    int l = listen_at(e.path);
    uint32_t conn = guest_end_connect(&e.guest, 600);
    until(&e, &e.guest.conns[conn].established, 2000);
    int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    guest_end_send(&e.guest, conn, "ping");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 200 && poll(&p, 1, 5) == 0; i++) {
        vmc_dispatch(e.vmc);
        loop_turn(e.guest.loop, 0);
    }
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "ping", 4);
    close(fd);
    until(&e, &e.guest.conns[conn].eof, 2000);
    close(l);
    embedder_fini(&e);
}

TEST(absent_service_is_refused)
{
    struct embedder e;
    embedder_init(&e, "");
    uint32_t conn = guest_end_connect(&e.guest, 600);
    until(&e, &e.guest.conns[conn].closed, 2000);
    assert_int_equal(e.guest.conns[conn].reason, STACK_REFUSED);
    embedder_fini(&e);
}

// Only the timer can make the descriptor readable here.
TEST(descriptor_tells_of_timers_too)
{
    struct embedder e;
    embedder_init(&e, ",reconnect=1");
    uint32_t conn = guest_end_connect(&e.guest, 600);
    uint64_t start = loop_clock_us();
    while (loop_clock_us() - start < 200000) {
        vmc_dispatch(e.vmc);
        loop_turn(e.guest.loop, 5);
    }
    assert_false(e.guest.conns[conn].closed);
    int l = listen_at(e.path);
    until(&e, &e.guest.conns[conn].established, 3000);
    close(l);
    embedder_fini(&e);
}

TEST(lost_link_is_told)
{
    struct embedder e;
    embedder_init(&e, ",server,nowait");
    uint32_t conn = guest_end_connect(&e.guest, 600);
    until(&e, &e.guest.conns[conn].established, 2000);
    guest_end_detach(&e.guest);
    until(&e, &e.link_down, 2000);
    embedder_fini(&e);
}

TEST(freeing_with_all_under_way_leaks_nothing)
{
    struct embedder e;
    embedder_init(&e, ",server");
    for (int i = 0; i < 8; i++)
        guest_end_connect(&e.guest, 600);
    for (int i = 0; i < 20; i++) {
        loop_turn(e.guest.loop, 1);
        vmc_dispatch(e.vmc);
    }
    embedder_fini(&e); // the fixture counts descriptors, the sanitizer bytes
}

TEST(bad_configurations_fail_with_a_reason)
{
    struct embedder e;
    struct error err = {{0}};
    memset(&e, 0, sizeof(e));
    assert_int_equal(channel_spec_parse("600:unix:/nonexistent/s,server", &e.channel, NULL), 0);
    struct vmc_config config = config_of(&e);
    assert_null(vmc_new(&config, &err));
    assert_non_null(strstr(err.text, "channel 600: "));

    struct channel_spec twice[2];
    assert_int_equal(channel_spec_parse("600:unix:/a", &twice[0], NULL), 0);
    twice[1] = twice[0];
    config.channels = twice;
    config.channel_count = 2;
    assert_null(vmc_new(&config, &err));
    assert_non_null(strstr(err.text, "channel 600: File exists"));
}

TEST(socket_link_is_no_frame_link)
{
    struct embedder e;
    embedder_init(&e, "");
    assert_int_equal(vmc_attach_fd(e.vmc, LINK_NETNS, dup(0)), -EINVAL);
    embedder_fini(&e);
}

TEST(channels_come_and_go_in_process)
{
    struct embedder e;
    struct error err;
    struct channel_spec more;
    char text[160];
    embedder_init(&e, "");
    int l = listen_at(e.path);
    snprintf(text, sizeof(text), "601:unix:%s", e.path);
    assert_int_equal(channel_spec_parse(text, &more, NULL), 0);
    uint32_t conn = guest_end_connect(&e.guest, 601);
    until(&e, &e.guest.conns[conn].closed, 2000);
    assert_int_equal(vmc_add_channel(e.vmc, 5, &more, &err), 0);
    conn = guest_end_connect(&e.guest, 601);
    until(&e, &e.guest.conns[conn].established, 2000);
    vmc_remove_channel(e.vmc, 5);
    until(&e, &e.guest.conns[conn].closed, 2000);
    assert_int_equal(e.guest.conns[conn].reason, STACK_RESET);
    // A port that is taken, a device that cannot be had: nothing stays.
    more.port = 600;
    assert_int_equal(vmc_add_channel(e.vmc, 5, &more, &err), -EEXIST);
    assert_int_equal(channel_spec_parse("601:unix:/nonexistent/s,server", &more, NULL), 0);
    assert_true(vmc_add_channel(e.vmc, 5, &more, &err) < 0);
    conn = guest_end_connect(&e.guest, 601);
    until(&e, &e.guest.conns[conn].closed, 2000);
    assert_int_equal(e.guest.conns[conn].reason, STACK_REFUSED);
    close(l);
    embedder_fini(&e);
}
