// SPDX-License-Identifier: BSD-3-Clause
// The tap and packet links against a kernel's TCP, and what becomes of them when their interface
// goes down or away. Run as root and once more as a user without any privilege.
#include "link/netns.h"
#include "link/open.h"

#include "guest.h"
#include "ns.h"
#include "tcp_peer.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int
set_up_tap_guest(void *arg, int *fds, size_t *count, struct error *err)
{
    netns_disable_ipv6("tap0");
    int rc = netns_link_up("tap0", err);
    return rc < 0 ? rc : netns_add_addr("tap0", GUEST_ADDR, 24, err);
}

static int
delete_link(void *arg, int *fds, size_t *count, struct error *err)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg body;
    } request = {.head = {.nlmsg_len = sizeof(request),
                          .nlmsg_type = RTM_DELLINK,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                 .body = {.ifi_index = (int)if_nametoindex(arg)}};
    char answer[1024];
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool ok = send(sock, &request, sizeof(request), 0) == sizeof(request) &&
              recv(sock, answer, sizeof(answer), 0) > 0 && if_nametoindex(arg) == 0;
    return ok ? 0 : error_set(err, EIO, "%s: still there", (char *)arg);
}

static int
set_link_down(void *arg, int *fds, size_t *count, struct error *err)
{
    struct ifreq ifr = {0};
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", (char *)arg);
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(sock, SIOCSIFFLAGS, &ifr) < 0 ? error_set(err, errno, "down") : 0;
}

struct bench {
    struct ns ns;
    struct loop *loop;
    struct tcp_peer *p;
};

static struct bench
bench_new(void)
{
    struct bench b = {.ns = ns_open(), .loop = loop_new()};
    b.p = calloc(1, sizeof(*b.p));
    return b;
}

static void
bench_free(struct bench *b)
{
    link_free(b->p->link);
    loop_free(b->loop);
    free(b->p);
    ns_close(&b->ns);
}

static void
attach_tap(struct bench *b)
{
    struct link_spec spec = spec_in(&b->ns, LINK_TAP, "tap0");
    struct error err = {{0}};
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        bench_free(b);
        print_message("no /dev/net/tun here\n");
        skip();
    }
    int fd = link_open_tap(&spec, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    ns_do(&b->ns, set_up_tap_guest, NULL, NULL);
    b->p->link = link_new_tap(b->loop, fd, &peer_events, b->p);
    assert_non_null(b->p->link);
}

static void
attach_packet(struct bench *b, uint16_t mtu)
{
    struct link_spec spec = spec_in(&b->ns, LINK_PACKET, "vmc0");
    struct error err = {{0}};
    ns_do(&b->ns, set_up_veth, &mtu, NULL);
    int fd = link_open_packet(&spec, &err);
    if (fd < 0)
        fail_msg("%s", err.text);
    b->p->link = link_new_packet(b->loop, fd, &peer_events, b->p);
    assert_non_null(b->p->link);
}

// One TCP connection from the guest's kernel, PEER_BYTES each way at once.
static void
exchange(struct bench *b)
{
    static uint8_t out[PEER_BYTES], in[65536];
    uint32_t written = 0, got = 0;
    uint64_t dropped = link_stats_of(b->p->link)->dropped_out;
    int guest = guest_connect(&b->ns, PEER_PORT);
    for (uint32_t i = 0; i < PEER_BYTES; i++)
        out[i] = pattern(i);
    while (got < PEER_BYTES || b->p->received < PEER_BYTES) {
        loop_turn(b->loop, 1);
        peer_push(b->p);
        if (b->p->established && written < PEER_BYTES) {
            ssize_t n = write(guest, out + written, PEER_BYTES - written);
            written += n > 0 ? (uint32_t)n : 0;
        }
        ssize_t n = read(guest, in, sizeof(in));
        for (ssize_t i = 0; i < n; i++) {
            if (in[i] != pattern(got + (uint32_t)i))
                fail_msg("byte %u differs at the guest", got + (uint32_t)i);
        }
        got += n > 0 ? (uint32_t)n : 0;
        assert_false(b->p->down);
    }
    close(guest);
    assert_int_equal(link_stats_of(b->p->link)->dropped_out, dropped);
}

TEST(ns_tap_carries_tcp_with_offloads_both_ways)
{
    struct bench b = bench_new();
    attach_tap(&b);
    assert_true(link_caps_of(b.p->link)->csum_offload);
    assert_true(link_caps_of(b.p->link)->tso);
    exchange(&b);
    assert_true(b.p->gso_in > 0);
    assert_true(b.p->partial_in > 0);
    assert_true(b.p->largest_in > 30000);
    assert_int_equal(b.p->unaligned_in, 0);
    bench_free(&b);
}

TEST(ns_packet_carries_tcp_with_offloads_both_ways)
{
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    assert_int_equal(link_caps_of(b.p->link)->mtu_max, 1500);
    exchange(&b);
    assert_true(b.p->gso_in > 0);
    assert_true(b.p->partial_in > 0);
    assert_true(b.p->largest_in > 30000);
    assert_int_equal(b.p->unaligned_in, 0);
    bench_free(&b);
}

TEST(ns_packet_with_the_largest_mtu)
{
    struct bench b = bench_new();
    attach_packet(&b, 65520);
    assert_int_equal(link_caps_of(b.p->link)->mtu_max, 65520);
    exchange(&b);
    bench_free(&b);
}

// A broadcast frame of ours, to be sent into the link.
static bool
send_one(struct bench *b)
{
    static uint8_t bytes[60] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    struct iovec iov = {bytes, sizeof(bytes)};
    return link_send(b->p->link, &(struct frame){.iov = &iov, .iovcnt = 1, .len = sizeof(bytes)});
}

static void
turns_for(struct loop *loop, const bool *until, int ms)
{
    for (int i = 0; i < ms && !*until; i++)
        loop_turn(loop, 1);
}

static void
expect_down_and_up_again(struct bench *b, char *ifname)
{
    ns_do(&b->ns, set_link_down, ifname, NULL);
    turns_for(b->loop, &b->p->down, 20);
    uint64_t dropped = link_stats_of(b->p->link)->dropped_out;
    assert_true(send_one(b)); // dropped, not refused
    assert_int_equal(link_stats_of(b->p->link)->dropped_out, dropped + 1);
    turns_for(b->loop, &b->p->down, 20);
    assert_false(b->p->down);
    ns_do(&b->ns, set_link_up, ifname, NULL);
    assert_true(send_one(b));
    assert_int_equal(link_stats_of(b->p->link)->dropped_out, dropped + 1);
}

TEST(ns_tap_that_is_down_drops_and_comes_back)
{
    struct bench b = bench_new();
    attach_tap(&b);
    expect_down_and_up_again(&b, "tap0");
    exchange(&b);
    bench_free(&b);
}

TEST(ns_packet_that_is_down_drops_and_comes_back)
{
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    expect_down_and_up_again(&b, "vmc0");
    // The address of eth0 stays; its carrier came back with vmc0.
    exchange(&b);
    bench_free(&b);
}

TEST(ns_deleted_tap_ends_the_link)
{
    struct bench b = bench_new();
    attach_tap(&b);
    ns_do(&b.ns, delete_link, "tap0", NULL);
    turns_for(b.loop, &b.p->down, 1000);
    assert_true(b.p->down);
    assert_non_null(strstr(b.p->why, "interface is gone"));
    bench_free(&b);
}

TEST(ns_deleted_tap_is_found_by_send)
{
    struct bench b = bench_new();
    attach_tap(&b);
    ns_do(&b.ns, delete_link, "tap0", NULL);
    assert_true(send_one(&b));
    assert_false(b.p->down);
    turns_for(b.loop, &b.p->down, 1000);
    assert_true(b.p->down);
    bench_free(&b);
}

TEST(ns_deleted_veth_ends_the_link)
{
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    ns_do(&b.ns, delete_link, "eth0", NULL); // takes its peer along
    turns_for(b.loop, &b.p->down, 3000);
    assert_true(b.p->down);
    assert_non_null(strstr(b.p->why, "interface is gone"));
    bench_free(&b);
}

TEST(ns_veth_deleted_while_down_ends_the_link)
{
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    ns_do(&b.ns, set_link_down, "vmc0", NULL);
    turns_for(b.loop, &b.p->down, 20);
    assert_false(b.p->down);
    ns_do(&b.ns, delete_link, "vmc0", NULL);
    turns_for(b.loop, &b.p->down, 3000);
    assert_true(b.p->down);
    bench_free(&b);
}

static int
open_raw_socket(void *arg, int *fds, size_t *count, struct error *err)
{
    fds[0] = netns_open_packet(arg, err);
    *count = 1;
    return fds[0] < 0 ? fds[0] : 0;
}

// Sends bytes out of eth0, behind a virtio_net_hdr of zeros.
static void
guest_raw(struct bench *b, const void *bytes, size_t len)
{
    static const uint8_t zero[10];
    struct iovec iov[2] = {{(void *)zero, sizeof(zero)}, {(void *)bytes, len}};
    int fd;
    ns_do(&b->ns, open_raw_socket, "eth0", &fd);
    assert_int_equal(writev(fd, iov, 2), sizeof(zero) + len);
    close(fd);
}

// Until the counter moves: the kernel hands frames over when it gets to it.
static void
turns_until(struct bench *b, const uint64_t *counter)
{
    uint64_t before = *counter;
    for (int i = 0; i < 300 && *counter == before; i++)
        turns_for(b->loop, &b->p->down, 10);
}

TEST(ns_packet_drops_tagged_frames)
{
    static const uint8_t plain[60] = {255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    static const uint8_t tagged[60] = {255, 255, 255, 255,  255, 255, 2, 0,    0,
                                       0,   0,   1,   0x81, 0,   0,   5, 0x88, 0xb5};
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    const struct link_stats *stats = link_stats_of(b.p->link);
    // Until the kernel has noticed the carrier it drops in silence.
    for (int i = 0; i < 30 && stats->frames_in == 0; i++) {
        guest_raw(&b, plain, sizeof(plain));
        turns_for(b.loop, &b.p->down, 100);
    }
    uint64_t frames = stats->frames_in;
    assert_int_not_equal(frames, 0);
    guest_raw(&b, tagged, sizeof(tagged));
    turns_until(&b, &stats->dropped_in);
    assert_int_equal(stats->frames_in, frames);
    assert_int_equal(stats->dropped_in, 1);
    bench_free(&b);
}

TEST(ns_packet_does_not_hear_itself)
{
    struct bench b = bench_new();
    attach_packet(&b, 1500);
    assert_true(send_one(&b));
    turns_for(b.loop, &b.p->down, 20);
    assert_int_equal(link_stats_of(b.p->link)->frames_out, 1);
    assert_int_equal(link_stats_of(b.p->link)->frames_in, 0);
    bench_free(&b);
}

TEST(all_of_it_without_privilege)
{
    ns_rerun_as_nobody();
}
