// SPDX-License-Identifier: BSD-3-Clause
// The message link: one frame, one message, on a connected datagram or SOCK_SEQPACKET socket (Unix
// or UDP), as QEMU's -netdev dgram, vfkit, libkrun and User Mode Linux speak it. Binding, and
// finding out who the peer is, is link/datagram.h's.
//
// In: a batch of messages by one recvmmsg, each into a slot that holds the longest frame; pages
// that no long frame ever reached are never there. Out: headers are copied to an area, payload is
// referenced, and the flush is one sendmmsg. What the socket has no room for is copied to the
// backlog; what it refuses for another reason is dropped, as a NIC would.
#include "link/link_impl.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RX_BATCH       32
#define RX_SLOT_BYTES  (FRAME_MAX + 2) // one more byte would do; kept even
#define READS_PER_TURN 4               // then the others get their turn

#define TX_FRAMES        256
#define TX_IOV_PER_FRAME (FRAME_IOV_MAX + 1) // header, payload, padding
#define TX_AREA_BYTES    (256 * 1024)        // headers
#define BACKLOG_BYTES    (1024 * 1024)       // bounds the queue, too
#define BACKLOG_HEAD     4                   // length of the frame behind it

// The largest UDP datagram less an Ethernet header.
#define UDP_MTU_MAX (65507 - 14)

static_assert(TX_AREA_BYTES >= FRAME_MAX, "any frame fits an empty queue");
static_assert(BACKLOG_BYTES >= BACKLOG_HEAD + FRAME_MAX, "any frame fits an empty queue");

struct message_link {
    struct link base;
    bool is_unix;
    bool has_end;                 // SOCK_SEQPACKET: an empty message is the end of file
    struct sockaddr_storage peer; // whom the socket is connected to
    socklen_t peer_len;

    // Receiving.
    struct mmsghdr rx_msgs[RX_BATCH];
    struct iovec rx_iov[RX_BATCH];
    struct sockaddr_storage rx_from[RX_BATCH];
    struct iovec frame_iov[RX_BATCH];
    struct frame frames[RX_BATCH];

    // The queue: what link_send collected for the next link_flush.
    unsigned tx_frames;
    size_t tx_area_used;
    size_t tx_bytes; // what the backlog would need for it
    struct mmsghdr tx_msgs[TX_FRAMES];
    struct iovec tx_iov[TX_FRAMES][TX_IOV_PER_FRAME];

    // What the socket had no room for.
    size_t backlog_start, backlog_end;
    bool refused; // link_send gave false: on_writable is owed

    uint8_t tx_area[TX_AREA_BYTES];
    uint8_t backlog[BACKLOG_BYTES];
    uint8_t rx[RX_BATCH][RX_SLOT_BYTES];
};

static const uint8_t padding[FRAME_MIN];

// --- receiving -----------------------------------------------------------------------------------

static bool
is_same_inet(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
    if (a->ss_family == AF_INET) // one socket, one family
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a6->sin6_port == b6->sin6_port &&
           memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
}

// The kernel keeps others out once the socket is connected; this finds what came before.
static bool
is_from_peer(const struct message_link *m, const struct msghdr *msg)
{
    if (m->has_end)
        return true; // a connection
    if (!m->is_unix)
        return is_same_inet(msg->msg_name, &m->peer);
    // One end of a socket pair, or a peer that bound no name, tells none.
    const socklen_t unnamed = sizeof(sa_family_t);
    if (msg->msg_namelen <= unnamed)
        return m->peer_len <= unnamed;
    return msg->msg_namelen == m->peer_len && memcmp(msg->msg_name, &m->peer, m->peer_len) == 0;
}

// What vfkit and krunkit send first, so that the other side learns their address. They expect no
// answer.
static bool
is_hello(const uint8_t *bytes, size_t len)
{
    return len == 4 && memcmp(bytes, "VFKT", 4) == 0;
}

static bool
still_has_peer(const struct message_link *m)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    return getpeername(m->base.io.fd, (struct sockaddr *)&peer, &len) == 0;
}

// Turns received messages into frames. *ended: what stands behind them is the end of file.
// *strange: there was one of another sender.
static size_t
collect_frames(struct message_link *m, int received, bool *ended, bool *strange)
{
    size_t count = 0;
    for (int i = 0; i < received; i++) {
        const struct msghdr *msg = &m->rx_msgs[i].msg_hdr;
        size_t len = m->rx_msgs[i].msg_len;
        if (len == 0 && m->has_end) {
            *ended = true;
            break;
        }
        if (!is_from_peer(m, msg)) {
            *strange = true;
            m->base.stats.dropped_in++;
        } else if (len == 0 || len > FRAME_MAX) { // cut short it is longer, too
            m->base.stats.dropped_in++;
        } else if (!is_hello(m->rx[i], len)) {
            m->frame_iov[count] = (struct iovec){m->rx[i], len};
            m->frames[count] = (struct frame){
                .iov = &m->frame_iov[count], .iovcnt = 1, .len = len, .csum = m->base.csum_in};
            count++;
        }
    }
    return count;
}

static void
receive_failed(struct message_link *m, int errnum, bool hung_up)
{
    int pending;
    socklen_t len = sizeof(pending);
    if (m->is_unix && errnum != EAGAIN && errnum != ENOBUFS && errnum != ENOMEM)
        link_break(&m->base, errnum, "read");
    else if (m->is_unix && hung_up)
        // Nothing to read and no longer a connection: said again for ever, were it ignored.
        link_break(&m->base, 0, "peer is gone");
    else if (hung_up)
        // UDP: a peer that was not there when something was sent to it. It may come.
        getsockopt(m->base.io.fd, SOL_SOCKET, SO_ERROR, &pending, &len);
}

static void
receive(struct message_link *m, bool hung_up)
{
    for (int turn = 0; turn < READS_PER_TURN; turn++) {
        for (int i = 0; i < RX_BATCH; i++)
            m->rx_msgs[i].msg_hdr.msg_namelen = sizeof(m->rx_from[i]);
        int n = recvmmsg(m->base.io.fd, m->rx_msgs, RX_BATCH, MSG_DONTWAIT, NULL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            receive_failed(m, errno, hung_up);
            return;
        }
        bool ended = false, strange = false;
        size_t count = collect_frames(m, n, &ended, &strange);
        if (!link_deliver(&m->base, m->frames, count))
            return;
        if (ended) {
            link_break(&m->base, 0, "peer closed the connection");
            return;
        }
        // Who opened the socket has parted it from its peer (link/datagram.h).
        if (strange && m->is_unix && !still_has_peer(m)) {
            link_break(&m->base, 0, "peer is gone");
            return;
        }
        if (n < RX_BATCH)
            return;
    }
}

// --- sending -------------------------------------------------------------------------------------

enum verdict {
    SENT_NOTHING_AGAIN, // interrupted
    SENT_NOTHING_FULL,  // no room: later
    SENT_NOTHING_DROP,  // this message cannot be sent, the next one may
    SENT_NOTHING_BROKEN,
};

static enum verdict
verdict_of(const struct message_link *m, int errnum)
{
    switch (errnum) {
    case EINTR:
        return SENT_NOTHING_AGAIN;
    case EAGAIN:
        return SENT_NOTHING_FULL;
    case ECONNREFUSED:
    case ENOTCONN:
    case ECONNRESET:
    case EPIPE:
        // A Unix peer that is gone does not come back to this connection. One of UDP may.
        return m->is_unix ? SENT_NOTHING_BROKEN : SENT_NOTHING_DROP;
    default: // ENOBUFS, EMSGSIZE, EPERM, ENETUNREACH and whatever else a frame may meet
        return SENT_NOTHING_DROP;
    }
}

static void
count_sent(struct message_link *m, size_t bytes)
{
    m->base.stats.frames_out++;
    m->base.stats.bytes_out += bytes;
}

static void
keep_frame(struct message_link *m, const struct msghdr *msg)
{
    uint8_t *head = m->backlog + m->backlog_end;
    uint32_t len = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        memcpy(head + BACKLOG_HEAD + len, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
        len += (uint32_t)msg->msg_iov[i].iov_len;
    }
    memcpy(head, &len, BACKLOG_HEAD);
    m->backlog_end += BACKLOG_HEAD + len;
}

static void
keep_rest(struct message_link *m, unsigned from)
{
    m->backlog_start = m->backlog_end = 0;
    for (unsigned i = from; i < m->tx_frames; i++)
        keep_frame(m, &m->tx_msgs[i].msg_hdr);
    loop_modify(m->base.loop, &m->base.io, LOOP_READ | LOOP_WRITE);
}

static bool
has_backlog(const struct message_link *m)
{
    return m->backlog_start < m->backlog_end;
}

// Sends queued messages from *at on. False when the socket is full or the link broken.
static bool
send_some(struct message_link *m, unsigned *at)
{
    int n =
        sendmmsg(m->base.io.fd, m->tx_msgs + *at, m->tx_frames - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        for (int i = 0; i < n; i++)
            count_sent(m, m->tx_msgs[*at + (unsigned)i].msg_len);
        *at += (unsigned)n;
        return true;
    }
    int errnum = errno;
    switch (verdict_of(m, errnum)) {
    case SENT_NOTHING_AGAIN:
        return true;
    case SENT_NOTHING_FULL:
        keep_rest(m, *at);
        return false;
    case SENT_NOTHING_DROP:
        m->base.stats.dropped_out++;
        (*at)++;
        return true;
    case SENT_NOTHING_BROKEN:
        m->base.stats.dropped_out += m->tx_frames - *at;
        link_break(&m->base, errnum, "write");
        return false;
    }
    return false;
}

static void
message_flush(struct link *link)
{
    struct message_link *m = (struct message_link *)link;
    unsigned at = 0;
    while (at < m->tx_frames && send_some(m, &at))
        ;
    m->tx_frames = 0;
    m->tx_area_used = m->tx_bytes = 0;
}

// One message of the backlog. False when the socket is full or the link broken.
static bool
send_kept(struct message_link *m)
{
    const uint8_t *head = m->backlog + m->backlog_start;
    uint32_t len;
    memcpy(&len, head, BACKLOG_HEAD);
    ssize_t n = send(m->base.io.fd, head + BACKLOG_HEAD, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    int errnum = errno;
    if (n >= 0) {
        count_sent(m, len);
        m->backlog_start += BACKLOG_HEAD + len;
        return true;
    }
    switch (verdict_of(m, errnum)) {
    case SENT_NOTHING_AGAIN:
        return true;
    case SENT_NOTHING_FULL:
        return false;
    case SENT_NOTHING_DROP:
        m->base.stats.dropped_out++;
        m->backlog_start += BACKLOG_HEAD + len;
        return true;
    case SENT_NOTHING_BROKEN:
        link_break(&m->base, errnum, "write");
        return false;
    }
    return false;
}

static void
drain_backlog(struct message_link *m)
{
    while (has_backlog(m)) {
        if (!send_kept(m))
            return;
    }
    loop_modify(m->base.loop, &m->base.io, LOOP_READ);
    if (m->refused) {
        m->refused = false;
        m->base.events->on_writable(m->base.ctx);
    }
}

static bool
queue_has_room(const struct message_link *m, const struct frame *frame)
{
    return m->tx_frames < TX_FRAMES && TX_AREA_BYTES - m->tx_area_used >= frame->iov[0].iov_len &&
           BACKLOG_BYTES - m->tx_bytes >= BACKLOG_HEAD + FRAME_MIN + frame->len;
}

static void
append(struct msghdr *msg, void *base, size_t len)
{
    if (len > 0)
        msg->msg_iov[msg->msg_iovlen++] = (struct iovec){base, len};
}

static bool
message_send(struct link *link, const struct frame *frame)
{
    struct message_link *m = (struct message_link *)link;
    if (!has_backlog(m) && !queue_has_room(m, frame))
        message_flush(link);
    if (link->broken) {
        link->stats.dropped_out++;
        return true;
    }
    if (has_backlog(m)) {
        m->refused = true;
        return false;
    }
    size_t pad = frame->len < FRAME_MIN ? FRAME_MIN - frame->len : 0;
    uint8_t *head = m->tx_area + m->tx_area_used;
    struct msghdr *msg = &m->tx_msgs[m->tx_frames].msg_hdr;
    *msg = (struct msghdr){.msg_iov = m->tx_iov[m->tx_frames]};
    memcpy(head, frame->iov[0].iov_base, frame->iov[0].iov_len);
    m->tx_area_used += frame->iov[0].iov_len;
    append(msg, head, frame->iov[0].iov_len);
    for (int i = 1; i < frame->iovcnt; i++)
        append(msg, frame->iov[i].iov_base, frame->iov[i].iov_len);
    append(msg, (void *)padding, pad);
    m->tx_bytes += BACKLOG_HEAD + frame->len + pad;
    m->tx_frames++;
    return true;
}

// --- the link ------------------------------------------------------------------------------------

static void
on_event(void *ctx, unsigned events)
{
    struct message_link *m = ctx;
    if (events & LOOP_WRITE)
        drain_backlog(m);
    if (m->base.closed || m->base.broken)
        return;
    if (events & (LOOP_READ | LOOP_HANGUP))
        receive(m, events & LOOP_HANGUP);
}

static const struct link_ops message_ops = {
    .send = message_send,
    .flush = message_flush,
    .free = free,
};

// What kind of socket fd is, and whom it is connected to. False when it will not do.
static bool
look_at_socket(struct message_link *m, int fd)
{
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        (type != SOCK_DGRAM && type != SOCK_SEQPACKET))
        return false;
    m->has_end = type == SOCK_SEQPACKET;
    m->peer_len = sizeof(m->peer);
    if (getpeername(fd, (struct sockaddr *)&m->peer, &m->peer_len) < 0)
        return false;
    m->is_unix = m->peer.ss_family == AF_UNIX;
    return m->is_unix || m->peer.ss_family == AF_INET || m->peer.ss_family == AF_INET6;
}

struct link *
link_new_message(struct loop *loop, int fd, const struct link_events *events, void *ctx)
{
    struct message_link *m = calloc(1, sizeof(*m));
    if (!m || !look_at_socket(m, fd)) {
        free(m);
        close(fd);
        return NULL;
    }
    for (int i = 0; i < RX_BATCH; i++) {
        m->rx_iov[i] = (struct iovec){m->rx[i], RX_SLOT_BYTES};
        m->rx_msgs[i].msg_hdr =
            (struct msghdr){.msg_iov = &m->rx_iov[i], .msg_iovlen = 1, .msg_name = &m->rx_from[i]};
    }
    m->base.ops = &message_ops;
    m->base.caps = (struct link_caps){.mtu_max = m->is_unix ? 65520 : UDP_MTU_MAX};
    // Wishes: the kernel bounds them.
    int bytes = BACKLOG_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (!link_init(&m->base, loop, fd, events, ctx, on_event))
        return NULL;
    return &m->base;
}
