// SPDX-License-Identifier: BSD-3-Clause
// The stream link: frames behind a 4-byte big-endian length on a connected stream socket (Unix or
// TCP), as QEMU's -netdev stream and socket speak it. Connecting and accepting is link/open.h's.
//
// In: one large receive buffer; all whole frames in it go up in place, then the unfinished tail
// moves to the front. Out: prefixes and headers are copied to an area, payload is referenced, and
// the flush is one sendmsg of many frames. What the socket does not take is copied to the backlog,
// whole or in part, so that a frame once begun is always finished: framing is never lost.
#include "link/link_impl.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFIX_BYTES   4
#define RX_BYTES       (256 * 1024) // several frames of 64 KiB
#define RX_BATCH       1024         // frames per on_frames
#define READS_PER_TURN 4            // then the others get their turn

#define TX_FRAMES     256
#define TX_IOV        (TX_FRAMES * (FRAME_IOV_MAX + 1)) // prefix+header, payload, padding
#define TX_AREA_BYTES (256 * 1024)                      // prefixes and headers
#define BACKLOG_BYTES (1024 * 1024)                     // bounds the queue, too

static_assert(TX_IOV <= 1024, "sendmsg takes IOV_MAX iovecs");
static_assert(TX_AREA_BYTES >= PREFIX_BYTES + FRAME_MAX, "any frame fits an empty queue");
static_assert(BACKLOG_BYTES >= PREFIX_BYTES + FRAME_MAX, "any frame fits an empty queue");

struct stream {
    struct link base;

    // Receiving.
    size_t rx_used; // bytes in rx, from the first
    struct frame frames[RX_BATCH];
    struct iovec frame_iov[RX_BATCH];

    // The queue: what link_send collected for the next link_flush.
    int tx_frames;
    int tx_iovcnt;
    size_t tx_area_used;
    size_t tx_bytes; // sum of the iovecs
    struct iovec tx_iov[TX_IOV];

    // What the socket did not take, already counted as sent.
    size_t backlog_start, backlog_end;
    bool refused; // link_send gave false: on_writable is owed

    uint8_t rx[RX_BYTES];
    uint8_t tx_area[TX_AREA_BYTES];
    uint8_t backlog[BACKLOG_BYTES];
};

static const uint8_t padding[FRAME_MIN];

static uint32_t
get_length(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void
put_length(uint8_t *at, size_t len)
{
    at[0] = (uint8_t)(len >> 24);
    at[1] = (uint8_t)(len >> 16);
    at[2] = (uint8_t)(len >> 8);
    at[3] = (uint8_t)len;
}

// Collects whole frames from *at on; leaves *at behind the last one. *bad_length is set to a length
// that cannot be.
static size_t
collect_frames(struct stream *s, size_t *at, int64_t *bad_length)
{
    size_t count = 0;
    while (count < RX_BATCH && s->rx_used - *at >= PREFIX_BYTES) {
        uint32_t len = get_length(s->rx + *at);
        if (len == 0 || len > FRAME_MAX) {
            *bad_length = len;
            break;
        }
        if (s->rx_used - *at - PREFIX_BYTES < len)
            break;
        s->frame_iov[count] = (struct iovec){s->rx + *at + PREFIX_BYTES, len};
        s->frames[count] = (struct frame){
            .iov = &s->frame_iov[count], .iovcnt = 1, .len = len, .csum = s->base.csum_in};
        *at += PREFIX_BYTES + len;
        count++;
    }
    return count;
}

// Hands up all whole frames of the buffer. False when the link is gone or broken.
static bool
deliver_buffer(struct stream *s)
{
    size_t at = 0;
    int64_t bad_length = -1;
    size_t count;
    do {
        count = collect_frames(s, &at, &bad_length);
        if (!link_deliver(&s->base, s->frames, count))
            return false;
    } while (count == RX_BATCH);
    if (bad_length >= 0) {
        s->base.stats.dropped_in++;
        link_break(&s->base, 0, "framing lost: length prefix %lld (accepted: 1 to %d)",
                   (long long)bad_length, FRAME_MAX);
        return false;
    }
    s->rx_used -= at;
    if (at > 0)
        memmove(s->rx, s->rx + at, s->rx_used);
    return true;
}

static void
receive(struct stream *s, bool hung_up)
{
    for (int i = 0; i < READS_PER_TURN; i++) {
        size_t room = RX_BYTES - s->rx_used; // > 0: an unfinished frame never fills the buffer
        ssize_t n = read(s->base.io.fd, s->rx + s->rx_used, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            // Nothing to read and no longer a connection: said again for ever, were it ignored.
            if (hung_up)
                link_break(&s->base, 0, "peer is gone");
            return;
        }
        if (n < 0) {
            link_break(&s->base, errno, "read");
            return;
        }
        if (n == 0) {
            link_break(&s->base, 0, "peer closed the connection%s",
                       s->rx_used ? " within a frame" : "");
            return;
        }
        s->rx_used += (size_t)n;
        if (!deliver_buffer(s) || (size_t)n < room)
            return;
    }
}

// One sendmsg. Bytes taken, 0 when the socket is full or the link has just been broken.
static size_t
send_some(struct stream *s, struct iovec *iov, int iovcnt)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)iovcnt};
    ssize_t n;
    do
        n = sendmsg(s->base.io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (size_t)n;
    // ENOBUFS and ENOMEM pass, like a full socket; both are retried when it is writable.
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
        link_break(&s->base, errno, "write");
    return 0;
}

static void
keep_rest(struct stream *s, const struct iovec *iov, int iovcnt)
{
    s->backlog_start = s->backlog_end = 0;
    for (int i = 0; i < iovcnt; i++) {
        memcpy(s->backlog + s->backlog_end, iov[i].iov_base, iov[i].iov_len);
        s->backlog_end += iov[i].iov_len;
    }
    loop_modify(s->base.loop, &s->base.io, LOOP_READ | LOOP_WRITE);
}

static bool
has_backlog(const struct stream *s)
{
    return s->backlog_start < s->backlog_end;
}

static void
stream_flush(struct link *link)
{
    struct stream *s = (struct stream *)link;
    struct iovec *iov = s->tx_iov;
    int iovcnt = s->tx_iovcnt;
    while (iovcnt > 0) {
        size_t n = send_some(s, iov, iovcnt);
        if (n == 0)
            break;
        for (; iovcnt > 0 && n >= iov->iov_len; iov++, iovcnt--)
            n -= iov->iov_len;
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + n;
            iov->iov_len -= n;
        }
    }
    if (iovcnt > 0 && !link->broken)
        keep_rest(s, iov, iovcnt);
    s->tx_frames = s->tx_iovcnt = 0;
    s->tx_area_used = s->tx_bytes = 0;
}

static void
drain_backlog(struct stream *s)
{
    while (has_backlog(s)) {
        struct iovec iov = {s->backlog + s->backlog_start, s->backlog_end - s->backlog_start};
        size_t n = send_some(s, &iov, 1);
        if (n == 0)
            return;
        s->backlog_start += n;
    }
    loop_modify(s->base.loop, &s->base.io, LOOP_READ);
    if (s->refused) {
        s->refused = false;
        s->base.events->on_writable(s->base.ctx);
    }
}

static void
append(struct stream *s, void *base, size_t len)
{
    if (len == 0)
        return;
    s->tx_iov[s->tx_iovcnt++] = (struct iovec){base, len};
    s->tx_bytes += len;
}

static bool
queue_has_room(const struct stream *s, const struct frame *frame)
{
    return s->tx_frames < TX_FRAMES &&
           TX_AREA_BYTES - s->tx_area_used >= PREFIX_BYTES + frame->iov[0].iov_len &&
           BACKLOG_BYTES - s->tx_bytes >= PREFIX_BYTES + FRAME_MIN + frame->len;
}

static bool
stream_send(struct link *link, const struct frame *frame)
{
    struct stream *s = (struct stream *)link;
    if (!has_backlog(s) && !queue_has_room(s, frame))
        stream_flush(link);
    if (link->broken) {
        link->stats.dropped_out++;
        return true;
    }
    if (has_backlog(s)) {
        s->refused = true;
        return false;
    }
    size_t pad = frame->len < FRAME_MIN ? FRAME_MIN - frame->len : 0;
    uint8_t *head = s->tx_area + s->tx_area_used;
    size_t head_len = PREFIX_BYTES + frame->iov[0].iov_len;
    put_length(head, frame->len + pad);
    memcpy(head + PREFIX_BYTES, frame->iov[0].iov_base, frame->iov[0].iov_len);
    s->tx_area_used += head_len;
    append(s, head, head_len);
    for (int i = 1; i < frame->iovcnt; i++)
        append(s, frame->iov[i].iov_base, frame->iov[i].iov_len);
    append(s, (void *)padding, pad);
    s->tx_frames++;
    link->stats.frames_out++;
    link->stats.bytes_out += frame->len + pad;
    return true;
}

static void
on_event(void *ctx, unsigned events)
{
    struct stream *s = ctx;
    if (events & LOOP_WRITE)
        drain_backlog(s);
    if (s->base.closed || s->base.broken)
        return;
    if (events & (LOOP_READ | LOOP_HANGUP))
        receive(s, events & LOOP_HANGUP);
}

static const struct link_ops stream_ops = {
    .send = stream_send,
    .flush = stream_flush,
    .free = free,
};

struct link *
link_new_stream(struct loop *loop, int fd, const struct link_events *events, void *ctx)
{
    // Pages of the buffers that are never used are never there.
    struct stream *s = calloc(1, sizeof(*s));
    if (!s) {
        close(fd);
        return NULL;
    }
    s->base.ops = &stream_ops;
    s->base.caps = (struct link_caps){.mtu_max = 65520};
    // Both are wishes: a Unix socket has no TCP_NODELAY, the kernel bounds the buffer.
    int on = 1, sndbuf = BACKLOG_BYTES;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
    if (!link_init(&s->base, loop, fd, events, ctx, on_event))
        return NULL;
    return &s->base;
}
