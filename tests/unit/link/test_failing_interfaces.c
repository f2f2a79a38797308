// SPDX-License-Identifier: BSD-3-Clause
// Tap and packet links when the kernel refuses a call, and when they end while they work.
#include "failing_pair.h"
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct interface {
    struct ns ns;
    struct pair p;
};

static struct interface
interface_open(enum link_kind kind)
{
    struct interface n = {.ns = ns_open(),
                          .p = {.loop = loop_new(), .r = receiver_new(), .peer = -1}};
    uint16_t mtu = 1500;
    struct error err = {{0}};
    struct link_spec spec = spec_in(&n.ns, kind, kind == LINK_TAP ? "tap0" : "vmc0");
    if (kind == LINK_PACKET)
        ns_do(&n.ns, set_up_veth, &mtu, NULL);
    int fd = kind == LINK_TAP ? link_open_tap(&spec, &err) : link_open_packet(&spec, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    n.p.r->link =
        (kind == LINK_TAP ? link_new_tap : link_new_packet)(n.p.loop, fd, &receiver_events, n.p.r);
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
    static const uint8_t bytes[70] = {[10] = 255, [11] = 255, [12] = 255,  [13] = 255, [14] = 255,
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

// Until the kernel has noticed the carrier it drops in silence.
static void
wait_for_carrier(struct interface *n, int guest)
{
    for (int i = 0; i < 300 && n->p.r->count == 0; i++) {
        make_readable(guest);
        loop_turn(n->p.loop, 10);
    }
    assert_true(n->p.r->count > 0);
}

TEST(more_frames_than_a_batch_come_in_several)
{
    enum { COUNT = 500 };
    struct interface n = interface_open(LINK_PACKET);
    int guest = guest_socket(&n);
    wait_for_carrier(&n, guest);
    turns(n.p.loop, 3);
    size_t before = n.p.r->count;
    int batches = n.p.r->batches;
    for (int i = 0; i < COUNT; i++)
        make_readable(guest);
    for (int i = 0; i < 300 && n.p.r->count < before + COUNT; i++)
        loop_turn(n.p.loop, 10);
    assert_int_equal(n.p.r->count, before + COUNT);
    assert_true(n.p.r->batches > batches + 1);
    close(guest);
    interface_close(&n);
}

TEST(interface_link_may_be_freed_when_frames_are_handed_up)
{
    struct interface n = interface_open(LINK_PACKET);
    int guest = guest_socket(&n);
    n.p.r->free_in_frames = true;
    wait_for_carrier(&n, guest);
    assert_null(n.p.r->link);
    assert_int_equal(n.p.r->down, 0);
    close(guest);
    interface_close(&n);
}

static void
send_into_nothing(void *ctx)
{
    struct receiver *r = ctx;
    r->writable++;
    fail_next("writev", ENODEV);
    assert_true(link_send(r->link, frame_fill(&frame, 100, 1)));
    failed(1);
}

TEST(interface_link_may_break_when_it_is_writable)
{
    static const struct link_events events = {
        .on_frames = receiver_frames, .on_writable = send_into_nothing, .on_down = receiver_down};
    struct interface n = interface_open(LINK_TAP);
    struct link_spec spec = spec_in(&n.ns, LINK_TAP, "tap1");
    struct error err;
    link_free(n.p.r->link);
    n.p.r->link = link_new_tap(n.p.loop, link_open_tap(&spec, &err), &events, n.p.r);
    fail_next("writev", EAGAIN);
    assert_false(send_frame(&n.p));
    failed(1);
    for (int i = 0; i < 10 && !n.p.r->down; i++)
        loop_turn(n.p.loop, 10);
    assert_int_equal(n.p.r->writable, 1);
    assert_int_equal(n.p.r->down, 1);
    interface_close(&n);
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
    assert_null(
        (kind == LINK_TAP ? link_new_tap : link_new_packet)(n.p.loop, fd, &receiver_events, n.p.r));
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
TEST(mtu_of_an_interface_is_what_a_packet_can_have)
{
    struct interface n = interface_open(LINK_PACKET);
    struct link_spec spec = spec_in(&n.ns, LINK_PACKET, "lo"); // 65536 bytes
    struct error err;
    link_free(n.p.r->link);
    n.p.r->link = link_new_packet(n.p.loop, link_open_packet(&spec, &err), &receiver_events, n.p.r);
    assert_non_null(n.p.r->link);
    assert_int_equal(link_caps_of(n.p.r->link)->mtu_max, 65520);
    interface_close(&n);
}

TEST(interface_link_does_without_wishes)
{
    const struct {
        const char *call;
        uint32_t nth, mtu;
    } rows[] = {
        {"getsockopt", 1, 1500}, {"getsockname", 1, 1500}, {"ioctl", 1, 1500}, {"ioctl", 2, 1500}};
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
    turns(n.p.loop, 2); // still down
    assert_int_equal(n.p.r->down, 0);
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
