// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link with a guest that does not behave: broken rings, memory that shrinks or
// changes while it is read. What counts is that nothing crashes, spins or leaks (test.h looks at
// the descriptors), and that a proper start works afterwards. Broken messages of the front-end are
// test_vhost_user_messages.c's.
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
