// SPDX-License-Identifier: BSD-3-Clause
// Stream, message, tap and packet links when the kernel refuses a call: what passes is waited out,
// what does not ends the link, a frame that cannot be sent is dropped, and nothing leaks.
#include "failing.h"
#include "frames.h"
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct link *new_link(struct loop *loop, int fd, const struct link_events *events,
                              void *ctx);

struct pair {
    struct loop *loop;
    struct receiver *r;
    int peer;
};

static struct pair
pair_of(new_link *new, int fds[2])
{
    struct pair p = {.loop = loop_new(), .r = receiver_new(), .peer = fds[1]};
    assert_int_equal(fcntl(p.peer, F_SETFL, O_NONBLOCK), 0);
    p.r->link = new (p.loop, fds[0], &receiver_events, p.r);
    assert_non_null(p.r->link);
    return p;
}

static struct pair
pair_open(int type)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    return pair_of(type == SOCK_STREAM ? link_new_stream : link_new_message, fds);
}

// Two UDP sockets on the loopback, connected to each other.
static struct pair
pair_udp(void)
{
    int fds[2];
    struct sockaddr_in sin[2];
    for (int i = 0; i < 2; i++) {
        socklen_t len = sizeof(sin[i]);
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sin[i] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        assert_int_equal(bind(fds[i], (struct sockaddr *)&sin[i], len), 0);
        assert_int_equal(getsockname(fds[i], (struct sockaddr *)&sin[i], &len), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(connect(fds[i], (struct sockaddr *)&sin[!i], sizeof(sin[i])), 0);
    return pair_of(link_new_message, fds);
}

static void
pair_close(struct pair *p)
{
    link_free(p->r->link);
    loop_free(p->loop);
    if (p->peer >= 0)
        close(p->peer);
    free(p->r);
}

static struct test_frame frame;

static bool
send_frame(struct pair *p)
{
    bool sent = link_send(p->r->link, frame_fill(&frame, 100, 1));
    if (p->r->link)
        link_flush(p->r->link);
    return sent;
}

// Whether the peer has a frame of send_frame's; reads it.
static bool
peer_has_frame(struct pair *p, size_t prefix)
{
    uint8_t got[200];
    return recv(p->peer, got, prefix + 100, MSG_DONTWAIT) == (ssize_t)(prefix + 100);
}

static void
expect_down(struct pair *p, const char *why)
{
    turns(p->loop, 2);
    assert_int_equal(p->r->down, 1);
    assert_string_equal(p->r->why, why);
    pair_close(p);
}

// --- making --------------------------------------------------------------------------------------

// Each call that a new link makes fails: it is refused, and its descriptor closed.
static void
expect_refused(new_link *new, int domain, int type, const char *call, uint32_t nth, int errnum)
{
    int fds[2];
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    assert_int_equal(socketpair(domain, type | SOCK_CLOEXEC, 0, fds), 0);
    fail_some(call, nth, 0, errnum);
    assert_null(new (loop, fds[0], &receiver_events, r));
    failed(1);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    loop_free(loop);
    free(r);
    close(fds[1]);
}

TEST(link_that_cannot_be_made_is_refused)
{
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "calloc", 1, ENOMEM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "fcntl64", 1, EPERM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "fcntl64", 2, EPERM);
    expect_refused(link_new_stream, AF_UNIX, SOCK_STREAM, "epoll_ctl", 1, ENOSPC);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "calloc", 1, ENOMEM);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "getsockopt", 1, ENOMEM);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "getpeername", 1, ENOTCONN);
    expect_refused(link_new_message, AF_UNIX, SOCK_DGRAM, "epoll_ctl", 1, ENOSPC);
}

TEST(link_without_room_for_its_timer_is_refused)
{
    int fds[2], timers[64], count = 0;
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fail_some("realloc", 1, 1000, ENOMEM);
    while (count < 64 && (timers[count] = loop_timer_new(loop, (void (*)(void *))abort, r)) >= 0)
        count++;
    assert_true(count < 64);
    assert_null(link_new_stream(loop, fds[0], &receiver_events, r));
    fail_page()->armed = 0;
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    while (count > 0)
        loop_timer_free(loop, timers[--count]);
    loop_free(loop);
    free(r);
    close(fds[1]);
}

TEST(message_link_refuses_other_families)
{
    struct loop *loop = loop_new();
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_null(link_new_message(loop, fd, &receiver_events, NULL));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    loop_free(loop);
}

// --- receiving -----------------------------------------------------------------------------------

static void
expect_interrupted_read(int type, const char *call, uint32_t times)
{
    struct pair p = pair_open(type);
    static const uint8_t stream[64] = {0, 0, 0, 60};
    const uint8_t *bytes = type == SOCK_STREAM ? stream : stream + 4;
    size_t len = type == SOCK_STREAM ? 64 : 60;
    assert_int_equal(send(p.peer, bytes, len, 0), len);
    fail_some(call, 1, times - 1, EINTR);
    turns(p.loop, 2);
    failed(times);
    assert_int_equal(p.r->count, 1);
    pair_close(&p);
}

TEST(interrupted_read_is_repeated_now_or_in_the_next_turn)
{
    expect_interrupted_read(SOCK_STREAM, "read", 1);
    expect_interrupted_read(SOCK_STREAM, "read", 4);
    expect_interrupted_read(SOCK_DGRAM, "recvmmsg", 1);
    expect_interrupted_read(SOCK_DGRAM, "recvmmsg", 4);
}

// A read that fails with something behind it to be read.
static struct pair
failing_read(int type, const char *call, int errnum)
{
    struct pair p = pair_open(type);
    assert_int_equal(send(p.peer, "x", 1, 0), 1);
    fail_next(call, errnum);
    turns(p.loop, 1);
    failed(1);
    return p;
}

TEST(read_that_fails_for_good_ends_a_link)
{
    struct pair p = failing_read(SOCK_STREAM, "read", EIO);
    expect_down(&p, "read: Input/output error");
    p = failing_read(SOCK_DGRAM, "recvmmsg", ECONNRESET);
    expect_down(&p, "read: Connection reset by peer");
}

TEST(read_that_fails_for_now_does_not)
{
    const int errnums[] = {EAGAIN, ENOBUFS, ENOMEM};
    for (int i = 0; i < 3; i++) {
        struct pair p = failing_read(SOCK_DGRAM, "recvmmsg", errnums[i]);
        turns(p.loop, 2);
        assert_int_equal(p.r->count, 1);
        pair_close(&p);
    }
    struct pair p = failing_read(SOCK_STREAM, "read", EAGAIN);
    turns(p.loop, 2);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

// A socket that has hung up and has nothing to read, not even its end.
static void
expect_end_without_end(int type, const char *call)
{
    struct pair p = pair_open(type);
    close(p.peer);
    p.peer = -1;
    fail_next(call, EAGAIN);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "peer is gone");
}

TEST(hung_up_without_an_end_to_read_is_the_end)
{
    expect_end_without_end(SOCK_STREAM, "read");
    expect_end_without_end(SOCK_SEQPACKET, "recvmmsg");
}

TEST(udp_link_lives_on_whatever_a_read_says)
{
    struct pair p = pair_udp();
    assert_int_equal(send(p.peer, "x", 1, 0), 1);
    fail_next("recvmmsg", EIO);
    assert_int_equal(loop_turn(p.loop, 1000), 0);
    failed(1);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    // The same where it hangs up: a refusal that nobody has fetched.
    close(p.peer);
    p.peer = -1;
    send_frame(&p);
    fail_next("recvmmsg", EAGAIN);
    assert_int_equal(loop_turn(p.loop, 1000), 0);
    failed(1);
    turns(p.loop, 2);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

// --- sending -------------------------------------------------------------------------------------

TEST(interrupted_send_is_repeated)
{
    struct pair p = pair_open(SOCK_STREAM);
    fail_next("sendmsg", EINTR);
    assert_true(send_frame(&p));
    failed(1);
    assert_true(peer_has_frame(&p, 4));
    pair_close(&p);
    p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", EINTR);
    assert_true(send_frame(&p));
    failed(1);
    assert_true(peer_has_frame(&p, 0));
    pair_close(&p);
}

// A send that has no room for now: kept, and sent by the next turn, without a word to who did not
// ask.
static void
expect_kept(int type, const char *call, int errnum, const char *later, int later_errnum)
{
    struct pair p = pair_open(type);
    fail_next(call, errnum);
    assert_true(send_frame(&p));
    failed(1);
    assert_false(peer_has_frame(&p, type == SOCK_STREAM ? 4 : 0));
    fail_next(later, later_errnum);
    turns(p.loop, 1);
    failed(1);
    turns(p.loop, 2);
    assert_true(peer_has_frame(&p, type == SOCK_STREAM ? 4 : 0));
    assert_int_equal(p.r->writable, 0);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

TEST(send_without_room_keeps_the_frame)
{
    const int errnums[] = {EAGAIN, ENOBUFS, ENOMEM};
    for (int i = 0; i < 3; i++)
        expect_kept(SOCK_STREAM, "sendmsg", errnums[i], "sendmsg", EAGAIN);
    expect_kept(SOCK_DGRAM, "sendmmsg", EAGAIN, "send", EAGAIN);
    expect_kept(SOCK_DGRAM, "sendmmsg", EAGAIN, "send", EINTR);
}

TEST(frame_that_nobody_takes_is_dropped_and_the_link_lives)
{
    struct pair p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", ENOBUFS);
    send_frame(&p);
    failed(1);
    // Kept first, dropped then.
    fail_next("sendmmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("send", ENOBUFS);
    turns(p.loop, 1);
    failed(1);
    assert_int_equal(link_stats_of(p.r->link)->dropped_out, 2);
    send_frame(&p);
    assert_true(peer_has_frame(&p, 0));
    pair_close(&p);
}

TEST(peer_that_is_gone_ends_a_unix_link_not_one_of_udp)
{
    const int errnums[] = {ENOTCONN, ECONNRESET, EPIPE, ECONNREFUSED};
    for (int i = 0; i < 4; i++) {
        char why[64];
        snprintf(why, sizeof(why), "write: %s", strerror(errnums[i]));
        struct pair p = pair_open(SOCK_DGRAM);
        fail_next("sendmmsg", errnums[i]);
        send_frame(&p);
        failed(1);
        assert_true(send_frame(&p)); // dropped
        expect_down(&p, why);
        p = pair_udp();
        fail_next("sendmmsg", errnums[i]);
        send_frame(&p);
        failed(1);
        assert_int_equal(link_stats_of(p.r->link)->dropped_out, 1);
        turns(p.loop, 2);
        assert_int_equal(p.r->down, 0);
        pair_close(&p);
    }
}

TEST(peer_that_goes_while_frames_are_kept)
{
    struct pair p = pair_open(SOCK_DGRAM);
    fail_next("sendmmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("send", EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
    p = pair_open(SOCK_STREAM);
    fail_next("sendmsg", EAGAIN);
    send_frame(&p);
    failed(1);
    fail_next("sendmsg", EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

// --- a queue that is full ------------------------------------------------------------------------

// Frames of len bytes in one or two pieces, sent without a flush until the link has sent some of
// its own accord: the queue is bounded by count, by headers and by bytes.
static size_t
queued_at_most(int type, size_t len, size_t head)
{
    struct pair p = pair_open(type);
    static uint8_t bytes[FRAME_MAX];
    const struct iovec iov[2] = {{bytes, head}, {bytes + head, len - head}};
    const struct frame f = {.iov = iov, .iovcnt = 2, .len = len};
    uint8_t byte;
    size_t sent = 0;
    while (sent < 1000 && recv(p.peer, &byte, 1, MSG_DONTWAIT) < 0) {
        if (link_send(p.r->link, &f))
            sent++;
    }
    pair_close(&p);
    return sent;
}

TEST(queue_is_bounded_by_frames_headers_and_bytes)
{
    const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(queued_at_most(types[i], 100, 14), 257);
        assert_in_range(queued_at_most(types[i], 60000, 60000), 4, 6);
        assert_in_range(queued_at_most(types[i], 60000, 14), 17, 19);
    }
}

static void
expect_broken_by_queue(int type, const char *call)
{
    struct pair p = pair_open(type);
    fail_some(call, 1, 10, EPIPE);
    for (int i = 0; i < 300; i++)
        assert_true(link_send(p.r->link, frame_fill(&frame, 100, 1)));
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

TEST(link_that_breaks_while_its_queue_is_emptied_drops_the_rest)
{
    expect_broken_by_queue(SOCK_STREAM, "sendmsg");
    expect_broken_by_queue(SOCK_DGRAM, "sendmmsg");
}

// --- from within ---------------------------------------------------------------------------------

static void
free_link(void *ctx)
{
    struct receiver *r = ctx;
    r->writable++;
    link_free(r->link);
    r->link = NULL;
}

static void
expect_freed_when_writable(int type, const char *call)
{
    static const struct link_events events = {
        .on_frames = receiver_frames, .on_writable = free_link, .on_down = receiver_down};
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    struct pair p = {.loop = loop_new(), .r = receiver_new(), .peer = fds[1]};
    p.r->link = (type == SOCK_STREAM ? link_new_stream : link_new_message)(p.loop, fds[0], &events,
                                                                           p.r);
    fail_next(call, EAGAIN);
    send_frame(&p);
    failed(1);
    assert_false(send_frame(&p));
    turns(p.loop, 2);
    assert_int_equal(p.r->writable, 1);
    pair_close(&p);
}

TEST(link_may_be_freed_when_it_is_writable)
{
    expect_freed_when_writable(SOCK_STREAM, "sendmsg");
    expect_freed_when_writable(SOCK_DGRAM, "sendmmsg");
}

static void
expect_broken_by_echo(int type, const char *call)
{
    struct pair p = pair_open(type);
    static const uint8_t stream[64] = {0, 0, 0, 60};
    p.r->echo = true;
    assert_int_equal(send(p.peer, type == SOCK_STREAM ? stream : stream + 4,
                          type == SOCK_STREAM ? 64 : 60, 0),
                     type == SOCK_STREAM ? 64 : 60);
    fail_next(call, EPIPE);
    turns(p.loop, 1);
    failed(1);
    expect_down(&p, "write: Broken pipe");
}

TEST(link_may_break_while_frames_are_handed_up)
{
    expect_broken_by_echo(SOCK_STREAM, "sendmsg");
    expect_broken_by_echo(SOCK_DGRAM, "sendmmsg");
}

// --- tap and packet ------------------------------------------------------------------------------

struct interface {
    struct ns ns;
    struct pair p;
};

static struct interface
interface_open(enum link_kind kind)
{
    struct interface n = {.ns = ns_open(), .p = {.loop = loop_new(), .r = receiver_new(), .peer = -1}};
    uint16_t mtu = 1500;
    struct error err = {{0}};
    struct link_spec spec = spec_in(&n.ns, kind, kind == LINK_TAP ? "tap0" : "vmc0");
    if (kind == LINK_PACKET)
        ns_do(&n.ns, set_up_veth, &mtu, NULL);
    int fd = kind == LINK_TAP ? link_open_tap(&spec, &err) : link_open_packet(&spec, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    n.p.r->link = (kind == LINK_TAP ? link_new_tap : link_new_packet)(n.p.loop, fd,
                                                                     &receiver_events, n.p.r);
    assert_non_null(n.p.r->link);
    turns(n.p.loop, 2);
    return n;
}

static void
interface_close(struct interface *n)
{
    pair_close(&n->p);
    ns_close(&n->ns);
}

static const enum link_kind interface_kinds[] = {LINK_TAP, LINK_PACKET};

TEST(interface_without_room_gives_a_refusal_and_says_when_there_is_some)
{
    for (int i = 0; i < 2; i++) {
        struct interface n = interface_open(interface_kinds[i]);
        fail_next("writev", EINTR);
        assert_true(send_frame(&n.p));
        failed(1);
        fail_next("writev", EAGAIN);
        assert_false(send_frame(&n.p));
        assert_false(send_frame(&n.p)); // not even tried
        failed(1);
        assert_int_equal(loop_turn(n.p.loop, 1000), 0);
        assert_int_equal(n.p.r->writable, 1);
        assert_true(send_frame(&n.p));
        assert_int_equal(link_stats_of(n.p.r->link)->frames_out, 2);
        interface_close(&n);
    }
}

TEST(interface_link_may_be_freed_when_it_is_writable)
{
    static const struct link_events events = {
        .on_frames = receiver_frames, .on_writable = free_link, .on_down = receiver_down};
    struct interface n = interface_open(LINK_PACKET);
    struct link_spec spec = spec_in(&n.ns, LINK_PACKET, "vmc0");
    struct error err;
    link_free(n.p.r->link);
    n.p.r->link = link_new_packet(n.p.loop, link_open_packet(&spec, &err), &events, n.p.r);
    fail_next("writev", EAGAIN);
    assert_false(send_frame(&n.p));
    failed(1);
    assert_int_equal(loop_turn(n.p.loop, 1000), 0);
    assert_int_equal(n.p.r->writable, 1);
    assert_null(n.p.r->link);
    interface_close(&n);
}

TEST(write_that_fails_for_another_reason_drops_the_frame)
{
    const int errnums[] = {ENOBUFS, EIO, ENETDOWN};
    for (int i = 0; i < 2; i++) {
        struct interface n = interface_open(interface_kinds[i]);
        for (unsigned e = 0; e < 3; e++) {
            fail_next("writev", errnums[e]);
            assert_true(send_frame(&n.p));
            failed(1);
            assert_int_equal(link_stats_of(n.p.r->link)->dropped_out, e + 1);
        }
        turns(n.p.loop, 2);
        assert_int_equal(n.p.r->down, 0);
        interface_close(&n);
    }
}

TEST(write_to_an_interface_that_is_gone_ends_the_link)
{
    const int errnums[] = {ENODEV, ENXIO};
    for (int e = 0; e < 2; e++) {
        struct interface n = interface_open(LINK_TAP);
        fail_next("writev", errnums[e]);
        assert_true(send_frame(&n.p));
        failed(1);
        turns(n.p.loop, 1);
        assert_int_equal(n.p.r->down, 1);
        interface_close(&n);
        // A packet socket asks: it is still there.
        n = interface_open(LINK_PACKET);
        fail_next("writev", errnums[e]);
        assert_true(send_frame(&n.p));
        failed(1);
        turns(n.p.loop, 1);
        assert_int_equal(n.p.r->down, 0);
        interface_close(&n);
    }
}

// The guest's side of the pair.
static int
guest_socket(struct interface *n)
{
    struct link_spec spec = spec_in(&n->ns, LINK_PACKET, "eth0");
    struct error err;
    int fd = link_open_packet(&spec, &err);
    assert_true(fd >= 0);
    return fd;
}

// A broadcast, behind a virtio_net_hdr of zeros.
static void
make_readable(int guest)
{
    static const uint8_t bytes[70] = {[10] = 255, [11] = 255, [12] = 255, [13] = 255, [14] = 255,
                                      [15] = 255, [16] = 2,   [22] = 0x88, [23] = 0xb5};
    assert_int_equal(write(guest, bytes, sizeof(bytes)), sizeof(bytes));
}

TEST(packet_read_that_fails_for_now_does_not_end_the_link)
{
    const int errnums[] = {EINTR, ENOBUFS, ENOMEM, EINVAL, ENETDOWN};
    for (int e = 0; e < 5; e++) {
        struct interface n = interface_open(LINK_PACKET);
        const struct link_stats *stats = link_stats_of(n.p.r->link);
        int guest = guest_socket(&n);
        fail_next("recvmsg", errnums[e]);
        for (int i = 0; i < 300 && stats->frames_in == 0; i++) {
            make_readable(guest);
            loop_turn(n.p.loop, 10);
        }
        failed(1);
        close(guest);
        assert_true(stats->frames_in > 0);
        assert_int_equal(n.p.r->down, 0);
        interface_close(&n);
    }
}

TEST(packet_read_that_fails_for_good_ends_the_link)
{
    struct interface n = interface_open(LINK_PACKET);
    int guest = guest_socket(&n);
    fail_next("recvmsg", EIO);
    for (int i = 0; i < 300 && !n.p.r->down; i++) {
        make_readable(guest);
        loop_turn(n.p.loop, 10);
    }
    failed(1);
    close(guest);
    assert_int_equal(n.p.r->down, 1);
    assert_string_equal(n.p.r->why, "interface is gone: Input/output error");
    interface_close(&n);
}

// Both kinds: each call that a new link makes of such a descriptor.
static void
expect_interface_refused(enum link_kind kind, const char *call, uint32_t nth, int errnum)
{
    struct interface n = interface_open(kind);
    struct link_spec spec = spec_in(&n.ns, kind, kind == LINK_TAP ? "tap1" : "vmc0");
    struct error err;
    int fd = kind == LINK_TAP ? link_open_tap(&spec, &err) : link_open_packet(&spec, &err);
    assert_true(fd >= 0);
    fail_some(call, nth, 0, errnum);
    assert_null((kind == LINK_TAP ? link_new_tap : link_new_packet)(n.p.loop, fd, &receiver_events,
                                                                   n.p.r));
    failed(1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    interface_close(&n);
}

TEST(interface_link_that_cannot_be_made_is_refused)
{
    expect_interface_refused(LINK_TAP, "calloc", 1, ENOMEM);
    expect_interface_refused(LINK_TAP, "ioctl", 1, EIO);
    expect_interface_refused(LINK_TAP, "epoll_ctl", 1, ENOSPC);
    expect_interface_refused(LINK_PACKET, "calloc", 1, ENOMEM);
    for (uint32_t nth = 1; nth <= 3; nth++)
        expect_interface_refused(LINK_PACKET, "setsockopt", nth, ENOMEM);
    expect_interface_refused(LINK_PACKET, "epoll_ctl", 1, ENOSPC);
}

// What is only a wish, or asked for once more: the link is there all the same.
TEST(interface_link_does_without_wishes)
{
    const struct {
        const char *call;
        uint32_t nth, mtu;
    } rows[] = {{"getsockopt", 1, 1500}, {"getsockname", 1, 1500}, {"ioctl", 1, 1500},
                {"ioctl", 2, 1500}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct interface n = interface_open(LINK_PACKET);
        struct link_spec spec = spec_in(&n.ns, LINK_PACKET, "vmc0");
        struct error err;
        link_free(n.p.r->link);
        int fd = link_open_packet(&spec, &err);
        fail_some(rows[i].call, rows[i].nth, 0, ENOMEM);
        n.p.r->link = link_new_packet(n.p.loop, fd, &receiver_events, n.p.r);
        failed(1);
        assert_non_null(n.p.r->link);
        assert_int_equal(link_caps_of(n.p.r->link)->mtu_max, rows[i].mtu);
        interface_close(&n);
    }
}

// --- an interface that is down -------------------------------------------------------------------

#define CHECK_US 1100000 // a little more than a packet link waits between two looks

// Ends the link in the turn in which it would look at its interface.
struct disturber {
    struct loop_io io;
    struct interface *n;
};

static void
disturb(void *ctx, unsigned events)
{
    struct disturber *d = ctx;
    loop_remove(d->n->p.loop, &d->io);
    link_free(d->n->p.r->link);
    d->n->p.r->link = NULL;
}

static int
set_vmc0_down(void *arg, int *fds, size_t *count, struct error *err)
{
    struct ifreq ifr = {.ifr_name = "vmc0"};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? error_set(err, errno, "down") : 0;
}

TEST(interface_that_is_down_is_looked_at_until_the_link_ends)
{
    struct interface n = interface_open(LINK_PACKET);
    ns_do(&n.ns, set_vmc0_down, NULL, NULL);
    turns(n.p.loop, 3); // ENETDOWN: the timer runs
    struct disturber d = {.n = &n};
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    d.io = (struct loop_io){.fd = fd, .on_event = disturb, .ctx = &d};
    usleep(CHECK_US);
    assert_int_equal(loop_add(n.p.loop, &d.io, LOOP_READ), 0);
    turns(n.p.loop, 2);
    assert_null(n.p.r->link);
    assert_int_equal(n.p.r->down, 0);
    close(fd);
    interface_close(&n);
}

TEST(interface_that_cannot_be_looked_at_is_gone)
{
    struct interface n = interface_open(LINK_PACKET);
    // ENETDOWN makes it look: the name is told, the flags are not.
    ns_do(&n.ns, set_vmc0_down, NULL, NULL);
    fail_some("ioctl", 2, 0, ENODEV);
    for (int i = 0; i < 10 && !n.p.r->down; i++)
        loop_turn(n.p.loop, 10);
    failed(1);
    assert_int_equal(n.p.r->down, 1);
    interface_close(&n);
}
