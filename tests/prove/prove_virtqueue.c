// SPDX-License-Identifier: BSD-3-Clause
// prove: is_aligned resolve check_place virtqueue_start virtqueue_enter_table virtqueue_add_piece
// prove: virtqueue_take virtqueue_untake virtqueue_complete virtqueue_publish virtqueue_want_kick
// prove: virtqueue_no_kick virtqueue_passes load_u16 store_u16 store_u32 read_descriptor
// prove: virtqueue_split_layout virtqueue_split_start walk has_more virtqueue_split_take
// prove: virtqueue_split_complete virtqueue_split_publish virtqueue_split_want_kick
// prove: virtqueue_split_no_kick virtqueue_packed_layout load_flags find_seam find_place
// prove: virtqueue_packed_start advance load_rest make_descriptor entry_of is_available add_table
// prove: virtqueue_packed_take virtqueue_packed_complete virtqueue_packed_publish tell_wish
// prove: virtqueue_packed_want_kick virtqueue_packed_no_kick
// unreached: resolve 1 the end of the program by an assert, which holds here
// unreached: virtqueue_complete 1 the same
// over: split and packed rings of 1, 2, 3, 256 and 32768 entries and indirect tables of 1, 2 and
// over: 32768, each of which ends with its memory; each load gives any value, as if the guest wrote
// over: all the time; rings that stand anywhere; chains of up to 8 pieces in place of 1024
// options: -eva-interprocedural-splits
// options: -eva-slevel-function virtqueue_start:60,resolve:60,check_place:20,use:20
// options: -eva-slevel-function virtqueue_enter_table:100,add_table:8,walk:8
#include "prove.h"

#include "link/virtqueue.h"

int
error_set(struct error *err, int errnum, const char *fmt, ...)
{
    (void)err;
    (void)fmt;
    return -errnum;
}

#include <stdarg.h>
#include <stdio.h>

// Why a queue is broken.
static int
any_text(char *to, size_t size)
{
    Frama_C_make_unknown(to, size);
    return 0;
}
#define vsnprintf(to, size, fmt, args) any_text(to, size)

#include "link/virtqueue.c"
#include "link/virtqueue_packed.c"
#include "link/virtqueue_split.c"

// --- guest memory: what it may answer ---

#define PART_BYTES (VIRTQUEUE_SIZE_MAX * DESC_BYTES)

enum {
    DESC,
    AVAIL,
    USED,
};

// Each for itself: behind one there is no other that could be read by mistake.
static uint8_t desc_part[PART_BYTES], avail_part[PART_BYTES], used_part[PART_BYTES];
static uint8_t indirect[PART_BYTES];

void *
guest_memory_at_user(const struct guest_memory *m, uint64_t user_addr, uint64_t len)
{
    (void)m;
    if (any_bool())
        return NULL;
    if (user_addr == DESC)
        return desc_part + PART_BYTES - len;
    return (user_addr == AVAIL ? avail_part : used_part) + PART_BYTES - len;
}

void *
guest_memory_at(const struct guest_memory *m, uint64_t guest_addr, uint64_t len)
{
    (void)m;
    (void)guest_addr;
    return any_bool() ? indirect + PART_BYTES - len : NULL;
}

int
guest_memory_slice(const struct guest_memory *m, uint64_t addr, uint64_t len, struct iovec *out,
                   int room)
{
    (void)m;
    (void)addr;
    if (room <= 0 || any_bool())
        return -1;
    out[0] = out[room - 1] = (struct iovec){NULL, len};
    return Frama_C_interval(1, room);
}

void
guest_memory_dirty(struct guest_memory *m, const void *at, size_t len)
{
    (void)m;
    (void)at;
    (void)len;
}

void
guest_memory_dirty_addr(struct guest_memory *m, uint64_t addr, uint64_t len)
{
    (void)m;
    (void)addr;
    (void)len;
}

// --- the proof ---

static struct guest_memory memory;

static void
use(struct virtqueue *q)
{
    struct virtqueue_chain chain = {.iovcnt = 0};
    struct iovec iov[VIRTQUEUE_CHAIN_MAX];
    struct virtqueue_addr addr = {.desc = DESC, .avail = AVAIL, .used = USED};

    addr.used_log = any_u64();
    addr.log_used = any_bool();
    if (virtqueue_start(q, &addr, NULL) < 0)
        return;
    q->is_fresh = any_bool();
    q->event_idx = any_bool();
    q->indirect = any_bool();
    if (virtqueue_take(q, any_bool(), &chain, iov)) {
        if (any_bool())
            virtqueue_untake(q, chain.head.entries);
        else
            virtqueue_complete(q, chain.head, any_u32());
    }
    virtqueue_publish(q);
    virtqueue_want_kick(q);
    virtqueue_no_kick(q);
    virtqueue_no_kick(q);

    // Stopped, it gives nothing and touches nothing.
    virtqueue_stop(q);
    virtqueue_take(q, any_bool(), &chain, iov);
    virtqueue_publish(q);
    virtqueue_want_kick(q);
    virtqueue_no_kick(q);
}

int
main(void)
{
    static const uint32_t sizes[] = {1, 2, 3, 256, VIRTQUEUE_SIZE_MAX};
    uint32_t size = sizes[Frama_C_interval(0, 4)];
    struct virtqueue q = {.memory = &memory};

    ANY(desc_part);
    ANY(avail_part);
    ANY(used_part);
    ANY(indirect);
    //@ split size;
    q.size = size;
    q.packed = any_bool();
    //@ split q.packed;
    q.indirect = any_bool();
    q.next_avail = any_u16();
    q.avail_wrap = any_bool();
    use(&q);
    return 0;
}
