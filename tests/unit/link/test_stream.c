// SPDX-License-Identifier: BSD-3-Clause
// The stream link over a socketpair: framing in and out, however the bytes are cut, and its end.
#include "pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

// Appends a prefixed frame to out; its length on the wire.
static size_t
wire_put(uint8_t *out, size_t len, unsigned seed)
{
    static struct test_frame f;
    uint32_t prefix = htonl((uint32_t)len);
    frame_fill(&f, len, seed);
    memcpy(out, &prefix, 4);
    memcpy(out + 4, f.bytes, len);
    return 4 + len;
}

static void
put_all(int fd, const void *data, size_t len)
{
    assert_int_equal(write(fd, data, len), len);
}

TEST(frames_of_one_read_come_as_one_batch)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[8192];
    size_t n = wire_put(wire, 60, 1);
    n += wire_put(wire + n, 1514, 2);
    n += wire_put(wire + n, 1, 3);
    put_all(p.peer, wire, n);
    turns(p.loop, 1);
    assert_int_equal(p.r->batches, 1);
    assert_int_equal(p.r->count, 3);
    assert_int_equal(p.r->lens[1], 1514);
    assert_memory_equal(p.r->bytes, wire + 4, 60);
    assert_memory_equal(p.r->bytes + 60, wire + 68, 1514);
    assert_int_equal(p.r->last.csum, FRAME_CSUM_NONE);
    assert_int_equal(link_stats_of(p.r->link)->frames_in, 3);
    assert_int_equal(link_stats_of(p.r->link)->bytes_in, 1575);
    pair_close(&p);
}

TEST(split_at_each_byte)
{
    uint8_t wire[300];
    size_t n = wire_put(wire, 100, 1);
    n += wire_put(wire + n, 60, 2);
    for (size_t cut = 1; cut < n; cut++) {
        struct pair p = pair_open(SOCK_STREAM);
        put_all(p.peer, wire, cut);
        turns(p.loop, 1);
        put_all(p.peer, wire + cut, n - cut);
        turns(p.loop, 1);
        assert_int_equal(p.r->count, 2);
        assert_memory_equal(p.r->bytes, wire + 4, 100);
        assert_memory_equal(p.r->bytes + 100, wire + 108, 60);
        pair_close(&p);
    }
}

TEST(byte_by_byte)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[300];
    size_t n = wire_put(wire, 100, 1);
    n += wire_put(wire + n, 60, 2);
    for (size_t i = 0; i < n; i++) {
        put_all(p.peer, wire + i, 1);
        turns(p.loop, 1);
    }
    assert_int_equal(p.r->count, 2);
    assert_memory_equal(p.r->bytes, wire + 4, 100);
    assert_memory_equal(p.r->bytes + 100, wire + 108, 60);
    pair_close(&p);
}

TEST(many_tiny_and_many_largest_frames_arrive_whole)
{
    struct pair p = pair_open(SOCK_STREAM);
    static uint8_t wire[4 * (FRAME_MAX + 4) + 3000 * 8];
    size_t n = 0;
    for (int i = 0; i < 3000; i++)
        n += wire_put(wire + n, 1, (unsigned)i);
    for (int i = 0; i < 4; i++)
        n += wire_put(wire + n, FRAME_MAX, (unsigned)i);
    size_t sent = 0;
    for (int i = 0; i < 1000 && p.r->count < 3004; i++) {
        ssize_t w = write(p.peer, wire + sent, n - sent);
        sent += w > 0 ? (size_t)w : 0;
        turns(p.loop, 1);
    }
    assert_int_equal(p.r->count, 3004);
    assert_int_equal(p.r->lens[3003], FRAME_MAX);
    assert_memory_equal(p.r->bytes + p.r->used - FRAME_MAX, wire + n - FRAME_MAX, FRAME_MAX);
    pair_close(&p);
}

static void
expect_framing_lost(const uint8_t prefix[4], const char *why)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[128];
    size_t n = wire_put(wire, 60, 1);
    memcpy(wire + n, prefix, 4);
    put_all(p.peer, wire, n + 4);
    turns(p.loop, 2);
    assert_int_equal(p.r->count, 1); // what came before is whole
    assert_int_equal(p.r->down, 1);
    assert_string_equal(p.r->why, why);
    pair_close(&p);
}

TEST(impossible_lengths_end_the_link)
{
    expect_framing_lost((uint8_t[]){0, 0, 0, 0},
                        "framing lost: length prefix 0 (accepted: 1 to 65550)");
    expect_framing_lost((uint8_t[]){255, 255, 255, 255},
                        "framing lost: length prefix 4294967295 (accepted: 1 to 65550)");
    expect_framing_lost((uint8_t[]){0, 1, 0, 15},
                        "framing lost: length prefix 65551 (accepted: 1 to 65550)");
    expect_framing_lost((uint8_t[]){128, 0, 0, 60},
                        "framing lost: length prefix 2147483708 (accepted: 1 to 65550)");
}

TEST(end_of_file_is_told_once_and_after_the_last_frame)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[128];
    put_all(p.peer, wire, wire_put(wire, 60, 1));
    close(p.peer);
    p.peer = -1;
    turns(p.loop, 4);
    assert_int_equal(p.r->count, 1);
    assert_int_equal(p.r->down, 1);
    assert_string_equal(p.r->why, "peer closed the connection");
    pair_close(&p);
}

TEST(end_of_file_within_a_frame)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[128];
    wire_put(wire, 60, 1);
    put_all(p.peer, wire, 20);
    close(p.peer);
    p.peer = -1;
    turns(p.loop, 2);
    assert_string_equal(p.r->why, "peer closed the connection within a frame");
    pair_close(&p);
}

TEST(freed_within_on_frames)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[256];
    size_t n = wire_put(wire, 60, 1);
    n += wire_put(wire + n, 60, 2);
    put_all(p.peer, wire, n);
    p.r->free_in_frames = true;
    turns(p.loop, 2);
    assert_int_equal(p.r->batches, 1);
    assert_int_equal(p.r->down, 0);
    pair_close(&p);
}

TEST(sends_nothing_before_the_flush_then_all)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame a, b;
    uint8_t got[4096], want[4096];
    assert_true(link_send(p.r->link, frame_fill(&a, 1000, 1)));
    assert_true(link_send(p.r->link, frame_fill(&b, 1514, 2)));
    assert_int_equal(read(p.peer, got, sizeof(got)), -1);
    link_flush(p.r->link);
    size_t n = wire_put(want, 1000, 1);
    n += wire_put(want + n, 1514, 2);
    assert_int_equal(read(p.peer, got, sizeof(got)), n);
    assert_memory_equal(got, want, n);
    assert_int_equal(link_stats_of(p.r->link)->frames_out, 2);
    link_flush(p.r->link);
    assert_int_equal(read(p.peer, got, sizeof(got)), -1);
    pair_close(&p);
}

TEST(headers_are_copied_at_send)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame a;
    uint8_t got[256], want[256];
    link_send(p.r->link, frame_fill(&a, 100, 1));
    memset(a.bytes, 0xee, 14);
    link_flush(p.r->link);
    size_t n = wire_put(want, 100, 1);
    assert_int_equal(read(p.peer, got, sizeof(got)), n);
    assert_memory_equal(got, want, n);
    pair_close(&p);
}

TEST(short_frames_are_padded_with_zeros)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame a;
    uint8_t got[256], want[64] = {0, 0, 0, 60};
    link_send(p.r->link, frame_fill(&a, 42, 1));
    memcpy(want + 4, a.bytes, 42);
    link_flush(p.r->link);
    assert_int_equal(read(p.peer, got, sizeof(got)), 64);
    assert_memory_equal(got, want, 64);
    pair_close(&p);
}

// Sends frames of mixed sizes as fast as the link takes them to a peer that reads `step` bytes now
// and then; every byte must come out in order.
static void
send_through_backlog(size_t count, size_t step)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame f;
    static uint8_t expect[FRAME_MAX + 4], got[FRAME_MAX + 4];
    size_t sent = 0, checked = 0, have = 0, refused = 0;
    int owed = 0;
    while (checked < count) {
        while (sent < count) {
            size_t len = 60 + sent * 7919 % (FRAME_MAX - 60);
            if (!link_send(p.r->link, frame_fill(&f, len, (unsigned)sent))) {
                refused++;
                owed = 1;
                break;
            }
            sent++;
            link_flush(p.r->link); // f is filled anew
        }
        size_t len = wire_put(expect, 60 + checked * 7919 % (FRAME_MAX - 60), (unsigned)checked);
        size_t want = len - have < step ? len - have : step;
        ssize_t n = read(p.peer, got + have, want);
        if (n > 0)
            have += (size_t)n;
        if (have == len) {
            assert_memory_equal(got, expect, len);
            checked++;
            have = 0;
        }
        int before = p.r->writable;
        turns(p.loop, 1);
        if (p.r->writable > before) {
            assert_int_equal(owed, 1); // only when something was refused
            owed = 0;
        }
    }
    assert_true(refused > 0);
    assert_true(p.r->writable > 0);
    assert_int_equal(p.r->down, 0);
    assert_int_equal(link_stats_of(p.r->link)->frames_out, count);
    pair_close(&p);
}

TEST(framing_survives_a_slow_peer)
{
    send_through_backlog(400, 1000);
}

TEST(framing_survives_a_peer_that_reads_much_at_once)
{
    send_through_backlog(2000, FRAME_MAX);
}

TEST(queue_larger_than_the_socket_is_flushed_on_its_own)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame f;
    const struct frame *frame = frame_fill(&f, FRAME_MAX, 1);
    int taken = 0;
    while (taken < 1000 && link_send(p.r->link, frame))
        taken++;
    assert_in_range(taken, 2, 100); // the socket's buffer and the backlog, not more
    // Nothing of the caller's is referenced now.
    memset(f.bytes, 0, sizeof(f.bytes));
    static uint8_t expect[FRAME_MAX + 4], got[FRAME_MAX + 4];
    wire_put(expect, FRAME_MAX, 1);
    for (int i = 0; i < taken; i++) {
        for (size_t have = 0; have < sizeof(got);) {
            ssize_t n = read(p.peer, got + have, sizeof(got) - have);
            if (n > 0)
                have += (size_t)n;
            else
                turns(p.loop, 1);
        }
        assert_memory_equal(got, expect, sizeof(got));
    }
    turns(p.loop, 2);
    assert_int_equal(p.r->writable, 1);
    assert_true(link_send(p.r->link, frame));
    pair_close(&p);
}

TEST(peer_closing_with_frames_queued)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame f;
    while (link_send(p.r->link, frame_fill(&f, 40000, 1)))
        link_flush(p.r->link);
    close(p.peer);
    p.peer = -1;
    turns(p.loop, 3);
    assert_int_equal(p.r->down, 1);
    assert_int_equal(p.r->writable, 0);
    pair_close(&p);
}

TEST(peer_gone_is_found_by_flush_and_told_by_the_loop)
{
    struct pair p = pair_open(SOCK_STREAM);
    static struct test_frame f;
    close(p.peer);
    p.peer = -1;
    link_send(p.r->link, frame_fill(&f, 100, 1));
    link_flush(p.r->link);
    assert_int_equal(p.r->down, 0); // not from within
    assert_true(link_send(p.r->link, frame_fill(&f, 100, 1)));
    assert_int_equal(link_stats_of(p.r->link)->dropped_out, 1);
    link_flush(p.r->link);
    turns(p.loop, 1);
    for (int i = 0; i < 10 && !p.r->down; i++)
        loop_turn(p.loop, 5);
    assert_int_equal(p.r->down, 1);
    assert_string_equal(p.r->why, "write: Broken pipe");
    pair_close(&p);
}

TEST(echo_within_on_frames)
{
    struct pair p = pair_open(SOCK_STREAM);
    uint8_t wire[4096], got[4096];
    p.r->echo = true;
    size_t n = wire_put(wire, 1000, 1);
    n += wire_put(wire + n, 60, 2);
    put_all(p.peer, wire, n);
    turns(p.loop, 1);
    assert_int_equal(read(p.peer, got, sizeof(got)), n);
    assert_memory_equal(got, wire, n);
    pair_close(&p);
}

TEST(one_link_does_not_keep_the_turn)
{
    // A peer that never stops sending: a turn ends all the same, and the other link is served.
    struct pair p = pair_open(SOCK_STREAM), q = pair_open(SOCK_STREAM);
    close(q.peer);
    q.peer = -1;
    link_free(q.r->link);
    loop_free(q.loop);
    q.loop = p.loop;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    q.r->link = link_new_stream(q.loop, fds[0], &receiver_events, q.r);
    uint8_t wire[2000];
    size_t n = wire_put(wire, 1500, 1);
    put_all(fds[1], wire, n);
    while (write(p.peer, wire, n) == (ssize_t)n)
        ;
    turns(p.loop, 1);
    assert_int_equal(q.r->count, 1);
    link_free(q.r->link);
    close(fds[1]);
    free(q.r);
    pair_close(&p);
}

TEST(works_over_tcp)
{
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&sin, &len);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&sin, sizeof(sin)), 0);
    r->link = link_new_stream(loop, accept(listener, NULL, NULL), &receiver_events, r);
    r->echo = true;

    uint8_t wire[4096], got[4096];
    size_t n = wire_put(wire, 1500, 7);
    put_all(peer, wire, n);
    for (int i = 0; i < 100 && r->count == 0; i++)
        loop_turn(loop, 10);
    assert_int_equal(recv(peer, got, n, MSG_WAITALL), n);
    assert_memory_equal(got, wire, n);
    // Closing with unread data makes the peer reset.
    link_send(r->link, &(struct frame){.iov = &(struct iovec){wire, 60}, .iovcnt = 1, .len = 60});
    link_flush(r->link);
    close(peer);
    for (int i = 0; i < 100 && !r->down; i++)
        loop_turn(loop, 10);
    assert_int_equal(r->down, 1);
    loop_free(loop);
    close(listener);
    free(r);
}

TEST(refuses_a_descriptor_that_cannot_be_polled)
{
    struct loop *loop = loop_new();
    FILE *file = tmpfile();
    int fd = dup(fileno(file));
    assert_null(link_new_stream(loop, fd, &receiver_events, NULL));
    assert_int_equal(fcntl(fd, F_GETFD), -1); // closed: it was taken over
    fclose(file);
    loop_free(loop);
}

TEST(caps_of_a_stream)
{
    struct pair p = pair_open(SOCK_STREAM);
    assert_int_equal(link_caps_of(p.r->link)->mtu_max, 65520);
    assert_false(link_caps_of(p.r->link)->csum_offload);
    assert_false(link_caps_of(p.r->link)->tso);
    pair_close(&p);
}

// More than a turn reads, and more at once than the buffer holds.
TEST(flood_is_read_in_full_buffers_and_all_of_it_arrives)
{
    struct pair p = pair_open(SOCK_STREAM);
    static uint8_t wire[FRAME_MAX + 4];
    size_t len = wire_put(wire, 60000, 1), sent = 0;
    int room = 8 * 1024 * 1024;
    if (setsockopt(p.peer, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0) {
        pair_close(&p);
        skip(); // root's alone
    }
    while (sent < 40 && send(p.peer, wire, len, MSG_DONTWAIT) == (ssize_t)len)
        sent++;
    assert_int_equal(sent, 40);
    turns(p.loop, 1);
    assert_in_range(p.r->count, 4, 39);
    turns(p.loop, 10);
    assert_int_equal(p.r->count, 40);
    assert_memory_equal(p.r->bytes + p.r->used - 60000, wire + 4, 60000);
    pair_close(&p);
}
