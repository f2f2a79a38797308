// SPDX-License-Identifier: BSD-3-Clause
// How connections share a link of small frames: none that moves bulk has more on its way than its
// part of what a guest's transmit queue holds, and one alone has all that its ring allows.
#include "bench.h"
#include "test.h"

#define RING      (512 * 1024)
#define QUEUE     (1024 * 1024) // what a guest's transmit queue holds
#define SCALE     4             // that a ring of this size wants
#define EPOCH_US  70000
#define PEERS_MAX 64

static struct bench b;

struct peer {
    uint16_t port;
    uint32_t conn, seq, ack;
};

static struct peer peers[PEERS_MAX];
static uint16_t mss; // that they say

static void
send_from(struct peer *p, uint8_t flags, const void *payload, size_t len)
{
    struct tcp_header h = {.src_port = p->port,
                           .seq = p->seq,
                           .ack = p->ack,
                           .flags = flags,
                           .window = 65535,
                           .mss = flags & TCP_SYN ? mss : 0,
                           .wscale = flags & TCP_SYN ? 7 : -1,
                           .sack_permitted = flags & TCP_SYN};
    bench_send(&b, h, payload, len);
    p->seq += (uint32_t)len + (flags & TCP_SYN ? 1 : 0);
}

static void
start_with(unsigned count, bool tso, uint16_t mtu)
{
    mss = (uint16_t)(mtu - 40);
    bench_init(&b, &(struct stack_config){
                       .max_conns = PEERS_MAX, .ring_bytes = RING, .tso = tso, .mtu = mtu});
    for (unsigned i = 0; i < count; i++) {
        struct peer *p = &peers[i];
        *p = (struct peer){.port = (uint16_t)(40000 + i), .seq = 1000};
        send_from(p, TCP_SYN, NULL, 0);
        p->conn = b.conn;
        stack_accept(b.stack, p->conn, b.now_us);
        bench_flush(&b);
        p->ack = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).seq + 1;
        send_from(p, TCP_ACK, NULL, 0);
        bench_clear(&b);
    }
    assert_int_equal(b.establishes, count);
}

static void
start(unsigned count, bool tso)
{
    start_with(count, tso, 1500);
}

#define ANSWERED 9 // segments of 1400 bytes: more than eight full ones, which get an ACK at once

// Each peer sends about that many segments. The windows told in the last answers, smallest and
// largest.
static void
send_bulk(unsigned count, unsigned segments, uint32_t *least, uint32_t *most)
{
    static char block[1400];
    *least = UINT32_MAX;
    *most = 0;
    for (unsigned k = 0; k < segments; k += ANSWERED) {
        for (unsigned i = 0; i < count; i++) {
            b.data_len = 0;
            bench_clear(&b);
            for (unsigned n = 0; n < ANSWERED; n++)
                send_from(&peers[i], TCP_ACK, block, sizeof block);
            uint32_t window = (uint32_t)bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).window
                              << SCALE;
            if (k + ANSWERED < segments)
                continue;
            *least = window < *least ? window : *least;
            *most = window > *most ? window : *most;
        }
    }
}

TEST(one_connection_has_its_whole_ring)
{
    uint32_t least, most;
    start(1, false);
    for (int i = 0; i < 5; i++) {
        send_bulk(1, 200, &least, &most);
        b.now_us += EPOCH_US;
    }
    assert_true(least > RING - RING / 4);
    bench_fini(&b);
}

TEST(many_share_what_the_queue_holds)
{
    uint32_t least, most;
    start(16, false);
    for (int i = 0; i < 40; i++) {
        send_bulk(16, 40, &least, &most);
        b.now_us += EPOCH_US;
    }
    assert_true(16 * most <= QUEUE + 16 * (1 << SCALE));
    assert_true(least >= QUEUE / 16 / 2);
    bench_fini(&b);
}

TEST(told_window_never_shrinks)
{
    uint32_t least, most;
    start(16, false);
    uint32_t right = 0;
    for (int i = 0; i < 20; i++) {
        send_bulk(16, 40, &least, &most);
        struct tcp_header h = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL); // of the last peer
        uint32_t edge = h.ack + ((uint32_t)h.window << SCALE);
        assert_true(i == 0 || edge - right < UINT32_MAX / 2);
        right = edge;
        b.now_us += EPOCH_US;
    }
    bench_fini(&b);
}

TEST(share_grows_again_when_the_others_are_done)
{
    uint32_t least, most;
    start(16, false);
    for (int i = 0; i < 40; i++) {
        send_bulk(16, 40, &least, &most);
        b.now_us += EPOCH_US;
    }
    for (int i = 0; i < 3; i++) {
        b.now_us += EPOCH_US;
        send_bulk(1, 200, &least, &most);
    }
    assert_true(least > RING - RING / 4);
    bench_fini(&b);
}

TEST(small_exchanges_take_no_share)
{
    uint32_t least, most;
    start(16, false);
    for (int i = 0; i < 5; i++) {
        send_bulk(1, 200, &least, &most);
        for (unsigned k = 1; k < 16; k++)
            send_from(&peers[k], TCP_ACK, "request", 7);
        b.now_us += EPOCH_US;
    }
    assert_true(least > RING - RING / 4);
    bench_fini(&b);
}

TEST(super_frames_are_not_shared)
{
    uint32_t least, most;
    start(16, true);
    for (int i = 0; i < 10; i++) {
        send_bulk(16, 40, &least, &most);
        b.now_us += EPOCH_US;
    }
    assert_true(least > RING - RING / 4);
    bench_fini(&b);
}

static void
fill_ring(const struct peer *p)
{
    struct iovec iov[2];
    int n = stack_send_iov(b.stack, p->conn, iov);
    size_t room = 0;
    for (int i = 0; i < n; i++) {
        memset(iov[i].iov_base, 'x', iov[i].iov_len);
        room += iov[i].iov_len;
    }
    stack_send_commit(b.stack, p->conn, room);
}

// Takes all frames that the stack has to give, to be acknowledged by their peers. Bytes.
static uint32_t
take_all(void)
{
    uint32_t total = 0;
    b.link_full = false;
    b.sent_most = 64; // what the bench remembers
    do {
        bench_clear(&b);
        stack_unblock(b.stack);
        bench_flush(&b);
        for (size_t i = 0; i < b.sent_count; i++) {
            size_t len;
            struct tcp_header h = bench_sent_tcp(&b, i, NULL, &len);
            peers[h.dst_port - 40000].ack += (uint32_t)len;
            total += (uint32_t)len;
        }
    } while (b.sent_count == b.sent_most);
    return total;
}

TEST(what_the_host_sends_is_shared_too)
{
    start(16, false);
    for (int round = 0; round < 30; round++) {
        for (unsigned i = 0; i < 16; i++)
            fill_ring(&peers[i]);
        uint32_t on_the_way = take_all();
        if (round > 10)
            assert_in_range(on_the_way, QUEUE / 2, QUEUE);
        b.link_full = true; // what the ACKs let go waits for the next round
        for (unsigned i = 0; i < 16; i++)
            send_from(&peers[i], TCP_ACK, NULL, 0);
        b.now_us += EPOCH_US;
    }
    bench_fini(&b);
}

// A share is no less than a few segments, however many there are.
TEST(more_than_share_well_have_the_least)
{
    uint32_t least, most;
    start(40, false);
    for (int i = 0; i < 20; i++) {
        send_bulk(40, 20, &least, &most);
        b.now_us += EPOCH_US;
    }
    assert_true(most <= 32 * 1024 + (1 << SCALE));
    assert_true(least > QUEUE / 40);
    bench_fini(&b);
}

// Told is told: what the host takes opens a shared window no further.
TEST(room_beyond_the_share_is_not_told)
{
    uint32_t least, most;
    start(16, false);
    for (int i = 0; i < 40; i++) {
        send_bulk(16, 20, &least, &most);
        b.now_us += EPOCH_US;
    }
    static char block[1400];
    b.take_most = 0;
    for (int i = 0; i < 10; i++)
        send_from(&peers[0], TCP_ACK, block, sizeof block);
    bench_wait(&b, 5000);
    bench_clear(&b);
    stack_recv_consume(b.stack, peers[0].conn, 700);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(super_frame_of_a_whole_epochs_share_counts_as_bulk)
{
    start(1, true);
    size_t longest = 0;
    for (int round = 0; round < 8; round++) {
        fill_ring(&peers[0]);
        take_all();
        for (size_t i = 0; i < b.sent_count; i++)
            longest = b.sent[i].len > longest ? b.sent[i].len : longest;
        b.link_full = true;
        send_from(&peers[0], TCP_ACK, NULL, 0);
    }
    assert_true(longest > 32 * 1024);
    bench_fini(&b);
}

// Where a segment is as large as a share would be, a share is several: a guest sends no part of a
// segment into a window that has no room for a whole one, and neither do we.
TEST(large_segments_have_room_in_a_share)
{
    static char block[1400];
    start_with(40, false, 65520);
    for (unsigned n = 0; n < 20 * 40; n++) {
        b.data_len = 0;
        bench_clear(&b);
        for (unsigned i = 0; i < 30; i++)
            send_from(&peers[n % 40], TCP_ACK, block, sizeof block);
        bench_wait(&b, 2000); // an ACK of less than a segment waits
        struct tcp_header h = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL);
        assert_true((uint32_t)h.window << SCALE >= 2u * mss);
    }
    for (unsigned i = 0; i < 40; i++)
        fill_ring(&peers[i]);
    assert_true(take_all() >= 40u * mss);
    bench_fini(&b);
}
