// SPDX-License-Identifier: BSD-3-Clause
// A virtqueue, split or packed, whose driver writes what it likes where it likes, also from another
// thread while the queue is worked on. Whatever is taken lies in the guest's memory; work is
// bounded.
//
// Input: size and features, operations of driver and device, and behind a marker the writes that
// the racing thread repeats.
#include "fuzz.h"

#include "link/virtqueue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION 0x10000u
#define GUEST  0x40000000ull
#define USER   0x7f0000000000ull
#define AVAIL  0x4000u
#define USED   0x8000u
#define OPS    200

#define PACKED_AVAIL (1 << 7)
#define PACKED_USED  (1 << 15)

static struct guest_memory memory;
static uint8_t *driver; // the same bytes, as the guest has them

// One thread for all inputs, which waits in between.
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted, busy; // under the lock
    struct cursor writes;
    _Atomic bool stop;
} racer = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

// Two regions side by side in the guest's addresses, and apart in ours; a hole behind them.
static void
map_memory(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    int rc = ftruncate(fd, 2 * REGION);
    driver = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const struct guest_region regions[2] = {
        {.guest_addr = GUEST, .size = REGION, .user_addr = USER},
        {.guest_addr = GUEST + REGION,
         .size = REGION,
         .user_addr = USER + 4 * REGION,
         .mmap_offset = REGION},
    };
    const int fds[2] = {fd, fd};
    struct error err = {{0}};
    assert(rc == 0 && driver != MAP_FAILED);
    rc = guest_memory_map(&memory, regions, fds, 2, &err);
    assert(rc == 0);
    close(fd);
}

// A packed ring's flags: those that both formats have, and whose the entry is in bits 3 and 4.
static uint16_t
packed_flags(uint8_t flags)
{
    return (uint16_t)((flags & 7) | (flags & 8 ? PACKED_AVAIL : 0) |
                      (flags & 16 ? PACKED_USED : 0));
}

static void
write_descriptor(const struct virtqueue *q, struct cursor *c)
{
    uint8_t to = cursor_u8(c), where = cursor_u8(c), length = cursor_u8(c), flags = cursor_u8(c);
    static const uint64_t addrs[] = {
        GUEST + 0xc000, GUEST + REGION - 8, GUEST + REGION,    GUEST + 2 * REGION - 4, 0,
        GUEST - 1,      UINT64_MAX - 5,     GUEST + 2 * REGION};
    static const uint32_t lens[] = {12, 0, 1, 16, 64, 16 * 8, REGION, UINT32_MAX};
    uint64_t addr = addrs[where & 7] + (where >> 3) * 16u;
    uint32_t len = lens[length & 7] + (length >> 3);
    uint16_t next = cursor_u8(c);
    // The table, or in bit 7: an indirect table in the data.
    uint8_t *at = driver + (to & 0x80 ? 0xc000 : 0) + (to & 0x7f) * 16u;
    uint16_t flags16 = q->is_packed ? packed_flags(flags) : flags;
    memcpy(at, &addr, 8);
    memcpy(at + 8, &len, 4);
    memcpy(at + (q->is_packed ? 14 : 12), &flags16, 2);
    memcpy(at + (q->is_packed ? 12 : 14), &next, 2);
}

static void
put_u16(size_t at, uint16_t v)
{
    atomic_store((_Atomic uint16_t *)(void *)(driver + at), v);
}

static void
write_until_stopped(void)
{
    while (!racer.stop) {
        for (struct cursor c = racer.writes; c.left >= 3 && !racer.stop;) {
            size_t at = cursor_u16(&c) & ~7u;
            uint64_t v = 0;
            cursor_bytes(&c, &v, c.left < 8 ? c.left : 8);
            *(volatile uint64_t *)(void *)(driver + at) = v;
        }
    }
}

static void *
race(void *arg)
{
    pthread_mutex_lock(&racer.lock);
    for (;;) {
        while (!racer.wanted)
            pthread_cond_wait(&racer.changed, &racer.lock);
        racer.wanted = false;
        racer.busy = true;
        pthread_mutex_unlock(&racer.lock);
        write_until_stopped();
        pthread_mutex_lock(&racer.lock);
        racer.busy = false;
        pthread_cond_broadcast(&racer.changed);
    }
    return NULL;
}

static void
race_begin(struct cursor writes)
{
    static bool exists;
    static pthread_t thread;
    if (!exists)
        exists = pthread_create(&thread, NULL, race, NULL) == 0;
    assert(exists);
    pthread_mutex_lock(&racer.lock);
    racer.writes = writes;
    racer.stop = false;
    racer.wanted = true;
    pthread_cond_broadcast(&racer.changed);
    pthread_mutex_unlock(&racer.lock);
}

// Then it writes no more. It may not have come to write at all.
static void
race_end(void)
{
    racer.stop = true;
    pthread_mutex_lock(&racer.lock);
    racer.wanted = false;
    while (racer.busy)
        pthread_cond_wait(&racer.changed, &racer.lock);
    pthread_mutex_unlock(&racer.lock);
}

static bool
is_guest_memory(const struct iovec *iov)
{
    const uint8_t *at = iov->iov_base;
    for (size_t i = 0; i < memory.count; i++) {
        const struct guest_region *r = &memory.regions[i];
        if (at >= r->mapping.data && iov->iov_len <= r->size &&
            (size_t)(at - r->mapping.data) <= r->size - iov->iov_len)
            return true;
    }
    return false;
}

static void
take(struct virtqueue *q, bool writable, uint8_t then)
{
    static struct iovec iov[VIRTQUEUE_CHAIN_MAX];
    struct virtqueue_chain chain;
    if (!virtqueue_take(q, writable, &chain, iov))
        return;
    uint64_t len = 0;
    assert(chain.iovcnt >= 1 && chain.iovcnt <= VIRTQUEUE_CHAIN_MAX);
    for (int i = 0; i < chain.iovcnt; i++) {
        assert(iov[i].iov_len > 0 && is_guest_memory(&iov[i]));
        if (writable) // it may be the ring itself that is written
            memset(iov[i].iov_base, then, iov[i].iov_len < 64 ? iov[i].iov_len : 64);
        len += iov[i].iov_len;
    }
    assert(len == chain.len);
    if (then & 1)
        virtqueue_untake(q, chain.head.entries);
    else
        virtqueue_complete(q, chain.head, (uint32_t)len);
}

static void
run_op(struct virtqueue *q, const struct virtqueue_addr *addr, struct cursor *c)
{
    struct error err = {{0}};
    uint8_t op = cursor_u8(c), arg;
    switch (op & 15) {
    case 0:
    case 1:
    case 2:
        write_descriptor(q, c);
        break;
    case 3: // entry, head
        arg = cursor_u8(c);
        put_u16(AVAIL + 4 + 2u * arg, cursor_u8(c));
        break;
    case 4:
        put_u16(AVAIL + 2, (uint16_t)(q->next_avail + cursor_u8(c)));
        break;
    case 5:
        put_u16(AVAIL + 2, cursor_u16(c));
        break;
    case 6:
        arg = cursor_u8(c);
        put_u16((cursor_u16(c) & ~1u) % (2 * REGION), arg);
        break;
    case 7:
    case 8:
        take(q, false, cursor_u8(c));
        break;
    case 9:
        take(q, true, cursor_u8(c));
        break;
    case 10:
        virtqueue_publish(q);
        break;
    case 11:
        virtqueue_want_kick(q);
        break;
    case 12:
        virtqueue_no_kick(q);
        break;
    case 13:
        virtqueue_start(q, addr, &err);
        break;
    case 14:
        virtqueue_move(q, addr, &err);
        break;
    case 15: // all that is there, as a link does
        for (uint32_t i = 0; i < 2 * q->size && virtqueue_is_running(q); i++)
            take(q, op & 16, 2);
        virtqueue_publish(q);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!driver)
        map_memory();
    memset(driver, 0, 2 * REGION);
    struct cursor c = cursor_of(data, size);
    uint8_t how = cursor_u8(&c), where = cursor_u8(&c);
    struct virtqueue q = {.memory = &memory,
                          .size = 1u << (how & 7),
                          .event_idx = how & 8,
                          .indirect = how & 16,
                          .packed = how & 128};
    virtqueue_set_base_to_start(&q);
    struct virtqueue_addr addr = {.desc = USER, .avail = USER + AVAIL, .used = USER + USED};
    if (where & 1) // somewhere else: misaligned, over the end, over one another
        addr.used = USER + (uint64_t)where * 0x101;
    if (where & 2)
        addr.avail += where;
    addr.log_used = memory.logging = how & 32;
    struct error err = {{0}};
    bool races = how & 64;
    if (races)
        race_begin(cursor_take(&c, cursor_u8(&c)));
    if (virtqueue_start(&q, &addr, &err) < 0)
        fuzz_expect_reason(&err);
    for (int i = 0; i < OPS && c.left > 0; i++)
        run_op(&q, &addr, &c);
    if (races)
        race_end();
    // Started anew behind a driver that behaves, it works.
    memset(driver, 0, 2 * REGION);
    q.size = 4;
    virtqueue_set_base_to_start(&q);
    addr = (struct virtqueue_addr){.desc = USER, .avail = USER + AVAIL, .used = USER + USED};
    const uint64_t at = GUEST + 0xc000;
    const uint64_t rest = 100 | (q.packed ? (uint64_t)PACKED_AVAIL << 48 : 0);
    memcpy(driver, &at, 8);
    memcpy(driver + 8, &rest, 8);
    put_u16(AVAIL + 2, 1);
    int rc = virtqueue_start(&q, &addr, &err);
    assert(rc == 0);
    take(&q, false, 2);
    virtqueue_publish(&q);
    // Both used bits of a packed entry, or the used ring's index.
    assert(virtqueue_is_running(&q));
    assert(q.packed ? (driver[14] & driver[15] & 0x80) != 0 : driver[USED + 2] == 1);
    return 0;
}
