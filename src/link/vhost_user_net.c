// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link: frames in virtqueues. What the guest sends is handed up where it lies in the
// guest's memory, and given back when the receiver has returned; what goes to the guest is copied
// into its buffers at once, and told to it once per flush. The protocol is vhost_user.c's.
#include "link/link_impl.h"

#include "base/log.h"
#include "link/vhost_user.h"
#include "link/vnet_hdr.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_FRAMES      64
#define BATCHES_PER_TURN  4
#define BATCH_IOV         2048
#define FRAME_PIECES      64 // the stack drops frames of more (FRAME_IN_IOV_MAX)
#define LINEAR_BYTES      (4 * 65536)
#define BUFFERS_PER_FRAME 1024 // 64 KiB in buffers of 64 bytes
#define AT_NUM_BUFFERS    10   // in virtio_net_hdr
#define MTU_MAX           65520
#define LOG_BURST         4
#define LOG_INTERVAL_US   10000000

_Static_assert(LINEAR_BYTES >= FRAME_MAX && BATCH_IOV >= 2 * VIRTQUEUE_CHAIN_MAX,
               "a frame fits, whatever it is made of");

struct ring_poll {
    struct vhost_link *link;
    struct loop_io io;
    bool added;
};

struct vhost_link {
    struct link base;
    struct vhost_user dev;
    struct ring_poll polls[VHOST_RINGS];
    int work_timer;         // the rest of what did not fit a turn
    bool refused;           // link_send gave false: on_writable is owed
    bool told[VHOST_RINGS]; // that the ring is broken
    struct log_limit limit;
    size_t linear_used; // of linear, by this batch

    // A batch from the guest.
    struct frame frames[BATCH_FRAMES];
    struct virtqueue_head heads[BATCH_FRAMES];
    struct iovec iov[BATCH_IOV];
    uint8_t linear[LINEAR_BYTES]; // frames in too many pieces

    // A frame to the guest: the buffers it goes to.
    struct virtqueue_head to_heads[BUFFERS_PER_FRAME];
    uint32_t to_lens[BUFFERS_PER_FRAME];
    struct iovec to_iov[BATCH_IOV];
};

static size_t
header_bytes(const struct vhost_link *l)
{
    return l->dev.features & (VIRTIO_VERSION_1 | VIRTIO_NET_MRG_RXBUF) ? VNET_HDR_V1_BYTES
                                                                       : VNET_HDR_BYTES;
}

static void
break_if_lost(struct vhost_link *l)
{
    if (guest_memory_is_lost(&l->dev.memory))
        link_break(&l->base, 0, "guest memory: the file behind it was shortened");
}

static void
note_broken(struct vhost_link *l, enum vhost_ring_index i)
{
    struct vhost_ring *ring = &l->dev.rings[i];
    if (!ring->queue.broken[0] || l->told[i])
        return;
    l->told[i] = true;
    vhost_ring_tell_broken(ring);
    uint32_t left_out;
    if (log_limit_pass(&l->limit, loop_now_us(l->base.loop), &left_out))
        log_warn("link vhost-user: ring %d is broken until the guest resets it: %s", i,
                 ring->queue.broken);
}

// Copies the first len bytes of a chain to out and takes them off its pieces; the chain is longer.
// Gives the first piece that is left.
static int
split_header(uint8_t *out, size_t len, struct iovec *iov)
{
    int first = 0;
    while (len > 0) {
        size_t n = iov[first].iov_len < len ? iov[first].iov_len : len;
        memcpy(out, iov[first].iov_base, n);
        out += n;
        len -= n;
        iov[first].iov_base = (uint8_t *)iov[first].iov_base + n;
        iov[first].iov_len -= n;
        if (iov[first].iov_len == 0)
            first++;
    }
    // The copy is what is looked at from here on, not the guest's memory again.
    __asm__ volatile("" ::: "memory");
    return first;
}

// Whether the guest's driver may send such frames.
static bool
is_negotiated(const struct vhost_link *l, const struct frame *frame)
{
    if (frame->csum == FRAME_CSUM_PARTIAL && !(l->dev.features & VIRTIO_NET_CSUM))
        return false;
    switch (frame->gso) {
    case FRAME_GSO_NONE:
        return true;
    case FRAME_GSO_TCP4:
        return l->dev.features & VIRTIO_NET_HOST_TSO4;
    case FRAME_GSO_TCP6:
        return l->dev.features & VIRTIO_NET_HOST_TSO6;
    }
    return false;
}

static void
linearise(struct vhost_link *l, struct frame *frame, struct iovec *iov)
{
    uint8_t *start = l->linear + l->linear_used, *to = start;
    for (int i = 0; i < frame->iovcnt; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
    iov[0] = (struct iovec){start, frame->len};
    frame->iovcnt = 1;
    l->linear_used += frame->len;
}

// False for a chain that holds no frame we can use.
static bool
parse_chain(struct vhost_link *l, const struct virtqueue_chain *chain, struct iovec *iov,
            struct frame *out)
{
    uint8_t hdr[VNET_HDR_V1_BYTES];
    size_t hdr_bytes = header_bytes(l);
    if (chain->len <= hdr_bytes || chain->len - hdr_bytes > FRAME_MAX)
        return false;
    int first = split_header(hdr, hdr_bytes, iov);
    *out = (struct frame){
        .iov = iov + first, .iovcnt = chain->iovcnt - first, .len = (size_t)chain->len - hdr_bytes};
    if (!vnet_hdr_parse(hdr, out) || !is_negotiated(l, out))
        return false;
    if (out->iovcnt > FRAME_PIECES)
        linearise(l, out, iov + first);
    return true;
}

// Takes chains until there are no more or the batch is full. Useless ones are given back.
static size_t
collect(struct vhost_link *l, size_t *skipped)
{
    struct vhost_ring *ring = &l->dev.rings[VHOST_RING_FROM_GUEST];
    size_t count = 0, used = 0;
    *skipped = 0;
    l->linear_used = 0;
    while (count < BATCH_FRAMES && *skipped < BATCH_FRAMES &&
           BATCH_IOV - used >= VIRTQUEUE_CHAIN_MAX && LINEAR_BYTES - l->linear_used >= FRAME_MAX) {
        struct virtqueue_chain chain;
        if (!virtqueue_take(&ring->queue, false, &chain, l->iov + used))
            break;
        if (ring->enabled && parse_chain(l, &chain, l->iov + used, &l->frames[count])) {
            l->heads[count++] = chain.head;
            used += (size_t)chain.iovcnt;
        } else {
            virtqueue_complete(&ring->queue, chain.head, 0);
            l->base.stats.dropped_in++;
            (*skipped)++;
        }
    }
    return count;
}

static void
work_later(struct vhost_link *l)
{
    loop_timer_set(l->base.loop, l->work_timer, 0);
}

static void
receive(struct vhost_link *l)
{
    struct vhost_ring *ring = &l->dev.rings[VHOST_RING_FROM_GUEST];
    for (int i = 0; i < BATCHES_PER_TURN && virtqueue_is_running(&ring->queue); i++) {
        size_t skipped;
        size_t count = collect(l, &skipped);
        if (count == 0 && skipped == 0) {
            if (!virtqueue_want_kick(&ring->queue))
                return;
            continue;
        }
        virtqueue_no_kick(&ring->queue);
        bool alive = link_deliver(&l->base, l->frames, count);
        if (l->base.closed)
            return; // its memory is there, but nobody looks at it any more
        for (size_t j = 0; j < count; j++)
            virtqueue_complete(&ring->queue, l->heads[j], 0);
        vhost_ring_publish(ring);
        if (!alive)
            return;
    }
    if (virtqueue_is_running(&ring->queue))
        work_later(l);
}

static void
update_caps(struct vhost_link *l)
{
    uint64_t f = l->dev.features;
    struct link_caps caps = {.mtu_max = MTU_MAX};
    caps.csum_offload = f & VIRTIO_NET_GUEST_CSUM;
    caps.tso = caps.csum_offload && (f & VIRTIO_NET_GUEST_TSO4);
    caps.tso6 = caps.csum_offload && (f & VIRTIO_NET_GUEST_TSO6);
    if (l->dev.mtu)
        caps.mtu_max = l->dev.mtu;
    if (caps.mtu_max == l->base.caps.mtu_max && caps.tso == l->base.caps.tso &&
        caps.tso6 == l->base.caps.tso6 && caps.csum_offload == l->base.caps.csum_offload)
        return;
    l->base.caps = caps;
    l->refused = false;
    l->base.events->on_writable(l->base.ctx);
}

// Everything that a kick or a request may have made possible.
static void
work(struct vhost_link *l)
{
    update_caps(l);
    if (l->base.closed || l->base.broken)
        return;
    if (l->refused) {
        l->refused = false;
        l->base.events->on_writable(l->base.ctx);
        if (l->base.closed || l->base.broken)
            return;
    }
    receive(l);
    if (l->base.closed)
        return;
    for (enum vhost_ring_index i = 0; i < VHOST_RINGS; i++)
        note_broken(l, i);
    break_if_lost(l);
}

static void
on_work_timer(void *ctx)
{
    struct vhost_link *l = ctx;
    if (!l->base.broken)
        work(l);
}

static void
on_kick(void *ctx, unsigned loop_events)
{
    struct ring_poll *poll = ctx;
    if (!poll->link->base.broken)
        work(poll->link);
}

static void
on_ring_stop(void *ctx, enum vhost_ring_index i)
{
    struct vhost_link *l = ctx;
    if (l->polls[i].added)
        loop_remove(l->base.loop, &l->polls[i].io);
    l->polls[i].added = false;
}

static int
on_ring_start(void *ctx, enum vhost_ring_index i)
{
    struct vhost_link *l = ctx;
    struct ring_poll *poll = &l->polls[i];
    poll->io = (struct loop_io){.fd = l->dev.rings[i].kick_fd, .on_event = on_kick, .ctx = poll};
    poll->link = l;
    l->told[i] = false;
    // By edges: each write to an eventfd is one, so it never has to be read.
    int rc = loop_add(l->base.loop, &poll->io, LOOP_READ | LOOP_EDGE);
    poll->added = rc == 0;
    return rc;
}

static void
on_socket(void *ctx, unsigned loop_events)
{
    struct vhost_link *l = ctx;
    struct error err = {{0}};
    if (vhost_user_read(&l->dev, l->base.io.fd, &err) < 0) {
        link_break(&l->base, 0, "%s", err.text);
        return;
    }
    // A ring that was just set up may be full, with its kick long past.
    work(l);
}

// Takes buffers for `need` bytes. Their number, or 0: not enough are there, and none is taken.
// Fewer bytes than needed where waiting for more would be in vain.
static uint16_t
take_buffers(struct vhost_link *l, size_t need, size_t *pieces)
{
    struct virtqueue *q = &l->dev.rings[VHOST_RING_TO_GUEST].queue;
    uint16_t most = l->dev.features & VIRTIO_NET_MRG_RXBUF ? BUFFERS_PER_FRAME : 1;
    uint16_t count = 0, entries = 0;
    uint64_t have = 0;
    *pieces = 0;
    while (have < need && count < most && BATCH_IOV - *pieces >= VIRTQUEUE_CHAIN_MAX) {
        struct virtqueue_chain chain;
        if (!virtqueue_take(q, true, &chain, l->to_iov + *pieces)) {
            if (entries == q->size)
                return count; // all that the driver can ever post at once
            virtqueue_untake(q, entries);
            return 0;
        }
        l->to_heads[count] = chain.head;
        entries = (uint16_t)(entries + chain.head.entries);
        l->to_lens[count++] = chain.len < UINT32_MAX ? (uint32_t)chain.len : UINT32_MAX;
        have += chain.len;
        *pieces += (size_t)chain.iovcnt;
    }
    return count;
}

struct scatter {
    struct guest_memory *memory;
    const struct iovec *to, *end;
    size_t at; // in *to
};

// False when the buffers are full.
static bool
scatter(struct scatter *s, const void *data, size_t len)
{
    const uint8_t *from = data;
    while (len > 0) {
        if (s->to == s->end)
            return false;
        size_t room = s->to->iov_len - s->at;
        size_t n = len < room ? len : room;
        uint8_t *to = (uint8_t *)s->to->iov_base + s->at;
        memcpy(to, from, n);
        guest_memory_dirty(s->memory, to, n);
        from += n;
        len -= n;
        s->at += n;
        if (s->at == s->to->iov_len) {
            s->to++;
            s->at = 0;
        }
    }
    return true;
}

static bool
fill_buffers(struct vhost_link *l, const struct frame *frame, size_t pad, uint16_t count,
             size_t pieces)
{
    static const uint8_t zeros[FRAME_MIN];
    uint8_t hdr[VNET_HDR_V1_BYTES];
    struct scatter s = {&l->dev.memory, l->to_iov, l->to_iov + pieces, 0};
    size_t hdr_bytes = header_bytes(l);
    vnet_hdr_emit(hdr, hdr_bytes, frame);
    if (hdr_bytes == VNET_HDR_V1_BYTES) {
        uint16_t le = htole16(count);
        memcpy(hdr + AT_NUM_BUFFERS, &le, sizeof(le));
    }
    bool fits = scatter(&s, hdr, hdr_bytes);
    for (int i = 0; i < frame->iovcnt && fits; i++)
        fits = scatter(&s, frame->iov[i].iov_base, frame->iov[i].iov_len);
    return fits && scatter(&s, zeros, pad);
}

// True when there is room by now, or a kick will tell.
static bool
wait_for_buffers(struct vhost_link *l)
{
    if (virtqueue_want_kick(&l->dev.rings[VHOST_RING_TO_GUEST].queue))
        return false;
    l->refused = true;
    return true;
}

static bool
vhost_send(struct link *link, const struct frame *frame)
{
    struct vhost_link *l = (struct vhost_link *)link;
    struct vhost_ring *ring = &l->dev.rings[VHOST_RING_TO_GUEST];
    bool unfit = (frame->csum == FRAME_CSUM_PARTIAL && !link->caps.csum_offload) ||
                 (frame->gso == FRAME_GSO_TCP4 && !link->caps.tso) ||
                 (frame->gso == FRAME_GSO_TCP6 && !link->caps.tso6);
    if (unfit || !vhost_ring_is_active(ring)) {
        link->stats.dropped_out++; // as a NIC does that nobody listens to
        return true;
    }
    if (l->refused)
        return false;
    size_t pad = frame->len < FRAME_MIN ? FRAME_MIN - frame->len : 0;
    size_t need = header_bytes(l) + frame->len + pad, pieces;
    uint16_t count = take_buffers(l, need, &pieces);
    if (count == 0 && virtqueue_is_running(&ring->queue)) {
        if (wait_for_buffers(l))
            return false;
        // Buffers came in between. Should they be too few again, they are asked for in a later
        // turn.
        count = take_buffers(l, need, &pieces);
        if (count == 0 && virtqueue_is_running(&ring->queue)) {
            l->refused = true;
            work_later(l);
            return false;
        }
    }
    virtqueue_no_kick(&ring->queue);
    bool fits = count > 0 && fill_buffers(l, frame, pad, count, pieces);
    for (uint16_t i = 0; i < count; i++) {
        // What does not fit the guest's buffers is dropped, with the buffers, or it would stand in
        // the way for ever.
        uint32_t written = !fits ? 0 : need < l->to_lens[i] ? (uint32_t)need : l->to_lens[i];
        virtqueue_complete(&ring->queue, l->to_heads[i], written);
        need -= written;
    }
    link->stats.dropped_out += !fits;
    link->stats.frames_out += fits;
    link->stats.bytes_out += fits ? frame->len + pad : 0;
    return true;
}

static void
vhost_flush(struct link *link)
{
    struct vhost_link *l = (struct vhost_link *)link;
    vhost_ring_publish(&l->dev.rings[VHOST_RING_TO_GUEST]);
    note_broken(l, VHOST_RING_TO_GUEST);
    break_if_lost(l);
}

static void
vhost_stop(struct link *link)
{
    struct vhost_link *l = (struct vhost_link *)link;
    for (enum vhost_ring_index i = 0; i < VHOST_RINGS; i++)
        on_ring_stop(l, i);
    loop_timer_free(link->loop, l->work_timer);
}

static void
vhost_free(void *link)
{
    struct vhost_link *l = link;
    vhost_user_fini(&l->dev);
    free(l);
}

static const struct link_ops vhost_ops = {
    .send = vhost_send,
    .flush = vhost_flush,
    .stop = vhost_stop,
    .free = vhost_free,
};

struct link *
link_new_vhost_user(struct loop *loop, int fd, const struct link_events *events, void *ctx)
{
    // Pages of the areas that are never used are never there.
    struct vhost_link *l = calloc(1, sizeof(*l));
    int timer = l ? loop_timer_new(loop, on_work_timer, l) : -1;
    if (timer < 0) {
        free(l);
        close(fd);
        return NULL;
    }
    l->base.ops = &vhost_ops;
    l->base.caps = (struct link_caps){.mtu_max = MTU_MAX};
    l->limit =
        (struct log_limit){.burst = LOG_BURST, .interval_us = LOG_INTERVAL_US, .tokens = LOG_BURST};
    l->work_timer = timer;
    vhost_user_init(&l->dev);
    l->dev.on_ring_stop = on_ring_stop;
    l->dev.on_ring_start = on_ring_start;
    l->dev.ctx = l;
    if (link_init(&l->base, loop, fd, events, ctx, on_socket))
        return &l->base;
    loop_timer_free(loop, timer); // the rest is gone
    return NULL;
}
