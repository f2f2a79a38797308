// SPDX-License-Identifier: BSD-3-Clause
// Any frames, with any virtio_net_hdr and cut into any pieces, into the whole worker: hub, stack
// and host ends that echo. What comes out must be right; afterwards a fresh guest connects and
// hears its own words.
//
// Input: what the link offers, then records: flags, how the frame is cut, its length, then the
// header if there is one, and the frame's bytes.
#include "fuzz.h"
#include "packet.h"

#include "channel/hub.h"
#include "link/link_impl.h"
#include "link/vnet_hdr.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HAS_HEADER = 1,
    MENDED = 2,     // checksums are made right
    ADDRESSED = 4,  // an Ethernet header of ours stands in front
    FROM_GUEST = 8, // and an IPv4 packet's addresses are the guest's and ours
    TURN_ENDS = 16,
    LINK_FULL = 32, // takes nothing until the turn ends
    LONG = 64,      // zeros fill up what the input has not
};

#define PORT      600
#define RECORDS   48
#define ENDS      256 // more than there can be records and conversations
#define BATCH     4
#define FRAME_LEN (FRAME_MAX + 14)
#define CONNS     (RECORDS + 4)

struct world {
    struct loop *loop;
    struct hub *hub;
    struct link *link;
    bool link_full, was_refused;
    int ends[ENDS]; // the host programs'
    size_t end_count;
    struct frame batch[BATCH];
    struct iovec iov[BATCH][2];
    size_t batch_count;
    // the last conversation
    uint32_t seq, ack;
    uint16_t port;
    bool has_syn, is_reset;
    size_t heard;
};

static struct world w;
static uint8_t frame_bytes[BATCH][FRAME_LEN]; // of w.batch

static bool
fake_send(struct link *link, const struct frame *frame)
{
    struct tcp_header h;
    const uint8_t *payload;
    size_t len;
    if (w.link_full) {
        w.was_refused = true;
        return false;
    }
    assert(frame->csum == FRAME_CSUM_NONE || link->caps.csum_offload);
    assert(frame->gso != FRAME_GSO_TCP4 || link->caps.tso);
    assert(frame->gso != FRAME_GSO_TCP6 || link->caps.tso6);
    if (!fuzz_check_sent(frame, &h, &payload, &len) || h.dst_port != w.port)
        return true;
    if (h.flags & TCP_RST)
        w.is_reset = true;
    if (h.flags & TCP_SYN) {
        w.has_syn = true;
        w.ack = h.seq + 1;
    } else if (h.seq == w.ack) {
        w.ack += (uint32_t)len;
        w.heard += len;
    }
    return true;
}

static void
fake_flush(struct link *link)
{
}

static const struct link_ops fake_ops = {.send = fake_send, .flush = fake_flush, .free = free};

static void
on_event(void *ctx, unsigned events)
{
}

static void
wants_end(void *ctx, uint64_t session, uint16_t channel, const struct stack_peer *peer)
{
    int sv[2];
    assert(w.end_count < ENDS);
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
    w.ends[w.end_count++] = sv[1];
    hub_opened(w.hub, session, sv, 1);
}

static void
wants_no_end(void *ctx, uint64_t session)
{
}

static void
world_init(uint8_t caps)
{
    const struct hub_config config = {.guest = "fuzz",
                                      .stack = {.mac = fuzz_our_mac,
                                                .addr = FUZZ_US,
                                                .guest_addr = FUZZ_GUEST,
                                                .netmask = 0xffffff00,
                                                .addr6 = fuzz_our_addr6,
                                                .mtu = 1500,
                                                .max_conns = CONNS,
                                                .max_half_open = CONNS / 2,
                                                .ring_bytes = 16384,
                                                .secret = {3, 4}},
                                      .opener = {.open = wants_end, .cancel = wants_no_end}};
    memset(&w, 0, sizeof(w));
    w.loop = loop_new();
    w.hub = hub_new(w.loop, &config);
    w.link = calloc(1, sizeof(*w.link));
    assert(w.loop && w.hub && w.link);
    w.link->ops = &fake_ops;
    w.link->caps = (struct link_caps){.mtu_max = 65520,
                                      .csum_offload = caps & 1,
                                      .tso = (caps & 3) == 3,
                                      .tso6 = (caps & 5) == 5};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(link_init(w.link, w.loop, fd, hub_link_events(), w.hub, on_event));
    hub_attach_link(w.hub, w.link);
    int channel = hub_add_channel(w.hub, &(struct hub_channel){.port = PORT});
    assert(channel == 0);
}

static void
world_fini(void)
{
    hub_free(w.hub);
    for (size_t i = 0; i < w.end_count; i++)
        close(w.ends[i]);
    loop_free(w.loop);
}

// The host programs say what they hear, and finish when the guest does.
static void
echo(void)
{
    static char bytes[4096];
    struct pollfd ready[ENDS];
    for (size_t i = 0; i < w.end_count; i++)
        ready[i] = (struct pollfd){.fd = w.ends[i], .events = POLLIN};
    if (w.end_count == 0 || poll(ready, w.end_count, 0) == 0)
        return;
    for (size_t i = 0; i < w.end_count; i++) {
        if (!ready[i].revents)
            continue;
        ssize_t n = recv(w.ends[i], bytes, sizeof(bytes), MSG_DONTWAIT);
        if (n > 0)
            send(w.ends[i], bytes, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (n == 0)
            shutdown(w.ends[i], SHUT_WR);
    }
}

static void
end_turn(void)
{
    if (w.batch_count > 0)
        link_deliver(w.link, w.batch, w.batch_count);
    w.batch_count = 0;
    int rc = loop_turn(w.loop, 0);
    assert(rc == 0);
    echo();
    w.link_full = false;
    if (w.was_refused) {
        w.was_refused = false;
        w.link->events->on_writable(w.link->ctx);
    }
}

static void
add_frame(const uint8_t *bytes, size_t len, size_t cut, const uint8_t *header)
{
    struct frame *f = &w.batch[w.batch_count];
    struct iovec *iov = w.iov[w.batch_count];
    memcpy(frame_bytes[w.batch_count], bytes, len);
    cut = cut < len ? cut : len;
    iov[0] = (struct iovec){frame_bytes[w.batch_count], cut};
    iov[1] = (struct iovec){frame_bytes[w.batch_count] + cut, len - cut};
    *f = (struct frame){.iov = iov, .iovcnt = 2, .len = len};
    if (header && !vnet_hdr_parse(header, f))
        return; // a link drops it
    if (++w.batch_count == BATCH)
        end_turn();
}

static void
record(struct cursor *c)
{
    static uint8_t bytes[FRAME_LEN];
    uint8_t header[VNET_HDR_BYTES];
    uint8_t flags = cursor_u8(c), cut = cursor_u8(c);
    size_t len = cursor_u16(c);
    if (flags & HAS_HEADER)
        cursor_bytes(c, header, sizeof(header));
    size_t given = len < c->left ? len : c->left;
    len = flags & LONG ? len : given;
    size_t front = 0;
    if (flags & ADDRESSED) {
        struct writer out = writer_of(bytes, 14);
        ether_emit(&out, &(struct ether_header){fuzz_our_mac, fuzz_guest_mac, ETHER_IPV4});
        front = 14;
    }
    cursor_bytes(c, bytes + front, given);
    memset(bytes + front + given, 0, len - given);
    len += front;
    if (flags & FROM_GUEST && len >= 34) {
        struct writer out = writer_of(bytes + 26, 8);
        writer_u32(&out, FUZZ_GUEST);
        writer_u32(&out, FUZZ_US);
    }
    if (flags & MENDED)
        fuzz_mend(bytes, len);
    if (flags & LINK_FULL)
        w.link_full = true;
    add_frame(bytes, len, cut, flags & HAS_HEADER ? header : NULL);
    if (flags & TURN_ENDS)
        end_turn();
}

static void
say(uint8_t flags, const char *text, size_t len)
{
    uint8_t bytes[FUZZ_FRAME];
    struct tcp_header h = {.src_port = w.port,
                           .dst_port = PORT,
                           .seq = w.seq,
                           .ack = w.ack,
                           .flags = flags,
                           .window = 65535,
                           .wscale = -1};
    size_t n = fuzz_segment(h, NULL, 0, text, len, bytes);
    w.seq += (uint32_t)len + (flags & TCP_SYN ? 1 : 0);
    add_frame(bytes, n, n, NULL);
    end_turn();
}

static void
converse(void)
{
    uint8_t bytes[FUZZ_FRAME];
    end_turn();
    end_turn();
    // From a port that the records left alone: a connection of theirs would have a RST coming.
    for (w.port = 61000; w.port < 61000 + RECORDS + 1; w.port++) {
        w.seq = 77;
        w.has_syn = w.is_reset = false;
        w.heard = 0;
        add_frame(bytes, fuzz_arp(bytes), 20, NULL);
        say(TCP_SYN, NULL, 0);
        say(TCP_ACK, NULL, 0);
        if (w.has_syn && !w.is_reset)
            break;
    }
    assert(w.has_syn && !w.is_reset);
    say(TCP_ACK | TCP_PSH, "knock knock", 11);
    for (int i = 0; i < 20 && w.heard < 11; i++)
        end_turn();
    assert(w.heard == 11);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(data, size);
    world_init(cursor_u8(&c));
    for (int i = 0; i < RECORDS && c.left > 0; i++)
        record(&c);
    converse();
    world_fini();
    return 0;
}
