// SPDX-License-Identifier: BSD-3-Clause
// Batches in and single frames out of a descriptor that moves one frame per system call, behind a
// virtio_net_hdr. Used by tap.c and packet.c.
#include "link/vnet_link.h"

#include "link/vnet_hdr.h"

#include <assert.h>
#include <errno.h>
#include <sys/uio.h>

// In front of the bytes of a TCP segment: Ethernet, IPv4 and TCP without options.
#define TCP_FRAME_HEADERS (14 + 20 + 20)

static const uint8_t padding[FRAME_MIN];

// Where the header goes so that the bytes of a segment begin at a line of the cache. The kernel
// copies whole lines fastest, and they go into a host's socket from there.
static size_t
place(const struct vnet_link *l, size_t used)
{
    uintptr_t payload = (uintptr_t)l->buf + used + l->hdr_bytes + TCP_FRAME_HEADERS;
    return used + (CACHE_LINE - payload % CACHE_LINE) % CACHE_LINE;
}

// n bytes of header and frame stand at `at`. False when they are no frame we can use.
static bool
parse_frame(const struct vnet_link *l, uint8_t *at, size_t n, struct iovec *iov, struct frame *out)
{
    if (n <= l->hdr_bytes || n - l->hdr_bytes > FRAME_MAX)
        return false;
    *iov = (struct iovec){at + l->hdr_bytes, n - l->hdr_bytes};
    *out = (struct frame){.iov = iov, .iovcnt = 1, .len = iov->iov_len};
    return vnet_hdr_parse(at, out);
}

// Reads until the descriptor is empty or the batch full, and hands the batch up.
static void
receive(struct vnet_link *l)
{
    const size_t wanted = l->hdr_bytes + FRAME_MAX + 1; // one more shows what is oversized
    size_t used = 0, count = 0;
    int broken = 0;
    for (int i = 0; i < VNET_BATCH_FRAMES && !broken; i++) {
        size_t at = place(l, used);
        if (VNET_BATCH_BYTES - at < wanted)
            break;
        ssize_t n = l->read_frame(l->base.io.fd, l->buf + at, wanted);
        if (n == -EAGAIN)
            break;
        if (n == -EINTR)
            continue;
        if (n < 0) {
            broken = l->is_gone_after_read(l, (int)-n) ? (int)-n : 0;
        } else if (parse_frame(l, l->buf + at, (size_t)n, &l->frame_iov[count],
                               &l->frames[count])) {
            count++;
            used = at + (size_t)n;
        } else {
            l->base.stats.dropped_in++;
        }
    }
    if (link_deliver(&l->base, l->frames, count) && broken)
        link_break(&l->base, broken, "interface is gone");
}

void
vnet_link_on_event(void *ctx, unsigned loop_events)
{
    struct vnet_link *l = ctx;
    if (loop_events & LOOP_WRITE) { // asked for where a frame was refused
        l->refused = false;
        loop_modify(l->base.loop, &l->base.io, LOOP_READ);
        l->base.events->on_writable(l->base.ctx);
        if (l->base.closed || l->base.broken)
            return;
    }
    if (loop_events & (LOOP_READ | LOOP_HANGUP))
        receive(l);
}

bool
vnet_link_send(struct link *link, const struct frame *frame)
{
    struct vnet_link *l = (struct vnet_link *)link;
    if (l->refused)
        return false;
    uint8_t hdr[VNET_HDR_V1_BYTES];
    struct iovec iov[FRAME_IOV_MAX + 2];
    int iovcnt = 0;
    vnet_hdr_emit(hdr, l->hdr_bytes, frame);
    iov[iovcnt++] = (struct iovec){hdr, l->hdr_bytes};
    for (int i = 0; i < frame->iovcnt; i++)
        iov[iovcnt++] = frame->iov[i];
    size_t len = frame->len;
    if (len < FRAME_MIN) {
        iov[iovcnt++] = (struct iovec){(void *)padding, FRAME_MIN - len};
        len = FRAME_MIN;
    }
    ssize_t n;
    do
        n = writev(link->io.fd, iov, iovcnt);
    while (n < 0 && errno == EINTR);
    if (n >= 0) {
        link->stats.frames_out++;
        link->stats.bytes_out += len;
        return true;
    }
    if (errno == EAGAIN) {
        l->refused = true;
        loop_modify(link->loop, &link->io, LOOP_READ | LOOP_WRITE);
        return false;
    }
    int errnum = errno;
    link->stats.dropped_out++;
    if (l->is_gone_after_write(l, errnum))
        link_break(link, errnum, "interface is gone");
    return true;
}

void
vnet_link_flush(struct link *link)
{
}
