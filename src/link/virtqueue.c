// SPDX-License-Identifier: BSD-3-Clause
// What the two formats of a virtqueue have in common: where it is in memory, when it runs and when
// it is broken, where it goes on, and what a chain's descriptors name. The rings themselves are in
// virtqueue_split.c and virtqueue_packed.c. A ring that runs keeps its format, whatever is
// negotiated meanwhile.
#include "link/virtqueue_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

// The parts of a packed ring's base.
enum {
    BASE_INDEX = 0x7fff,
    BASE_WRAP = 0x8000,
    BASE_USED_SHIFT = 16,
};

static bool
is_aligned(const void *p, uintptr_t to)
{
    return ((uintptr_t)p & (to - 1)) == 0;
}

static int
resolve(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    virtqueue_stop(q);
    assert(q->size > 0);
    struct virtqueue_layout layout =
        q->is_packed ? virtqueue_packed_layout(q) : virtqueue_split_layout(q);
    uint8_t *desc = guest_memory_at_user(q->memory, addr->desc, layout.desc);
    uint8_t *avail = guest_memory_at_user(q->memory, addr->avail, layout.avail);
    uint8_t *used = guest_memory_at_user(q->memory, addr->used, layout.used);
    if (!desc || !avail || !used)
        return error_set(err, EFAULT, "ring of %u entries outside of the guest's memory", q->size);
    if (!is_aligned(desc, 16) || !is_aligned(avail, q->is_packed ? 4 : 2) || !is_aligned(used, 4))
        return error_set(err, EINVAL, "ring misaligned");
    q->desc = desc;
    q->avail = avail;
    q->used = used;
    q->used_log = addr->used_log;
    q->log_used = addr->log_used;
    return 0;
}

static int
check_place(const struct virtqueue *q, struct error *err)
{
    if (!q->is_packed && (q->size & (q->size - 1)) != 0)
        return error_set(err, EINVAL, "split ring of %u entries (accepted: powers of two)",
                         q->size);
    if (q->is_packed && q->next_avail >= q->size)
        return error_set(err, EINVAL, "packed ring of %u entries to go on at %u", q->size,
                         q->next_avail);
    return 0;
}

int
virtqueue_start(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    q->is_packed = q->packed;
    int rc = resolve(q, addr, err);
    if (rc == 0 && (rc = check_place(q, err)) < 0)
        virtqueue_stop(q);
    if (rc < 0)
        return rc;
    if (q->is_packed)
        virtqueue_packed_start(q);
    else
        virtqueue_split_start(q);
    q->is_fresh = q->asks_kick = true;
    q->broken[0] = '\0';
    return 0;
}

int
virtqueue_move(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    return resolve(q, addr, err);
}

void
virtqueue_stop(struct virtqueue *q)
{
    q->desc = q->used = NULL;
    q->avail = NULL;
}

bool
virtqueue_is_running(const struct virtqueue *q)
{
    return q->desc && !q->broken[0];
}

void
virtqueue_break(struct virtqueue *q, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(q->broken, sizeof(q->broken), fmt, args);
    va_end(args);
}

// --- the base ------------------------------------------------------------------------------------

uint32_t
virtqueue_base(const struct virtqueue *q)
{
    if (!q->is_packed)
        return q->next_avail;
    uint32_t avail = q->next_avail | (q->avail_wrap ? BASE_WRAP : 0u);
    uint32_t used = q->next_used | (q->used_wrap ? BASE_WRAP : 0u);
    return avail | used << BASE_USED_SHIFT;
}

bool
virtqueue_set_base(struct virtqueue *q, uint32_t base)
{
    if (!q->packed && base > UINT16_MAX)
        return false;
    q->is_packed = q->packed;
    q->next_avail = q->next_used = (uint16_t)(q->packed ? base & BASE_INDEX : base);
    q->avail_wrap = q->used_wrap = base & BASE_WRAP;
    return true;
}

void
virtqueue_set_base_to_start(struct virtqueue *q)
{
    q->next_avail = q->next_used = 0;
    q->avail_wrap = q->used_wrap = true;
}

// --- chains --------------------------------------------------------------------------------------

bool
virtqueue_enter_table(struct virtqueue *q, const struct descriptor *d, struct table *out)
{
    if (!q->indirect || (d->flags & DESC_NEXT)) {
        virtqueue_break(q, "indirect descriptor %s",
                        !q->indirect ? "that was not negotiated" : "with a next one");
        return false;
    }
    uint32_t count = d->len / DESC_BYTES;
    if (count == 0 || d->len % DESC_BYTES != 0 || count > VIRTQUEUE_SIZE_MAX) {
        virtqueue_break(q, "indirect table of %u bytes", d->len);
        return false;
    }
    out->base = guest_memory_at(q->memory, d->addr, d->len);
    out->count = count;
    if (!out->base)
        virtqueue_break(q, "indirect table outside of the guest's memory");
    return out->base;
}

bool
virtqueue_add_piece(struct virtqueue *q, const struct descriptor *d, bool writable,
                    struct virtqueue_chain *out, struct iovec *iov)
{
    if (!!(d->flags & DESC_WRITE) != writable) {
        virtqueue_break(q, "descriptor of the wrong direction");
        return false;
    }
    if (d->len == 0) {
        virtqueue_break(q, "descriptor of no length");
        return false;
    }
    int n = guest_memory_slice(q->memory, d->addr, d->len, iov + out->iovcnt,
                               VIRTQUEUE_CHAIN_MAX - out->iovcnt);
    if (n < 0) {
        virtqueue_break(q, "%s",
                        out->iovcnt == VIRTQUEUE_CHAIN_MAX
                            ? "chain of too many descriptors"
                            : "descriptor outside of the guest's memory");
        return false;
    }
    out->iovcnt += n;
    out->len += d->len; // at most 1024 times 4 GiB
    return true;
}

// --- by format -----------------------------------------------------------------------------------

bool
virtqueue_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out, struct iovec *iov)
{
    if (!virtqueue_is_running(q))
        return false;
    return q->is_packed ? virtqueue_packed_take(q, writable, out, iov)
                        : virtqueue_split_take(q, writable, out, iov);
}

void
virtqueue_untake(struct virtqueue *q, uint16_t entries)
{
    if (q->is_packed)
        virtqueue_packed_untake(q, entries);
    else
        q->next_avail = (uint16_t)(q->next_avail - entries);
}

void
virtqueue_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len)
{
    assert(q->used); // it was taken from
    if (q->is_packed)
        virtqueue_packed_complete(q, head, len);
    else
        virtqueue_split_complete(q, head, len);
}

bool
virtqueue_publish(struct virtqueue *q)
{
    if (!q->used)
        return false;
    return q->is_packed ? virtqueue_packed_publish(q) : virtqueue_split_publish(q);
}

bool
virtqueue_want_kick(struct virtqueue *q)
{
    if (!virtqueue_is_running(q))
        return false;
    return q->is_packed ? virtqueue_packed_want_kick(q) : virtqueue_split_want_kick(q);
}

void
virtqueue_no_kick(struct virtqueue *q)
{
    if (!virtqueue_is_running(q) || !q->asks_kick)
        return;
    if (q->is_packed)
        virtqueue_packed_no_kick(q);
    else
        virtqueue_split_no_kick(q);
}
