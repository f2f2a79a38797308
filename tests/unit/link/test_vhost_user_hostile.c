// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link with a front-end or guest that does not behave: broken rings, broken
// messages, memory that shrinks or changes while it is read. What counts is that nothing crashes,
// spins or leaks (test.h looks at the descriptors), and that a proper start works afterwards.
#include "vhost_guest.h"

#include <fcntl.h>
#include <pthread.h>

#define GUEST_DATA (VG_GUEST + VG_DATA)

// The ring can be used again once it is set up anew.
static void
expect_recovery(struct vhost_guest *g, int ring)
{
    vg_state(g, VHOST_GET_VRING_BASE, (uint32_t)ring, 0);
    vg_reply(g, VHOST_GET_VRING_BASE);
    memset(g->mem + VG_RING(ring), 0, 0x10000);
    g->avail[ring] = 0;
    vg_ring(g, (uint32_t)ring);
    vg_turns(g);
    if (ring == FROM_GUEST) {
        vg_send_frame(g, 100, 4);
        expect_last(g, 100, 4);
        return;
    }
    static struct test_frame f;
    vg_buffers(g, 1, 1536);
    assert_true(link_send(g->r->link, frame_fill(&f, 100, 4)));
    link_flush(g->r->link);
    assert_int_equal(vg_used_idx(g, TO_GUEST), 1);
}

// The chain that begins at descriptor 5 breaks the ring: told once, never looked at again.
static void
expect_broken(struct vhost_guest *g, const char *what)
{
    uint16_t used = vg_used_idx(g, FROM_GUEST);
    size_t frames = g->r->count;
    vg_post(g, FROM_GUEST, 5);
    vg_kick(g, FROM_GUEST);
    if (vg_events(g->err[FROM_GUEST]) != 1)
        fail_msg("not broken: %s", what);
    for (int i = 0; i < 3; i++)
        vg_kick(g, FROM_GUEST);
    assert_int_equal(vg_events(g->err[FROM_GUEST]), 0);
    assert_int_equal(vg_used_idx(g, FROM_GUEST), used);
    assert_int_equal(g->r->count, frames);
    assert_int_equal(g->r->down, 0);
    expect_recovery(g, FROM_GUEST);
}

TEST(chains_that_cannot_be_break_the_ring)
{
    static const struct {
        const char *what;
        struct vg_desc d;
    } rows[] = {
        {"a loop of one", {GUEST_DATA, 64, VG_NEXT, 5}},
        {"next out of range", {GUEST_DATA, 64, VG_NEXT, VG_SIZE}},
        {"next far out of range", {GUEST_DATA, 64, VG_NEXT, 65535}},
        {"address 0", {0, 64, 0, 0}},
        {"below the memory", {VG_GUEST - 1, 64, 0, 0}},
        {"past the memory", {VG_GUEST + VG_BYTES, 1, 0, 0}},
        {"over the end", {VG_GUEST + VG_BYTES - 63, 64, 0, 0}},
        {"address wraps", {UINT64_MAX - 10, 64, 0, 0}},
        {"4 GiB", {GUEST_DATA, UINT32_MAX, 0, 0}},
        {"no length", {GUEST_DATA, 0, 0, 0}},
        {"to be written", {GUEST_DATA, 64, VG_WRITE, 0}},
        {"indirect with next", {GUEST_DATA, 64, VG_INDIRECT | VG_NEXT, 6}},
        {"indirect of a part of an entry", {GUEST_DATA, 24, VG_INDIRECT, 0}},
        {"indirect of nothing", {GUEST_DATA, 0, VG_INDIRECT, 0}},
        {"indirect outside", {VG_GUEST + VG_BYTES - 16, 32, VG_INDIRECT, 0}},
        {"indirect of 65 537 entries", {GUEST_DATA, 65537 * 16, VG_INDIRECT, 0}},
    };
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vg_desc(&g, FROM_GUEST, 5, rows[i].d);
        expect_broken(&g, rows[i].what);
    }
    vg_free(&g);
}

TEST(tables_that_cannot_be_break_the_ring)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    // Of two, in a circle.
    vg_desc(&g, FROM_GUEST, 5, (struct vg_desc){GUEST_DATA, 64, VG_NEXT, 6});
    vg_desc(&g, FROM_GUEST, 6, (struct vg_desc){GUEST_DATA, 64, VG_NEXT, 5});
    expect_broken(&g, "a loop of two");
    // Nested, a circle, a next out of the table.
    const struct vg_desc inner[] = {{GUEST_DATA, 16, VG_INDIRECT, 0},
                                    {GUEST_DATA, 16, VG_NEXT, 0},
                                    {GUEST_DATA, 16, VG_NEXT, 1}};
    for (int i = 0; i < 3; i++) {
        vg_desc_at(&g, VG_DATA, inner[i]);
        vg_desc(&g, FROM_GUEST, 5, (struct vg_desc){GUEST_DATA, 16, VG_INDIRECT, 0});
        expect_broken(&g, "indirect table");
    }
    // Direction changes within a chain.
    vg_desc(&g, FROM_GUEST, 5, (struct vg_desc){GUEST_DATA, 64, VG_NEXT, 6});
    vg_desc(&g, FROM_GUEST, 6, (struct vg_desc){GUEST_DATA, 64, VG_WRITE, 0});
    expect_broken(&g, "interleaved");
    // More pieces than we take.
    for (uint16_t i = 0; i < 2000; i++)
        vg_desc_at(&g, VG_DATA + i * 16u,
                   (struct vg_desc){GUEST_DATA, 16, VG_NEXT, (uint16_t)(i + 1)});
    vg_desc_at(&g, VG_DATA + 2000 * 16, (struct vg_desc){GUEST_DATA, 16, 0, 0});
    vg_desc(&g, FROM_GUEST, 5, (struct vg_desc){GUEST_DATA, 2001 * 16, VG_INDIRECT, 0});
    expect_broken(&g, "2001 pieces");
    // Not negotiated.
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES & ~VIRTIO_INDIRECT_DESC);
    vg_desc(&g, FROM_GUEST, 5, (struct vg_desc){GUEST_DATA, 16, VG_INDIRECT, 0});
    expect_broken(&g, "indirect, not negotiated");
    vg_free(&g);
}

TEST(indexes_that_jump_break_the_ring)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint16_t jumps[] = {VG_SIZE + 1, 32768, 65535};
    for (size_t i = 0; i < 3; i++) {
        vg_send_frame(&g, 60, 1);
        g.avail[FROM_GUEST] = (uint16_t)(g.avail[FROM_GUEST] + jumps[i] - 1);
        expect_broken(&g, "available index");
    }
    vg_post(&g, FROM_GUEST, VG_SIZE); // a head out of range
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(vg_events(g.err[FROM_GUEST]), 1);
    expect_recovery(&g, FROM_GUEST);
    vg_free(&g);
}

TEST(chains_without_a_usable_frame_are_given_back)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint32_t lens[] = {1, VG_HDR - 1, VG_HDR, VG_HDR + FRAME_MAX + 1};
    uint16_t used = 0;
    for (size_t i = 0; i < 4; i++) {
        vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){GUEST_DATA, lens[i], 0, 0});
        vg_post(&g, FROM_GUEST, 0);
        vg_kick(&g, FROM_GUEST);
        assert_int_equal(vg_used_idx(&g, FROM_GUEST), ++used);
    }
    // A header that cannot be: a checksum past the end.
    uint64_t at = vg_frame(&g, 0, 60, 1);
    memcpy(g.mem + at, (const uint8_t[]){1, 0, 0, 0, 0, 0, 58, 0, 16, 0}, 10);
    vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + at, VG_HDR + 60, 0, 0});
    vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(vg_used_idx(&g, FROM_GUEST), ++used);
    assert_int_equal(g.r->count, 0);
    assert_int_equal(link_stats_of(g.r->link)->dropped_in, used);
    // The same head 200 times over is the driver's own affair.
    vg_frame(&g, 0, 60, 2);
    for (int i = 0; i < 200; i++)
        vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->count, 200);
    vg_free(&g);
}

TEST(buffers_that_cannot_be_break_the_ring_and_tiny_ones_do_not)
{
    static struct test_frame f;
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_desc(&g, TO_GUEST, 5, (struct vg_desc){GUEST_DATA, 1536, 0, 0}); // to be read
    vg_post(&g, TO_GUEST, 5);
    assert_true(link_send(g.r->link, frame_fill(&f, 100, 1)));
    link_flush(g.r->link);
    assert_int_equal(vg_events(g.err[TO_GUEST]), 1);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 1);
    expect_recovery(&g, TO_GUEST);

    vg_buffers(&g, VG_SIZE - 1, 1);
    assert_true(link_send(g.r->link, frame_fill(&f, 100, 2)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 1 + VG_HDR + 100);
    // The rings themselves as a buffer: the guest's own loss.
    g.avail[TO_GUEST] = vg_used_idx(&g, TO_GUEST);
    expect_recovery(&g, TO_GUEST);
    vg_desc(&g, TO_GUEST, 0,
            (struct vg_desc){VG_GUEST + VG_RING(TO_GUEST) + VG_USED, 0x2000, VG_WRITE, 0});
    vg_post(&g, TO_GUEST, 0);
    assert_true(link_send(g.r->link, frame_fill(&f, 1000, 3)));
    link_flush(g.r->link);
    expect_recovery(&g, TO_GUEST);
    vg_free(&g);
}

TEST(kicks_are_but_kicks)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    uint64_t one = 1;
    for (int i = 0; i < 2; i++) // before the start
        assert_int_equal(write(g.kick[i], &one, 8), 8);
    vg_set_up(&g, VG_FEATURES);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(write(g.kick[i & 1], &one, 8), 8);
    vg_turns(&g);
    assert_int_equal(g.r->count, 0);
    vg_send_frame(&g, 60, 1);
    assert_int_equal(g.r->count, 1);
    vg_free(&g);
}

// --- messages ------------------------------------------------------------------------------------

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
TEST(a_refused_memory_table_stops_the_rings_that_are_not_in_it)
{
    static struct test_frame f;
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_REPLY_ACK);
    struct vg_table t = {.count = 1, .regions = {{VG_GUEST, 4096, VG_USER, 0}}};
    vg_send(&g, VHOST_SET_MEM_TABLE, 8, &t, 40, &g.mem_fd, 1);
    assert_int_equal(vg_reply(&g, VHOST_SET_MEM_TABLE), 1);
    vg_send_frame(&g, 100, 1);
    assert_true(link_send(g.r->link, frame_fill(&f, 100, 1)));
    link_flush(g.r->link);
    assert_int_equal(g.r->count, 0);
    vg_mem_table(&g);
    expect_recovery(&g, FROM_GUEST);
    assert_int_equal(g.r->down, 0);
    vg_free(&g);
}

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

// --- memory that does not stay -------------------------------------------------------------------

TEST(memory_that_shrinks_ends_the_link_and_nothing_else)
{
    for (int shorten_to = 0; shorten_to <= (int)VG_DATA; shorten_to += (int)VG_DATA) {
        struct vhost_guest g = vg_start(VG_FEATURES);
        uint64_t at = vg_frame(&g, 0, 1000, 1);
        vg_desc(&g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + at, VG_HDR + 1000, 0, 0});
        vg_post(&g, FROM_GUEST, 7);
        assert_int_equal(ftruncate(g.mem_fd, shorten_to), 0);
        vg_kick(&g, FROM_GUEST);
        assert_int_equal(g.r->down, 1);
        assert_non_null(strstr(g.r->why, "shortened"));
        vg_free(&g);
    }
}

TEST(memory_that_shrinks_under_a_write_ends_the_link)
{
    static struct test_frame f;
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_buffers(&g, 4, 1536);
    assert_int_equal(ftruncate(g.mem_fd, (off_t)VG_DATA), 0);
    assert_true(link_send(g.r->link, frame_fill(&f, 1000, 1)));
    link_flush(g.r->link);
    vg_turns(&g);
    assert_int_equal(g.r->down, 1);
    vg_free(&g);
}

struct racer {
    struct vhost_guest *g;
    _Atomic bool stop;
};

// Rewrites descriptors, indirect tables and indexes with what is sometimes right.
static void *
race(void *arg)
{
    struct racer *r = arg;
    uint64_t x = 88172645463325252ull;
    while (!r->stop) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        int ring = x & 1;
        uint64_t at = VG_RING(ring) + ((x >> 1) & 0x0f) * 16;
        if ((x >> 5 & 7) == 0)
            at = VG_DATA + ((x >> 9) & 0x0f) * 16;
        const uint64_t addrs[] = {GUEST_DATA, GUEST_DATA + (x >> 40), VG_GUEST + VG_BYTES - 8,
                                  UINT64_MAX - 5};
        const uint32_t lens[] = {VG_HDR + 60, 1, 16 * 8, UINT32_MAX};
        uint16_t flags = (uint16_t)(x >> 12 & 7);
        struct vg_desc d = {addrs[x >> 20 & 1 ? x >> 16 & 3 : 0], lens[x >> 18 & 3], flags,
                            (uint16_t)(x >> 22 & 0x0f)};
        volatile uint64_t *to = (volatile uint64_t *)(void *)(r->g->mem + at);
        uint64_t words[2];
        memcpy(words, &d, 16);
        to[0] = words[0];
        to[1] = words[1];
        if ((x >> 30 & 15) == 0)
            atomic_fetch_add(vg_u16(r->g, VG_RING(ring) + VG_AVAIL + 2), (uint16_t)(x >> 50 & 3));
        if ((x >> 34 & 63) == 0)
            atomic_store(vg_u16(r->g, VG_RING(ring) + VG_USED + 2), (uint16_t)x);
    }
    return NULL;
}

TEST(a_racing_guest_harms_nobody_but_itself)
{
    static struct test_frame f;
    struct vhost_guest g = vg_start(VG_FEATURES);
    const struct link_stats *stats = link_stats_of(g.r->link);
    struct racer r = {.g = &g};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, race, &r), 0);
    // At least so often, and until both threads really had their turns.
    const uint64_t deadline = loop_clock_us() + 10000000;
    for (int i = 0; g.r->down == 0; i++) {
        if (i > 3000 && (stats->frames_in + stats->dropped_in > 20 || loop_clock_us() > deadline))
            break;
        uint64_t one = 1;
        int ring = i & 1;
        assert_int_equal(write(g.kick[ring], &one, 8), 8);
        turns(g.loop, 2);
        link_send(g.r->link, frame_fill(&f, 1 + (size_t)i % 3000, 1));
        link_flush(g.r->link);
        g.r->count = g.r->used = 0;
        if (i % 8 == 7) { // a broken ring starts anew
            for (uint32_t j = 0; j < 2; j++) {
                vg_state(&g, VHOST_GET_VRING_BASE, j, 0);
                g.avail[j] = (uint16_t)(vg_reply(&g, VHOST_GET_VRING_BASE) >> 32);
                atomic_store(vg_u16(&g, VG_RING(j) + VG_AVAIL + 2), (uint16_t)(g.avail[j] + 8));
                vg_ring(&g, j);
            }
            turns(g.loop, 1);
        }
    }
    r.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(g.r->down, 0);
    assert_true(stats->frames_in + stats->dropped_in > 0);
    expect_recovery(&g, FROM_GUEST);
    vg_free(&g);
}
