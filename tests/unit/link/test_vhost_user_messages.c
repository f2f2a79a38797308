// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link with a front-end that does not behave: messages, values, descriptors and
// tables that cannot be, and leaving at any moment. The link ends, and a proper start works
// afterwards.
#include "vhost_guest.h"

#include <fcntl.h>

static void
expect_down(struct vhost_guest *g, const char *why)
{
    vg_turns(g);
    assert_int_equal(g->r->down, 1);
    if (!strstr(g->r->why, why))
        fail_msg("'%s' is not in '%s'", why, g->r->why);
    vg_disconnect(g);
    g->avail[0] = g->avail[1] = 0;
    memset(g->mem, 0, 0x20000);
    vg_connect(g);
    vg_set_up(g, VG_FEATURES);
    vg_send_frame(g, 100, 9);
    expect_last(g, 100, 9);
}

static void
raw(struct vhost_guest *g, uint32_t request, uint32_t flags, uint32_t size)
{
    uint32_t header[3] = {request, flags, size};
    assert_int_equal(send(g->sock, header, 12, MSG_NOSIGNAL), 12);
}

TEST(messages_that_cannot_be_end_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static const struct {
        uint32_t request, flags, size;
        const char *why;
    } rows[] = {
        {0, 1, 0, "unknown request 0"},
        {41, 1, 0, "unknown request 41"},
        {UINT32_MAX, 1, 0, "unknown request 4294967295"},
        {VHOST_SET_OWNER, 0, 0, "version 0"},
        {VHOST_SET_OWNER, 2, 0, "version 2"},
        {VHOST_SET_OWNER, 1 | 4, 0, "flags 0x5"},
        {VHOST_SET_OWNER, 1 | 64, 0, "flags 0x41"},
        {VHOST_SET_FEATURES, 1, 0, "of 0 bytes"},
        {VHOST_SET_OWNER, 1, 4097, "of 4097 bytes"},
        {VHOST_SET_OWNER, 1, UINT32_MAX, "of 4294967295 bytes"},
        {VHOST_GET_STATUS, 1, 0, "not negotiated"},
        {VHOST_RESET_DEVICE, 1, 0, "not negotiated"},
        {VHOST_SET_MEM_TABLE, 1, 0, "memory table of 0 regions"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        raw(&g, rows[i].request, rows[i].flags, rows[i].size);
        expect_down(&g, rows[i].why);
    }
    vg_free(&g);
}

TEST(values_that_cannot_be_end_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static const struct {
        uint32_t request, index, num;
        const char *why;
    } rows[] = {
        {VHOST_SET_VRING_NUM, 0, 0, "ring of 0 entries"},
        {VHOST_SET_VRING_NUM, 0, 3, "ring of 3 entries"},
        {VHOST_SET_VRING_NUM, 0, 65536, "ring of 65536 entries"},
        {VHOST_SET_VRING_NUM, 0, 128, "running ring"},
        {VHOST_SET_VRING_NUM, 2, 128, "ring 2"},
        {VHOST_SET_VRING_NUM, 255, 128, "ring 255"},
        {VHOST_SET_VRING_BASE, 0, 65536, "base 65536"},
        {VHOST_SET_VRING_BASE, 1, 0, "running ring"},
        {VHOST_GET_VRING_BASE, UINT32_MAX, 0, "ring 4294967295"},
        {VHOST_SET_VRING_ENABLE, 0, 2, "enabled by 2"},
        {VHOST_SET_VRING_KICK, 0x100, 0, "to be polled"},
        {VHOST_SET_VRING_KICK, 0, 0, "0 descriptors"},
        {VHOST_SET_VRING_CALL, 0x1000, 0, "ring 0x1000"},
        {VHOST_SET_FEATURES, 1u << 5, 0, "not offered"},
        {VHOST_SET_PROTOCOL_FEATURES, 1, 0, "not offered"},
        {VHOST_NET_SET_MTU, 67, 0, "MTU 67"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vg_state(&g, rows[i].request, rows[i].index, rows[i].num);
        expect_down(&g, rows[i].why);
    }
    vg_free(&g);
}

TEST(descriptors_that_do_not_fit_end_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    uint64_t ring = 0;
    int pipes[2], nine[9];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    for (int i = 0; i < 9; i++)
        nine[i] = g.mem_fd;
    vg_send(&g, VHOST_SET_OWNER, 0, NULL, 0, &g.mem_fd, 1);
    expect_down(&g, "with 1 descriptors");
    vg_send(&g, VHOST_SET_OWNER, 0, NULL, 0, nine, 9);
    expect_down(&g, "more than 8 descriptors");
    vg_send(&g, VHOST_SET_VRING_CALL, 0, &ring, 8, nine, 2);
    expect_down(&g, "with 2 descriptors");
    vg_send(&g, VHOST_SET_VRING_KICK, 0, &ring, 8, &g.mem_fd, 1);
    expect_down(&g, "something else than an eventfd");
    vg_send(&g, VHOST_SET_VRING_CALL, 0, &ring, 8, &pipes[1], 1);
    expect_down(&g, "something else than an eventfd");
    close(pipes[0]);
    close(pipes[1]);
    vg_free(&g);
}

static void
send_table(struct vhost_guest *g, const struct vg_table *t, int fd)
{
    int fds[9];
    for (int i = 0; i < 9; i++)
        fds[i] = fd;
    size_t n = t->count > 8 ? 8 : t->count;
    assert_true(vg_send(g, VHOST_SET_MEM_TABLE, 0, t, (uint32_t)(8 + n * 32), fds, n) > 0);
}

TEST(memory_tables_that_cannot_be_end_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static const struct {
        struct vg_table t;
        const char *why;
    } rows[] = {
        {{.count = 0}, "0 regions"},
        {{.count = 9}, "9 regions"},
        {{.count = 1, .regions = {{VG_GUEST, 0, VG_USER, 0}}}, "no size"},
        {{.count = 1, .regions = {{VG_GUEST, VG_BYTES + 1, VG_USER, 0}}}, "of a file of"},
        {{.count = 1, .regions = {{VG_GUEST, VG_BYTES, VG_USER, 4096}}}, "of a file of"},
        {{.count = 1, .regions = {{VG_GUEST, VG_BYTES, VG_USER, UINT64_MAX - 4095}}}, "wraps"},
        {{.count = 1, .regions = {{UINT64_MAX - 10, 4096, VG_USER, 0}}}, "wraps"},
        {{.count = 1, .regions = {{VG_GUEST, 4096, UINT64_MAX - 10, 0}}}, "wraps"},
        {{.count = 2, .regions = {{0, 8192, VG_USER, 0}, {4096, 4096, 0, 0}}}, "overlap"},
        {{.count = 2, .regions = {{0, 8192, VG_USER, 0}, {8192, 4096, VG_USER + 1, 0}}}, "overlap"},
        {{.count = 2, .regions = {{0, 8192, 0, 0}, {0, 8192, 0, 0}}}, "overlap"},
        // Fine in itself, but the rings that run are not in it.
        {{.count = 1, .regions = {{VG_GUEST, 0x10000, VG_USER, 0}}}, "outside of the guest's"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        send_table(&g, &rows[i].t, g.mem_fd);
        expect_down(&g, rows[i].why);
    }
    const struct vg_table fine = {.count = 1, .regions = {{VG_GUEST, 4096, VG_USER, 0}}};
    const char *const not_files[] = {"/", "/dev/zero", "/dev/null"};
    for (size_t i = 0; i < 3; i++) {
        int fd = open(not_files[i], O_RDONLY | O_CLOEXEC);
        send_table(&g, &fine, fd);
        close(fd);
        expect_down(&g, "not a file or memfd");
    }
    vg_free(&g);
}

TEST(rings_that_cannot_be_end_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint64_t user = VG_USER + VG_RING(0);
    const struct {
        uint64_t desc, used, avail;
        const char *why;
    } rows[] = {
        {user + 8, user + VG_USED, user + VG_AVAIL, "misaligned"},
        {user, user + VG_USED + 2, user + VG_AVAIL, "misaligned"},
        {user, user + VG_USED, user + VG_AVAIL + 1, "misaligned"},
        {0, user + VG_USED, user + VG_AVAIL, "outside"},
        {user, VG_USER + VG_BYTES - 16, user + VG_AVAIL, "outside"},
        {user, user + VG_USED, UINT64_MAX - 3, "outside"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } a = {0, 0, rows[i].desc, rows[i].used, rows[i].avail, 0};
        vg_send(&g, VHOST_SET_VRING_ADDR, 0, &a, 40, NULL, 0);
        expect_down(&g, rows[i].why);
    }
    vg_free(&g);
}

// A refusal that was asked for leaves the link up, and no pointer into what is not mapped any more.
// All requests of a start, as one run of bytes with the descriptors beside.
TEST(a_front_end_may_leave_at_any_byte)
{
    struct vhost_guest g = vg_new();
    for (size_t cut = 0; cut < 12 + 40; cut++) {
        struct vg_table t = {.count = 1, .regions = {{VG_GUEST, VG_BYTES, VG_USER, 0}}};
        uint8_t bytes[12 + 40];
        memcpy(bytes, (const uint32_t[]){VHOST_SET_MEM_TABLE, 1, 40}, 12);
        memcpy(bytes + 12, &t, 40);
        vg_connect(&g);
        if (cut > 0)
            assert_int_equal(fdpass_send(g.sock, bytes, cut, &g.mem_fd, 1), cut);
        vg_turns(&g);
        assert_int_equal(g.r->down, 0);
        close(g.sock);
        g.sock = -1;
        vg_turns(&g);
        assert_int_equal(g.r->down, 1);
        assert_non_null(strstr(g.r->why, "closed the connection"));
        vg_disconnect(&g);
    }
    vg_free(&g);
}

TEST(a_message_may_come_byte_by_byte)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    uint8_t bytes[20];
    memcpy(bytes, (const uint32_t[]){VHOST_SET_FEATURES, 1, 8}, 12);
    memcpy(bytes + 12, (const uint64_t[]){VG_FEATURES}, 8);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(send(g.sock, bytes + i, 1, 0), 1);
        vg_turns(&g);
    }
    assert_true(link_caps_of(g.r->link)->tso);
    vg_free(&g);
}

TEST(a_front_end_may_leave_after_any_message_and_come_back_ten_thousand_times)
{
    struct vhost_guest g = vg_new();
    for (unsigned i = 0; i < 10000; i++) {
        vg_connect(&g);
        g.avail[0] = g.avail[1] = 0;
        memset(g.mem, 0, 0x20000);
        unsigned steps = i % 8;
        if (steps > 0)
            vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
        if (steps > 1)
            vg_mem_table(&g);
        if (steps > 2)
            vg_state(&g, VHOST_SET_VRING_NUM, 1, VG_SIZE);
        if (steps > 3)
            vg_addr(&g, 1, 0, 0);
        if (steps > 4)
            vg_fd(&g, VHOST_SET_VRING_KICK, 1, g.kick[1]);
        if (steps > 5)
            vg_state(&g, VHOST_SET_VRING_ENABLE, 1, 1);
        if (steps > 6)
            vg_send_frame(&g, 100, i);
        vg_turns(&g);
        assert_int_equal(g.r->down, 0);
        close(g.sock);
        g.sock = -1;
        vg_turns(&g);
        assert_int_equal(g.r->down, 1);
        vg_disconnect(&g);
    }
    assert_int_equal(g.r->count, 1250);
    vg_free(&g);
}
