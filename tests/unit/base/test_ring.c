// SPDX-License-Identifier: BSD-3-Clause
// The slot pool by residency of its pages, rings against a model, misuse by its asserts.
#include "test.h"

#include "base/random.h"
#include "base/ring.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOT 4096u

static size_t
resident_pages(const struct ring_pool *pool)
{
    size_t bytes = (size_t)pool->slots * pool->slot_bytes;
    size_t pages = bytes / (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *map = malloc(pages);
    size_t n = 0;

    assert_int_equal(mincore(pool->base, bytes, map), 0);
    for (size_t i = 0; i < pages; i++)
        n += map[i] & 1;
    free(map);
    return n;
}

// Appends text the way a reader of a socket does: through the free iovecs.
static void
append(const struct ring_pool *pool, struct ring *ring, const uint8_t *data, uint32_t len)
{
    struct iovec iov[2];
    int n = ring_free_iov(pool, ring, iov);
    uint32_t done = 0;

    for (int i = 0; i < n && done < len; i++) {
        size_t part = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
        memcpy(iov[i].iov_base, data + done, part);
        done += (uint32_t)part;
    }
    assert_int_equal(done, len);
    ring_commit(pool, ring, len);
}

static void
peek(const struct ring_pool *pool, const struct ring *ring, uint32_t offset, uint8_t *out,
     uint32_t len)
{
    struct iovec iov[2];
    int n = ring_iov(pool, ring, offset, len, iov);

    for (int i = 0; i < n; i++) {
        memcpy(out, iov[i].iov_base, iov[i].iov_len);
        out += iov[i].iov_len;
        len -= (uint32_t)iov[i].iov_len;
    }
    assert_int_equal(len, 0);
}

TEST(a_new_pool_touches_no_slot)
{
    struct ring_pool pool;
    assert_int_equal(ring_pool_init(&pool, 1024, 1 << 18), 0);
    assert_int_equal(resident_pages(&pool), 0);
    ring_pool_fini(&pool);
    assert_null(pool.base);
}

TEST(a_pool_that_no_machine_can_hold_is_refused)
{
    struct ring_pool pool;
    assert_true(ring_pool_init(&pool, UINT32_MAX, 1u << 31) < 0);
    ring_pool_fini(&pool);
}

TEST(slots_are_last_in_first_out)
{
    struct ring_pool pool;
    struct ring a, b, c;

    ring_pool_init(&pool, 3, SLOT);
    ring_init(&a);
    ring_init(&b);
    ring_init(&c);
    assert_true(ring_acquire(&pool, &a));
    assert_true(ring_acquire(&pool, &b));
    uint32_t slot_b = b.slot;
    assert_int_not_equal(a.slot, slot_b);
    ring_release(&pool, &a);
    ring_release(&pool, &b);
    assert_true(ring_acquire(&pool, &c));
    assert_int_equal(c.slot, slot_b);
    ring_release(&pool, &c);
    ring_pool_fini(&pool);
}

TEST(an_exhausted_pool_says_so_and_recovers)
{
    struct ring_pool pool;
    struct ring rings[3];

    ring_pool_init(&pool, 2, SLOT);
    for (int i = 0; i < 3; i++)
        ring_init(&rings[i]);
    assert_true(ring_acquire(&pool, &rings[0]));
    assert_true(ring_acquire(&pool, &rings[1]));
    assert_false(ring_acquire(&pool, &rings[2]));
    assert_int_equal(rings[2].slot, RING_NO_SLOT);
    assert_true(ring_acquire(&pool, &rings[0])); // has one already
    assert_int_equal(pool.free_count, 0);
    ring_release(&pool, &rings[0]);
    ring_release(&pool, &rings[0]); // harmless
    assert_int_equal(pool.free_count, 1);
    assert_true(ring_acquire(&pool, &rings[2]));
    ring_release(&pool, &rings[1]);
    ring_release(&pool, &rings[2]);
    ring_pool_fini(&pool);
}

TEST(a_ring_without_a_slot_has_all_its_space)
{
    struct ring_pool pool;
    struct ring ring;

    ring_pool_init(&pool, 1, SLOT);
    ring_init(&ring);
    assert_int_equal(ring_space(&pool, &ring), SLOT);
    ring_acquire(&pool, &ring);
    append(&pool, &ring, (const uint8_t *)"hello", 5);
    assert_int_equal(ring_space(&pool, &ring), SLOT - 5);
    ring_release(&pool, &ring);
    assert_int_equal(ring_space(&pool, &ring), SLOT);
    ring_acquire(&pool, &ring);
    assert_int_equal(ring.used, 0);
    ring_release(&pool, &ring);
    ring_pool_fini(&pool);
}

TEST(a_full_ring_has_no_free_iovec_and_wraps_in_two)
{
    static uint8_t data[SLOT];
    struct ring_pool pool;
    struct ring ring;
    struct iovec iov[2];

    ring_pool_init(&pool, 1, SLOT);
    ring_init(&ring);
    ring_acquire(&pool, &ring);
    assert_int_equal(ring_free_iov(&pool, &ring, iov), 1);
    assert_int_equal(iov[0].iov_len, SLOT);
    append(&pool, &ring, data, SLOT);
    assert_int_equal(ring_free_iov(&pool, &ring, iov), 0);
    ring_consume(&pool, &ring, 100);
    append(&pool, &ring, data, 60);
    assert_int_equal(ring_iov(&pool, &ring, 0, ring.used, iov), 2);
    assert_int_equal(iov[0].iov_len, SLOT - 100);
    assert_int_equal(iov[1].iov_len, 60);
    assert_int_equal(ring_iov(&pool, &ring, SLOT - 100, 60, iov), 1);
    assert_ptr_equal(iov[0].iov_base, pool.base);
    assert_int_equal(ring_iov(&pool, &ring, 0, 0, iov), 0);
    ring_release(&pool, &ring);
    ring_pool_fini(&pool);
}

TEST(placed_bytes_survive_an_empty_ring)
{
    struct ring_pool pool;
    struct ring ring;
    uint8_t out[6];

    ring_pool_init(&pool, 1, SLOT);
    ring_init(&ring);
    ring_acquire(&pool, &ring);
    ring_place(&pool, &ring, 3, "def", 3);
    append(&pool, &ring, (const uint8_t *)"abc", 3);
    ring_consume(&pool, &ring, 3);
    assert_int_equal(ring.used, 0);
    ring_commit(&pool, &ring, 3);
    peek(&pool, &ring, 0, out, 3);
    assert_memory_equal(out, "def", 3);
    ring_release(&pool, &ring);
    ring_pool_fini(&pool);
}

// A stream of known bytes goes through rings in random steps: place ahead, commit, peek, consume.
TEST(rings_agree_with_a_model)
{
    enum { RINGS = 5, SLOTS = 3 };
    struct ring_pool pool;
    struct ring rings[RINGS];
    uint64_t written[RINGS] = {0}, read_to[RINGS] = {0};
    struct random rnd = {4711};
    static uint8_t buf[2 * SLOT];

    ring_pool_init(&pool, SLOTS, 2 * SLOT);
    for (int i = 0; i < RINGS; i++)
        ring_init(&rings[i]);
    for (int step = 0; step < 100000; step++) {
        uint32_t i = random_below(&rnd, RINGS);
        struct ring *ring = &rings[i];
        if (!ring_acquire(&pool, ring)) {
            assert_int_equal(pool.free_count, 0);
            ring_release(&pool, &rings[random_below(&rnd, RINGS)]);
            for (int k = 0; k < RINGS; k++) {
                if (rings[k].slot == RING_NO_SLOT)
                    written[k] = read_to[k] = 0;
            }
            continue;
        }
        uint32_t n = random_below(&rnd, ring_space(&pool, ring) + 1);
        for (uint32_t k = 0; k < n; k++)
            buf[k] = (uint8_t)((written[i] + k) * 7 + i);
        if (random_below(&rnd, 2)) { // out of order: the second half first
            ring_place(&pool, ring, ring->used + n / 2, buf + n / 2, n - n / 2);
            ring_place(&pool, ring, ring->used, buf, n / 2);
            ring_commit(&pool, ring, n);
        } else {
            append(&pool, ring, buf, n);
        }
        written[i] += n;
        assert_int_equal(ring->used, written[i] - read_to[i]);

        uint32_t offset = random_below(&rnd, ring->used + 1);
        uint32_t len = random_below(&rnd, ring->used - offset + 1);
        peek(&pool, ring, offset, buf, len);
        for (uint32_t k = 0; k < len; k++)
            assert_int_equal(buf[k], (uint8_t)((read_to[i] + offset + k) * 7 + i));
        n = random_below(&rnd, ring->used + 1);
        ring_consume(&pool, ring, n);
        read_to[i] += n;
    }
    for (int i = 0; i < RINGS; i++)
        ring_release(&pool, &rings[i]);
    assert_int_equal(pool.free_count, SLOTS);
    ring_pool_fini(&pool);
}

TEST(trimming_gives_pages_back_except_of_the_next_slots)
{
    enum { SLOTS = 8 };
    struct ring_pool pool;
    struct ring rings[SLOTS];
    uint32_t slots[SLOTS];
    size_t pages = SLOT / (size_t)sysconf(_SC_PAGESIZE);

    ring_pool_init(&pool, SLOTS, SLOT);
    for (int i = 0; i < SLOTS; i++) {
        ring_init(&rings[i]);
        ring_acquire(&pool, &rings[i]);
        ring_place(&pool, &rings[i], 0, "x", 1);
        slots[i] = rings[i].slot;
    }
    for (int i = 0; i < SLOTS - 1; i++) // the last one stays in use
        ring_release(&pool, &rings[i]);
    assert_int_equal(resident_pages(&pool), SLOTS * pages);
    ring_pool_trim(&pool, 2);
    assert_int_equal(resident_pages(&pool), 3 * pages);
    assert_int_equal(pool.base[(size_t)slots[SLOTS - 1] * SLOT], 'x');
    assert_int_equal(pool.base[(size_t)slots[SLOTS - 2] * SLOT], 'x'); // next in turn
    assert_int_equal(pool.base[(size_t)slots[SLOTS - 3] * SLOT], 'x');
    assert_int_equal(pool.base[(size_t)slots[0] * SLOT], 0);
    ring_pool_trim(&pool, 100);
    ring_pool_trim(&pool, 0);
    ring_release(&pool, &rings[SLOTS - 1]);
    ring_pool_fini(&pool);
}

TEST(trimming_leaves_the_first_pages_of_the_next_slots)
{
    enum { LARGE = 8 * RING_HOT_BYTES };
    struct ring_pool pool;
    struct ring rings[2];
    static uint8_t bytes[LARGE];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    memset(bytes, 'x', sizeof bytes);
    ring_pool_init(&pool, 2, LARGE);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            ring_init(&rings[i]);
            ring_acquire(&pool, &rings[i]);
            ring_place(&pool, &rings[i], 0, bytes, LARGE);
        }
        assert_int_equal(resident_pages(&pool), 2 * LARGE / page);
        ring_release(&pool, &rings[0]);
        ring_release(&pool, &rings[1]);
        ring_pool_trim(&pool, 1);
        assert_int_equal(resident_pages(&pool), RING_HOT_BYTES / page);
    }
    ring_pool_trim(&pool, 0);
    assert_int_equal(resident_pages(&pool), 0);
    ring_pool_fini(&pool);
}

TEST(a_pool_is_dirty_from_its_first_use_to_a_trim)
{
    struct ring_pool pool;
    struct ring rings[3];
    ring_pool_init(&pool, 4, SLOT);
    assert_false(ring_pool_is_dirty(&pool));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i <= round; i++) {
            ring_init(&rings[i]);
            ring_acquire(&pool, &rings[i]);
        }
        for (int i = 0; i <= round; i++)
            ring_release(&pool, &rings[i]);
        assert_true(ring_pool_is_dirty(&pool));
        ring_pool_trim(&pool, 0);
        assert_false(ring_pool_is_dirty(&pool));
    }
    ring_pool_fini(&pool);
}

static void
expect_abort(void (*fn)(struct ring_pool *, struct ring *))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct ring_pool pool;
        struct ring ring;
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        ring_pool_init(&pool, 1, SLOT);
        ring_init(&ring);
        ring_acquire(&pool, &ring);
        fn(&pool, &ring);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
place_beyond(struct ring_pool *pool, struct ring *ring)
{
    ring_place(pool, ring, SLOT - 1, "xy", 2);
}

static void
place_wrapping(struct ring_pool *pool, struct ring *ring)
{
    ring_place(pool, ring, UINT32_MAX, "xy", 2);
}

static void
commit_too_much(struct ring_pool *pool, struct ring *ring)
{
    ring_commit(pool, ring, SLOT + 1);
}

static void
consume_too_much(struct ring_pool *pool, struct ring *ring)
{
    ring_commit(pool, ring, 1);
    ring_consume(pool, ring, 2);
}

static void
read_without_slot(struct ring_pool *pool, struct ring *ring)
{
    struct iovec iov[2];
    ring_release(pool, ring);
    ring_iov(pool, ring, 0, 1, iov);
}

TEST(our_own_mistakes_stop_at_an_assert)
{
    expect_abort(place_beyond);
    expect_abort(place_wrapping);
    expect_abort(commit_too_much);
    expect_abort(consume_too_much);
    expect_abort(read_without_slot);
}
