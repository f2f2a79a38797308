// SPDX-License-Identifier: BSD-3-Clause
// Every flag combination, in every state of a connection, at every place relative to the window:
// what a blind attacker can send changes nothing (RFC 9293 3.10.7, RFC 5961), nothing is answered
// more than boundedly, and the stack lives on.

#include "rig.h"

#include "../unit/test.h"

#define PORT 40000

enum target {
    LISTENING,
    OPENING, // on_open unanswered
    SYN_SENT,
    SYN_RECEIVED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    CLOSE_WAIT,
    CLOSING,
    LAST_ACK,
    TIME_WAIT,
};

// Offsets from the host's rcv_nxt; its window is RIG_RING.
enum place {
    LEFT_FAR,
    LEFT,
    EDGE_LEFT,
    INSIDE,
    EDGE_RIGHT,
    OUTSIDE,
    FAR,
    PLACES,
};

enum ack_place {
    ACK_OLD_FAR,
    ACK_OLD,
    ACK_NOW,
    ACK_UNSENT,
    ACK_FAR,
    ACK_PLACES,
};

static const uint32_t place_offset[PLACES] = {0u - 200000,  0u - 1000,       0,       500,
                                              RIG_RING - 1, RIG_RING + 5000, 1u << 31};
static const uint32_t ack_offset[ACK_PLACES] = {0u - 500000, 0u - 1, 0, 100000, 1u << 31};

struct scene {
    struct rig rig;
    struct guest guest;
    uint32_t conn;
};

static void
host_connects(struct scene *s)
{
    struct tcp_view v;

    rig_arp(&s->rig);
    s->conn = stack_connect(s->rig.stack, RIG_GUEST, PORT, RIG_PORT, s->rig.now_us);
    assert_true(s->conn < RIG_CONNS);
    s->rig.conn[s->conn] = (struct rig_conn){.open = true};
    stack_flush(s->rig.stack, s->rig.now_us);
    assert_true(rig_find(&s->rig, PORT, SYN, &v));
    s->guest = (struct guest){.rig = &s->rig, .addr = RIG_GUEST, .port = PORT, .seq = 1000000};
    s->guest.ack = v.seq + 1;
}

static void
host_shuts_down(struct scene *s)
{
    rig_shutdown(&s->rig, s->conn);
    stack_flush(s->rig.stack, s->rig.now_us);
}

// Brings a connection from PORT into a state; guest.seq is the host's rcv_nxt, guest.ack its
// snd_nxt.
static void
set_scene(struct scene *s, enum target target)
{
    struct tcp_view v;

    rig_init(&s->rig, 0);
    s->rig.hold_opens = target == OPENING;
    s->rig.keep_silent = target == CLOSE_WAIT;
    s->guest = (struct guest){.rig = &s->rig, .addr = RIG_GUEST, .port = PORT, .seq = 1000000};
    switch (target) {
    case LISTENING:
        return;
    case SYN_SENT:
        host_connects(s);
        return;
    case OPENING:
    case SYN_RECEIVED:
        guest_syn(&s->guest, &s->rig, PORT);
        s->conn = s->rig.last_conn;
        if (rig_find(&s->rig, PORT, SYN | ACK, &v))
            s->guest.ack = v.seq + 1;
        return;
    case ESTABLISHED:
    case FIN_WAIT_1:
    case FIN_WAIT_2:
    case CLOSE_WAIT:
    case CLOSING:
    case LAST_ACK:
    case TIME_WAIT:
        break;
    }
    guest_connect(&s->guest, &s->rig, PORT);
    s->conn = s->rig.last_conn;
    if (target == CLOSE_WAIT || target == LAST_ACK)
        guest_send(&s->guest, FIN | ACK, NULL, 0);
    if (target == LAST_ACK)
        s->guest.ack++;
    if (target != FIN_WAIT_1 && target != FIN_WAIT_2 && target != CLOSING && target != TIME_WAIT)
        return;
    host_shuts_down(s);
    if (target == CLOSING)
        guest_send(&s->guest, FIN | ACK, NULL, 0);
    s->guest.ack++; // of the host's FIN
    if (target == FIN_WAIT_2)
        guest_send(&s->guest, ACK, NULL, 0);
    if (target == TIME_WAIT)
        guest_send(&s->guest, FIN | ACK, NULL, 0);
}

// True when RFC 9293 and 5961 let this segment change nothing.
static bool
must_be_harmless(enum target target, uint8_t flags, enum place place, enum ack_place ack,
                 size_t len)
{
    bool in_window = place == EDGE_LEFT || place == INSIDE || place == EDGE_RIGHT;
    bool ack_ok = ack == ACK_OLD || ack == ACK_NOW;

    if (target < SYN_RECEIVED)
        return false;
    if (target == TIME_WAIT)
        return !(flags & SYN);
    if (flags & RST)
        return place != EDGE_LEFT;
    if (flags & SYN)
        return target != SYN_RECEIVED;
    if (!(flags & ACK))
        return true;
    if (target == SYN_RECEIVED && ack != ACK_NOW)
        return true;
    if (!in_window && !(place == LEFT && len == 0))
        return place != LEFT;
    return !ack_ok;
}

// The answers of one segment: few, and never RST to RST.
static void
check_answers(struct scene *s, uint8_t flags)
{
    struct tcp_view v;

    assert_true(rig_count(&s->rig, PORT) <= 3);
    if (flags & RST && rig_find(&s->rig, PORT, RST, &v))
        fail_msg("a RST is answered by a RST");
}

static void
try_segment(enum target target, uint8_t flags, enum place place, enum ack_place ack, size_t len)
{
    static const uint8_t payload[100] = "hostile";
    struct scene *s = malloc(sizeof(*s));
    struct segment_spec spec = {.sport = PORT,
                                .flags = flags,
                                .window = 1000,
                                .urgent = 3,
                                .payload = payload,
                                .payload_len = len};
    bool harmless = must_be_harmless(target, flags, place, ack, len);
    uint32_t closes, live;

    set_scene(s, target);
    rig_clear(&s->rig);
    closes = s->rig.closes;
    live = stack_conn_count(s->rig.stack);
    spec.seq = s->guest.seq + place_offset[place];
    spec.ack = s->guest.ack + ack_offset[ack];
    rig_send(&s->rig, &spec);
    check_answers(s, flags);
    if (harmless && (s->rig.closes != closes || stack_conn_count(s->rig.stack) != live ||
                     s->rig.stream_len != 0))
        fail_msg("state %d, flags %02x, place %d, ack %d, len %zu: changes the connection", target,
                 flags, place, ack, len);
    if (harmless && target == ESTABLISHED)
        guest_echo(&s->guest, 200);
    rig_assert_alive(&s->rig);
    rig_fini(&s->rig);
    free(s);
}

static void
try_state(enum target target)
{
    static const size_t lengths[] = {0, 1, 100};

    for (unsigned flags = 0; flags < 64; flags++)
        for (int place = 0; place < PLACES; place++)
            for (int ack = 0; ack < ACK_PLACES; ack++)
                for (int i = 0; i < 3; i++)
                    try_segment(target, (uint8_t)flags, (enum place)place, (enum ack_place)ack,
                                lengths[i]);
}

TEST(hostile_segments_to_no_connection)
{
    try_state(LISTENING);
}

TEST(hostile_segments_while_the_host_end_opens)
{
    try_state(OPENING);
}

TEST(hostile_segments_in_syn_sent)
{
    try_state(SYN_SENT);
}

TEST(hostile_segments_in_syn_received)
{
    try_state(SYN_RECEIVED);
}

TEST(hostile_segments_in_established)
{
    try_state(ESTABLISHED);
}

TEST(hostile_segments_in_fin_wait_1)
{
    try_state(FIN_WAIT_1);
}

TEST(hostile_segments_in_fin_wait_2)
{
    try_state(FIN_WAIT_2);
}

TEST(hostile_segments_in_close_wait)
{
    try_state(CLOSE_WAIT);
}

TEST(hostile_segments_in_closing)
{
    try_state(CLOSING);
}

TEST(hostile_segments_in_last_ack)
{
    try_state(LAST_ACK);
}

TEST(hostile_segments_in_time_wait)
{
    try_state(TIME_WAIT);
}
