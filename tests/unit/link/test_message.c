// SPDX-License-Identifier: BSD-3-Clause
// The message link over socket pairs, named sockets and UDP: one frame, one message, in batches
// both ways; what is oversized, of somebody else, or cannot be sent; the end of a peer.
#include "pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
udp_socket(struct sockaddr_in *sin)
{
    socklen_t len = sizeof(*sin);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *sin = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)sin, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)sin, &len), 0);
    return fd;
}

static void
put(int fd, size_t len, unsigned seed)
{
    static struct test_frame f;
    frame_fill(&f, len, seed);
    assert_int_equal(send(fd, f.bytes, len, 0), len);
}

static void
expect_message(int fd, size_t len, unsigned seed)
{
    static struct test_frame f;
    static uint8_t got[FRAME_MAX + 1];
    frame_fill(&f, len, seed);
    assert_int_equal(recv(fd, got, sizeof(got), 0), len);
    assert_memory_equal(got, f.bytes, len);
}

static void
expect_batch(int type)
{
    struct pair p = pair_open(type);
    put(p.peer, 60, 1);
    put(p.peer, 1514, 2);
    put(p.peer, 1, 3);
    turns(p.loop, 1);
    assert_int_equal(p.r->batches, 1);
    assert_int_equal(p.r->count, 3);
    assert_int_equal(p.r->lens[0], 60);
    assert_int_equal(p.r->lens[1], 1514);
    assert_int_equal(p.r->lens[2], 1);
    assert_int_equal(p.r->last.csum, FRAME_CSUM_NONE);
    assert_int_equal(link_stats_of(p.r->link)->frames_in, 3);
    assert_int_equal(link_stats_of(p.r->link)->bytes_in, 1575);
    pair_close(&p);
}

TEST(waiting_messages_come_as_one_batch)
{
    expect_batch(SOCK_DGRAM);
    expect_batch(SOCK_SEQPACKET);
}

TEST(longest_frame_arrives_a_longer_message_is_dropped)
{
    struct pair p = pair_open(SOCK_DGRAM);
    static struct test_frame f;
    static uint8_t oversized[FRAME_MAX + 1000];
    put(p.peer, FRAME_MAX, 1);
    turns(p.loop, 1);
    for (size_t more = 1; more <= 1000; more += 333) {
        assert_int_equal(send(p.peer, oversized, FRAME_MAX + more, 0), FRAME_MAX + more);
        turns(p.loop, 1);
    }
    put(p.peer, 60, 2);
    turns(p.loop, 1);
    assert_int_equal(p.r->count, 2);
    assert_int_equal(p.r->lens[0], FRAME_MAX);
    assert_memory_equal(p.r->bytes, frame_fill(&f, FRAME_MAX, 1)->iov[0].iov_base, FRAME_MAX);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 4);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

TEST(empty_datagrams_are_dropped)
{
    struct pair p = pair_open(SOCK_DGRAM);
    assert_int_equal(send(p.peer, "", 0, 0), 0);
    put(p.peer, 60, 1);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 1);
    pair_close(&p);
}

TEST(hello_of_vfkit_is_swallowed)
{
    struct pair p = pair_open(SOCK_DGRAM);
    assert_int_equal(send(p.peer, "VFKT", 4, 0), 4);
    put(p.peer, 60, 1);
    assert_int_equal(send(p.peer, "VFKX", 4, 0), 4);
    assert_int_equal(send(p.peer, "VFKT!", 5, 0), 5);
    turns(p.loop, 1);
    assert_int_equal(p.r->count, 3);
    assert_int_equal(p.r->lens[0], 60);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 0);
    uint8_t byte;
    assert_int_equal(recv(p.peer, &byte, 1, 0), -1); // they expect no answer
    pair_close(&p);
}

TEST(more_messages_than_a_batch)
{
    struct pair p = pair_open(SOCK_SEQPACKET);
    size_t sent = 0;
    for (int i = 0; i < 1000 && p.r->count < 500; i++) {
        static struct test_frame f;
        while (sent < 500) {
            frame_fill(&f, 60 + sent, (unsigned)sent);
            if (send(p.peer, f.bytes, 60 + sent, 0) < 0)
                break;
            sent++;
        }
        turns(p.loop, 1);
    }
    assert_int_equal(p.r->count, 500);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(p.r->lens[i], 60 + i);
    pair_close(&p);
}

TEST(offload_leaves_checksums_to_us)
{
    struct pair p = pair_open(SOCK_DGRAM);
    link_take_partial_csum(p.r->link);
    put(p.peer, 40000, 1);
    turns(p.loop, 1);
    assert_int_equal(p.r->lens[0], 40000);
    assert_int_equal(p.r->last.csum, FRAME_CSUM_PARTIAL);
    assert_int_equal(p.r->last.gso, FRAME_GSO_NONE);
    assert_false(link_caps_of(p.r->link)->csum_offload); // ours are whole
    pair_close(&p);
}

TEST(end_of_a_seqpacket_peer_is_told_once_and_after_the_last_frame)
{
    struct pair p = pair_open(SOCK_SEQPACKET);
    put(p.peer, 60, 1);
    close(p.peer);
    p.peer = -1;
    turns(p.loop, 4);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(p.r->down, 1);
    assert_string_equal(p.r->why, "peer closed the connection");
    pair_close(&p);
}

TEST(end_of_a_datagram_peer_is_found_by_sending)
{
    struct pair p = pair_open(SOCK_DGRAM);
    static struct test_frame f;
    close(p.peer);
    p.peer = -1;
    turns(p.loop, 2);
    assert_int_equal(p.r->down, 0);
    assert_true(link_send(p.r->link, frame_fill(&f, 60, 1)));
    link_flush(p.r->link);
    assert_int_equal(p.r->down, 0); // not from within
    assert_true(link_send(p.r->link, frame_fill(&f, 60, 1)));
    for (int i = 0; i < 10 && !p.r->down; i++)
        loop_turn(p.loop, 5);
    assert_int_equal(p.r->down, 1);
    assert_string_equal(p.r->why, "write: Connection refused");
    pair_close(&p);
}

TEST(freed_within_on_frames)
{
    struct pair p = pair_open(SOCK_DGRAM);
    p.r->free_in_frames = true;
    for (unsigned i = 0; i < 100; i++) {
        static struct test_frame f;
        frame_fill(&f, 60, i);
        send(p.peer, f.bytes, 60, 0);
    }
    turns(p.loop, 2);
    assert_int_equal(p.r->batches, 1);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

TEST(sends_nothing_before_the_flush_then_all)
{
    struct pair p = pair_open(SOCK_DGRAM);
    static struct test_frame a, b, c;
    uint8_t byte;
    assert_true(link_send(p.r->link, frame_fill(&a, 1000, 1)));
    assert_true(link_send(p.r->link, frame_fill(&b, FRAME_MAX, 2)));
    assert_true(link_send(p.r->link, frame_fill(&c, 60, 3)));
    assert_int_equal(recv(p.peer, &byte, 1, 0), -1);
    link_flush(p.r->link);
    expect_message(p.peer, 1000, 1);
    expect_message(p.peer, FRAME_MAX, 2);
    expect_message(p.peer, 60, 3);
    assert_int_equal(link_stats_of(p.r->link)->frames_out, 3);
    assert_int_equal(link_stats_of(p.r->link)->bytes_out, 1000 + FRAME_MAX + 60);
    link_flush(p.r->link);
    assert_int_equal(recv(p.peer, &byte, 1, 0), -1);
    pair_close(&p);
}

TEST(headers_are_copied_and_short_frames_padded)
{
    struct pair p = pair_open(SOCK_DGRAM);
    static struct test_frame a, as_it_was;
    static const uint8_t zeros[18];
    uint8_t got[100];
    link_send(p.r->link, frame_fill(&a, 42, 1));
    frame_fill(&as_it_was, 42, 1);
    memset(a.bytes, 0xee, 14);
    link_flush(p.r->link);
    assert_int_equal(recv(p.peer, got, sizeof(got), 0), 60);
    assert_memory_equal(got, as_it_was.bytes, 42);
    assert_memory_equal(got + 42, zeros, 18);
    pair_close(&p);
}

// As fast as the link takes them, to a peer that reads one now and then: none is lost, none out of
// order, and on_writable comes for each refusal.
static void
send_through_backlog(int type, size_t count)
{
    struct pair p = pair_open(type);
    static struct test_frame f;
    size_t sent = 0, got = 0;
    int refused = 0;
    bool waiting = false;
    while (got < count) {
        while (sent < count && !waiting) {
            size_t len = 60 + sent * 7919 % 3000;
            if (link_send(p.r->link, frame_fill(&f, len, (unsigned)sent)))
                sent++;
            else
                waiting = true;
            link_flush(p.r->link); // f is filled anew
        }
        refused += waiting;
        int writable = p.r->writable;
        expect_message(p.peer, 60 + got * 7919 % 3000, (unsigned)got);
        got++;
        turns(p.loop, 1);
        waiting = waiting && p.r->writable == writable;
    }
    assert_true(refused > 0);
    assert_int_equal(p.r->down, 0);
    assert_int_equal(link_stats_of(p.r->link)->frames_out, count);
    assert_int_equal(link_stats_of(p.r->link)->dropped_out, 0);
    pair_close(&p);
}

TEST(full_socket_keeps_every_frame)
{
    send_through_backlog(SOCK_DGRAM, 3000);
    send_through_backlog(SOCK_SEQPACKET, 3000);
}

TEST(peer_gone_with_frames_kept)
{
    struct pair p = pair_open(SOCK_DGRAM);
    static struct test_frame f;
    while (link_send(p.r->link, frame_fill(&f, 1500, 1)))
        link_flush(p.r->link);
    close(p.peer);
    p.peer = -1;
    for (int i = 0; i < 10 && !p.r->down; i++)
        loop_turn(p.loop, 5);
    assert_int_equal(p.r->down, 1);
    assert_int_equal(p.r->writable, 0);
    pair_close(&p);
}

// A send buffer of one small message: the kernel has "no buffer" (EMSGSIZE, likewise ENOBUFS) for a
// long one, now or ever. It is dropped, as a NIC would; those behind it go.
TEST(what_the_kernel_refuses_is_dropped_and_the_rest_goes)
{
    static struct test_frame a, b, c;
    int small = 4096, fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    int ours = dup(fds[0]); // the link has only asked for a size; here somebody else decides
    struct pair p = pair_of(link_new_message, fds[0], fds[1]);
    assert_int_equal(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_true(link_send(p.r->link, frame_fill(&a, 60, 1)));
    assert_true(link_send(p.r->link, frame_fill(&b, 60000, 2)));
    assert_true(link_send(p.r->link, frame_fill(&c, 70, 3)));
    link_flush(p.r->link);
    expect_message(p.peer, 60, 1);
    expect_message(p.peer, 70, 3);
    assert_int_equal(link_stats_of(p.r->link)->dropped_out, 1);
    assert_int_equal(link_stats_of(p.r->link)->frames_out, 2);
    turns(p.loop, 3);
    assert_int_equal(p.r->down, 0);
    close(ours);
    pair_close(&p);
}

TEST(udp_works_and_is_not_ended_by_an_absent_peer)
{
    struct sockaddr_in us, them;
    static struct test_frame f;
    int ours = udp_socket(&us), peers = udp_socket(&them);
    assert_int_equal(connect(ours, (struct sockaddr *)&them, sizeof(them)), 0);
    close(peers); // nobody is there yet
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    r->link = link_new_message(loop, ours, &receiver_events, r);
    assert_non_null(r->link);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(link_send(r->link, frame_fill(&f, 100, i)));
        link_flush(r->link);
        turns(loop, i % 2); // the refusal is found by the next send, or by reading
    }
    assert_int_equal(r->down, 0);
    const struct link_stats *stats = link_stats_of(r->link);
    assert_true(stats->dropped_out > 0);
    assert_int_equal(stats->dropped_out + stats->frames_out, 20);

    // Now it is.
    peers = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(peers, (struct sockaddr *)&them, sizeof(them)), 0);
    assert_int_equal(connect(peers, (struct sockaddr *)&us, sizeof(us)), 0);
    put(peers, 1000, 1);
    loop_turn(loop, 100);
    assert_int_equal(r->count, 1);
    link_send(r->link, frame_fill(&f, 65493 + 14, 5));
    link_send(r->link, frame_fill(&f, 65493 + 14, 5));
    link_flush(r->link);
    expect_message(peers, 65493 + 14, 5);
    assert_int_equal(link_caps_of(r->link)->mtu_max, 65493);
    link_free(r->link);
    loop_free(loop);
    close(peers);
    free(r);
}

TEST(other_udp_senders_are_not_heard)
{
    struct sockaddr_in us, them, other;
    int ours = udp_socket(&us), peers = udp_socket(&them), strangers = udp_socket(&other);
    static struct test_frame f;
    frame_fill(&f, 60, 1);
    // One before the socket knew its peer, which the kernel lets through, and one after.
    sendto(strangers, f.bytes, 60, 0, (struct sockaddr *)&us, sizeof(us));
    assert_int_equal(connect(ours, (struct sockaddr *)&them, sizeof(them)), 0);
    assert_int_equal(connect(peers, (struct sockaddr *)&us, sizeof(us)), 0);
    struct pair p = pair_of(link_new_message, ours, peers);
    sendto(strangers, f.bytes, 60, 0, (struct sockaddr *)&us, sizeof(us));
    put(p.peer, 100, 2);
    loop_turn(p.loop, 100);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(p.r->lens[0], 100);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 1);
    assert_int_equal(p.r->down, 0);
    close(strangers);
    pair_close(&p);
}

TEST(refuses_sockets_of_another_kind_and_without_a_peer)
{
    struct loop *loop = loop_new();
    struct sockaddr_in us;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_null(link_new_message(loop, fds[0], &receiver_events, NULL));
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); // closed: it was taken over
    close(fds[1]);
    assert_null(link_new_message(loop, udp_socket(&us), &receiver_events, NULL));
    loop_free(loop);
}

// Strangers who wrote before the socket knew its peer: of another address with the peer's port, of
// another port, of IPv6.
static void
expect_strangers_not_heard(int family, const char *const hosts[3])
{
    struct sockaddr_storage names[3] = {{0}}; // ours, the peer's, a stranger's
    socklen_t lens[3];
    int fds[3];
    static struct test_frame f;
    frame_fill(&f, 60, 1);
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in *sin = (void *)&names[i];
        struct sockaddr_in6 *sin6 = (void *)&names[i];
        bool is_v4 = family == AF_INET;
        lens[i] = is_v4 ? sizeof(*sin) : sizeof(*sin6);
        names[i].ss_family = (sa_family_t)family;
        assert_int_equal(
            inet_pton(family, hosts[i], is_v4 ? (void *)&sin->sin_addr : (void *)&sin6->sin6_addr),
            1);
        if (i == 2 && strcmp(hosts[2], hosts[1]) != 0) // the peer's port at another address
            sin->sin_port = ((struct sockaddr_in *)(void *)&names[1])->sin_port;
        fds[i] = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&names[i], lens[i]) < 0) {
            for (; i >= 0; i--)
                close(fds[i]);
            print_message("no such addresses here\n");
            return;
        }
        getsockname(fds[i], (struct sockaddr *)&names[i], &lens[i]);
    }
    assert_int_equal(sendto(fds[2], f.bytes, 60, 0, (struct sockaddr *)&names[0], lens[0]), 60);
    assert_int_equal(sendto(fds[1], f.bytes, 50, 0, (struct sockaddr *)&names[0], lens[0]), 50);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&names[1], lens[1]), 0);
    struct pair p = pair_of(link_new_message, fds[0], fds[1]);
    loop_turn(p.loop, 100);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(p.r->lens[0], 50);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 1);
    close(fds[2]);
    pair_close(&p);
}

TEST(strangers_of_each_kind_are_not_heard)
{
    expect_strangers_not_heard(AF_INET,
                               (const char *const[]){"127.0.0.1", "127.0.0.1", "127.0.0.1"});
    expect_strangers_not_heard(AF_INET,
                               (const char *const[]){"127.0.0.1", "127.0.0.1", "127.0.0.2"});
    expect_strangers_not_heard(AF_INET6, (const char *const[]){"::1", "::1", "::1"});
    expect_strangers_not_heard(AF_INET6, (const char *const[]){"::", "::1", "::ffff:127.0.0.1"});
}

// The same with names of a path, shorter than the peer's and as long.
static int
named(const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "vmc-test-%d-%s", getpid(), name);
    socklen_t len = (socklen_t)(sizeof(sa_family_t) + 1 + strlen(sa.sun_path + 1));
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static void
connect_to_named(int fd, int other)
{
    struct sockaddr_un sa;
    socklen_t len = sizeof(sa);
    assert_int_equal(getsockname(other, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
}

TEST(strangers_with_names_are_not_heard_and_end_nothing)
{
    int ours = named("ours"), peers = named("peer"), as_long = named("evil"), short_ = named("e");
    int nameless = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int all[] = {as_long, short_, nameless, peers};
    for (int i = 0; i < 4; i++) {
        connect_to_named(all[i], ours);
        put(all[i], 60 + (size_t)i, 1);
    }
    connect_to_named(ours, peers);
    struct pair p = pair_of(link_new_message, ours, peers);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(p.r->lens[0], 63);
    assert_int_equal(link_stats_of(p.r->link)->dropped_in, 3);
    assert_int_equal(p.r->down, 0);
    for (int i = 0; i < 3; i++)
        close(all[i]);
    pair_close(&p);
}
