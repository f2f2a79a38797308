// SPDX-License-Identifier: BSD-3-Clause
// TCP sequences against a model. The input is a program of segments relative to where the
// connection stands (so that most of it gets somewhere), of passing time, and of what host and link
// do. The model knows little, and that for certain: which bytes each side has written, which the
// guest may have been sent, and what may never be taken back.
//
// Input: mtu and ring, then operations of a byte and what belongs to it (see run_op).
#include "fuzz.h"
#include "packet.h"

#include "stack/stack.h"

#define PORT      600
#define PENDING   16
#define SPAN      (1u << 18) // bytes of the guest's stream that the model remembers
#define HOST_SPAN (1u << 17) // the host's bytes repeat
#define OPS_MAX   400
#define SECOND_US 1000000ull

// Loops over each byte, whose branches tell the fuzzer nothing and took half of its time.
#ifdef __clang__
#define NOT_FOLLOWED __attribute__((no_sanitize("coverage")))
#else
#define NOT_FOLLOWED
#endif

// What is known of the connection from guest port 40000; `fresh` is the one that must work in the
// end.
struct model {
    bool open;  // told on_open or made by stack_connect, not told on_closed
    bool asked; // on_open is unanswered
    bool established;
    bool lost;   // the model cannot tell any more
    bool doomed; // takes no more bytes, and its window closes
    uint32_t conn;
    // the guest's half
    bool has_irs;
    uint32_t irs;           // the guest's SYN
    uint32_t seq;           // where a guest that obeys goes on
    uint8_t sent[SPAN / 8]; // bytes of the stream that were sent, as bits; 0 is the SYN
    uint64_t fin_at;        // offset of a FIN that was sent, the lowest; UINT64_MAX: none
    bool tampered;          // other bytes than the stream's were sent
    uint32_t received;      // by the host
    bool scales;            // the guest's SYN said so
    uint32_t guest_wscale;
    // our half
    bool has_iss;
    uint32_t iss;
    uint32_t ack;          // what the guest has in order
    uint32_t sent_end;     // right edge of what we sent, relative to iss
    uint32_t allowed;      // right edge of what the guest ever allowed, likewise
    uint32_t written;      // by the host
    bool shut;             // the host's stack_shutdown
    bool has_acked;        // we acknowledged something
    uint32_t acked, right; // our last ACK, and the right edge we told, relative to irs
    uint32_t our_wscale;
};

struct world {
    struct stack *stack;
    uint64_t now_us;
    uint32_t ring_bytes;
    bool link_full, hold, refuse;
    size_t take_most;  // by on_data
    uint32_t attached; // conns that were told and not closed
    struct model main, fresh;
    struct tcp_header last; // of the guest's segments
    size_t last_len;
    uint64_t emitted;
    size_t held;
    struct {
        uint8_t bytes[FUZZ_FRAME];
        struct iovec iov;
    } frames[PENDING]; // of this turn
};

NOT_FOLLOWED static uint8_t
guest_byte(uint32_t seq)
{
    return (uint8_t)(seq * 167 ^ seq >> 7 ^ seq >> 15);
}

NOT_FOLLOWED static uint8_t
host_byte(uint32_t at)
{
    return (uint8_t)(at * 211 ^ at >> 9);
}

// The host's stream from `at` on; by memcpy, so that its bytes are not checked one by one.
NOT_FOLLOWED static void
host_bytes(uint32_t at, uint8_t *out, size_t len)
{
    static uint8_t stream[HOST_SPAN];
    if (stream[1] != host_byte(1))
        for (uint32_t i = 0; i < HOST_SPAN; i++)
            stream[i] = host_byte(i);
    for (size_t n; len > 0; len -= n, at += (uint32_t)n, out += n) {
        n = HOST_SPAN - at % HOST_SPAN < len ? HOST_SPAN - at % HOST_SPAN : len;
        memcpy(out, stream + at % HOST_SPAN, n);
    }
}

NOT_FOLLOWED static bool
is_host_bytes(uint32_t at, const uint8_t *bytes, size_t len)
{
    uint8_t expected[2048];
    for (size_t n; len > 0; len -= n, at += (uint32_t)n, bytes += n) {
        n = len < sizeof(expected) ? len : sizeof(expected);
        host_bytes(at, expected, n);
        if (memcmp(bytes, expected, n) != 0)
            return false;
    }
    return true;
}

static struct model *
model_of(struct world *w, uint16_t guest_port)
{
    return guest_port == 40000 ? &w->main : guest_port == 50000 ? &w->fresh : NULL;
}

static struct model *
model_of_conn(struct world *w, uint32_t conn)
{
    struct stack_peer peer;
    stack_peer_of(w->stack, conn, &peer);
    struct model *m = model_of(w, peer.port);
    assert(m);
    return m;
}

NOT_FOLLOWED static bool
was_sent(const struct model *m, uint32_t at)
{
    return at >= SPAN || (m->sent[at / 8] & (1u << at % 8));
}

// --- what the model makes of a segment -----------------------------------------------------------

NOT_FOLLOWED static void
note_payload(struct model *m, const struct tcp_header *h, size_t len)
{
    uint32_t at = h->seq - m->irs + (h->flags & TCP_SYN ? 1 : 0);
    for (uint32_t i = 0; i < len; i++)
        if (at + i < SPAN)
            m->sent[(at + i) / 8] |= (uint8_t)(1u << (at + i) % 8);
    uint32_t fin = at + (uint32_t)len; // all modulo 2^32: it may begin before the stream does
    if (h->flags & TCP_FIN && fin < SPAN && fin < m->fin_at)
        m->fin_at = fin;
}

static void
note_syn(struct model *m, const struct tcp_header *h)
{
    m->has_irs = true;
    m->irs = h->seq;
    m->seq = h->seq + 1;
    m->allowed = 1u + h->window;
    m->scales = h->wscale >= 0;
    m->guest_wscale = (uint32_t)(h->wscale > 0 ? h->wscale : 0);
    m->sent[0] |= 1;
}

// Before the stack sees it: what is to be expected from now on.
static void
note_segment(struct model *m, const struct tcp_header *h, size_t len)
{
    if (!m->open)
        return; // a connection that it opens is noted by on_open
    bool is_answer = h->flags & TCP_SYN && !(h->flags & TCP_RST);
    if (!m->has_irs && is_answer && (!(h->flags & TCP_ACK) || h->ack == m->iss + 1)) {
        m->lost = !m->has_iss; // to a SYN of ours that the link has not taken yet
        note_syn(m, h);
    }
    if (m->has_irs)
        note_payload(m, h, len);
    uint32_t edge = h->ack - m->iss + ((uint32_t)h->window << m->guest_wscale);
    if (h->flags & TCP_ACK && h->ack - m->iss <= m->sent_end && edge > m->allowed)
        m->allowed = edge;
}

// --- what the stack says -------------------------------------------------------------------------

NOT_FOLLOWED static void
check_payload(struct world *w, struct model *m, const struct tcp_header *h, const uint8_t *payload,
              size_t len)
{
    uint32_t at = h->seq - m->iss; // 0: the SYN, the stream begins at 1
    uint32_t end = at + (uint32_t)len;
    if (len > 0) {
        assert(at >= 1 && end - 1 <= m->written);
        assert(end <= m->allowed);
        assert(is_host_bytes(at - 1, payload, len));
    }
    if (h->flags & TCP_FIN) {
        assert(m->shut && end - 1 == m->written);
        end++;
    }
    if (end > m->sent_end && end <= m->written + 2) // SYN and FIN; not one below the stream
        m->sent_end = end;
    if (at <= m->ack - m->iss && m->ack - m->iss < end)
        m->ack = m->iss + end;
}

// An ACK is for what was sent, without a gap, and neither it nor the window is ever taken back.
static void
check_ack(struct model *m, const struct tcp_header *h)
{
    uint32_t acked = h->ack - m->irs;
    assert(acked >= 1);
    if (acked >= SPAN)
        return;
    for (uint32_t at = m->has_acked ? m->acked : 0; at < acked; at++)
        assert(was_sent(m, at) || at >= m->fin_at);
    assert(!m->has_acked || acked >= m->acked);
    uint32_t scale = m->scales ? m->our_wscale : 0;
    uint32_t right = acked + ((uint32_t)h->window << scale);
    assert(!m->has_acked || m->doomed ||
           right + (1u << scale) > m->right); // rounded down to its scale
    m->right = m->has_acked && m->right > right ? m->right : right;
    m->acked = acked;
    m->has_acked = true;
}

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct world *w = ctx;
    struct tcp_header h;
    const uint8_t *payload;
    size_t len;
    if (w->link_full)
        return false;
    w->emitted++;
    if (!fuzz_check_sent(frame, &h, &payload, &len))
        return true;
    struct model *m = model_of(w, h.dst_port);
    if (!m || h.flags & TCP_RST)
        return true;
    if (h.flags & TCP_SYN) {
        m->iss = h.seq;
        m->has_iss = true;
        m->ack = h.seq + 1;
        m->sent_end = m->sent_end ? m->sent_end : 1;
        m->our_wscale = h.wscale > 0 ? (uint32_t)h.wscale : 0;
        assert(len == 0 && !(h.flags & TCP_FIN));
        assert(!(h.flags & TCP_ACK) || m->lost || h.ack == m->irs + 1);
        return true;
    }
    if (!m->has_iss || !m->has_irs || !m->open || m->lost)
        return true; // TIME-WAIT, or a connection that the model has lost sight of
    assert(h.flags & TCP_ACK);
    check_payload(w, m, &h, payload, len);
    check_ack(m, &h);
    return true;
}

static bool
on_port(void *ctx, uint16_t port)
{
    return port == PORT;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    struct world *w = ctx;
    struct model *m = model_of(w, peer->port);
    assert(m && !m->open && peer->addr == FUZZ_GUEST && peer->local_port == PORT);
    *m = (struct model){.open = true, .asked = true, .conn = conn, .fin_at = UINT64_MAX};
    note_syn(m, &w->last);
    note_payload(m, &w->last, w->last_len);
    w->attached++;
    if (w->hold && m == &w->main)
        return;
    m->asked = false;
    if (!w->refuse || m == &w->fresh) {
        stack_accept(w->stack, conn, w->now_us);
        return;
    }
    m->open = false;
    w->attached--;
    stack_reject(w->stack, conn, w->now_us);
}

static void
on_established(void *ctx, uint32_t conn)
{
    struct world *w = ctx;
    struct model *m = model_of_conn(w, conn);
    assert(m->open && !m->established && m->conn == conn);
    m->established = true;
}

NOT_FOLLOWED static void
receive(struct world *w, struct model *m, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len && !m->lost; i++) {
        uint32_t at = m->received + 1;
        assert(was_sent(m, at) || at >= m->fin_at);
        if (!m->tampered)
            assert(data[i] == guest_byte(m->irs + at));
        m->received++;
    }
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct world *w = ctx;
    struct model *m = model_of_conn(w, conn);
    size_t taken = 0;
    for (int i = 0; i < iovcnt && taken < w->take_most; i++) {
        size_t n = iov[i].iov_len < w->take_most - taken ? iov[i].iov_len : w->take_most - taken;
        receive(w, m, iov[i].iov_base, n);
        taken += n;
    }
    return taken;
}

static void
on_ready(void *ctx, uint32_t conn)
{
    assert(model_of_conn(ctx, conn)->conn == conn);
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct world *w = ctx;
    struct model *m = w->main.open && w->main.conn == conn ? &w->main : &w->fresh;
    assert(m->open && m->conn == conn);
    assert(reason <= STACK_EVICTED);
    m->open = m->asked = m->established = false;
    w->attached--;
}

static const struct stack_ops ops = {.on_emit = on_emit,
                                     .on_port = on_port,
                                     .on_open = on_open,
                                     .on_established = on_established,
                                     .on_data = on_data,
                                     .on_readable = on_ready,
                                     .on_writable = on_ready,
                                     .on_closed = on_closed};

// --- what the guest does -------------------------------------------------------------------------

static void
flush(struct world *w)
{
    uint64_t before = w->emitted;
    stack_flush(w->stack, w->now_us);
    // No more than there can be to say: the smallest MSS, without what SACK blocks take of it.
    assert(w->emitted - before <= w->ring_bytes / (64 - tcp_sack_bytes(TCP_SACK_MAX)) + 100);
    w->held = 0;
}

static void
send_segment(struct world *w, struct tcp_header h, const uint8_t *raw, size_t raw_len, size_t len,
             bool tamper)
{
    struct model *m = model_of(w, h.src_port);
    uint8_t payload[1500];
    for (size_t i = 0; i < len; i++)
        payload[i] = (uint8_t)(guest_byte(h.seq + (h.flags & TCP_SYN ? 1 : 0) + (uint32_t)i) ^
                               (tamper ? 0x55 : 0));
    note_segment(m, &h, len);
    m->tampered |= tamper && len > 0;
    w->last = h;
    w->last_len = len;
    if (w->held == PENDING)
        flush(w);
    uint8_t *bytes = w->frames[w->held].bytes;
    size_t n = fuzz_segment(h, raw, raw_len, payload, len, bytes);
    w->frames[w->held].iov = (struct iovec){bytes, n};
    const struct frame frame = {.iov = &w->frames[w->held].iov, .iovcnt = 1, .len = n};
    w->held++;
    stack_input(w->stack, &frame, w->now_us);
}

static void
send_arp(struct world *w)
{
    uint8_t bytes[FUZZ_FRAME];
    size_t n = fuzz_arp(bytes);
    struct iovec iov = {bytes, n};
    stack_input(w->stack, &(struct frame){.iov = &iov, .iovcnt = 1, .len = n}, w->now_us);
}

static uint32_t
nearby(struct cursor *c)
{
    return cursor_u16(c) - 0x8000u;
}

// Offsets from where the guest stands, by three bits; the last: two bytes of the input.
static uint32_t
place(struct cursor *c, unsigned which, uint32_t window)
{
    switch (which & 7) {
    case 0:
    case 1:
        return 0;
    case 2:
        return UINT32_MAX;
    case 3:
        return 1;
    case 4:
        return window - 1;
    case 5:
        return window + 1;
    case 6:
        return 1u << 31;
    default:
        return nearby(c);
    }
}

static void
add_options(struct cursor *c, struct tcp_header *h, const struct model *m, uint8_t which,
            uint8_t raw[40], size_t *raw_len)
{
    if (which & 1)
        h->mss = cursor_u16(c);
    if (which & 2)
        h->wscale = (int8_t)(cursor_u8(c) & 15);
    h->sack_permitted = which & 4;
    h->sack_count = which >> 4 & 3;
    for (unsigned i = 0; i < h->sack_count; i++) {
        h->sack[i].left = m->ack + nearby(c);
        h->sack[i].right = h->sack[i].left + nearby(c);
    }
    if (which & 0x40) {
        *raw_len = cursor_u8(c) % 41u;
        if (*raw_len > c->left)
            *raw_len = c->left;
        cursor_bytes(c, raw, *raw_len);
    }
    // What the segment says, and the model reads, is what tcp_emit writes.
    if (!(h->flags & TCP_SYN) || *raw_len > 0)
        h->wscale = -1;
    if (h->wscale > TCP_WSCALE_MAX)
        h->wscale = TCP_WSCALE_MAX;
}

static void
op_segment(struct world *w, struct cursor *c)
{
    static const uint16_t lengths[] = {0, 0, 1, 2, 48, 536, 1400};
    static const uint16_t windows[] = {65535, 0, 1, 1000};
    struct model *m = &w->main;
    uint8_t raw[40];
    size_t raw_len = 0;
    uint8_t flags = cursor_u8(c), where = cursor_u8(c), what = cursor_u8(c);
    struct tcp_header h = {.src_port = 40000, .dst_port = PORT, .wscale = -1};
    h.flags = flags & 63;
    h.seq = m->seq + place(c, where, w->ring_bytes);
    h.ack = m->ack + place(c, where >> 3, 100000);
    h.window = windows[where >> 6];
    size_t len = (what & 7) < 7 ? lengths[what & 7] : cursor_u8(c);
    if (what & 8)
        h.urgent = cursor_u16(c);
    if (what & 16)
        add_options(c, &h, m, cursor_u8(c), raw, &raw_len);
    if (raw_len > 0 && h.flags & TCP_SYN)
        raw_len = 0; // the model would not know what they say
    send_segment(w, h, raw, raw_len, len, what & 32);
    if (what & 128) // goes on behind it
        m->seq = h.seq + (uint32_t)len + (h.flags & TCP_SYN ? 1 : 0) + (h.flags & TCP_FIN ? 1 : 0);
    if (!(what & 64))
        flush(w);
}

// --- what host, link and clock do ----------------------------------------------------------------

static void
op_wait(struct world *w, struct cursor *c)
{
    static const uint64_t times_us[] = {
        1000,          40000,          200000,          SECOND_US,
        SECOND_US * 3, SECOND_US * 20, SECOND_US * 100, SECOND_US * 8000};
    unsigned which = cursor_u8(c) & 7;
    // Behind a full link each connection looks up five times a second, which takes its time here.
    uint64_t end = w->now_us + times_us[w->link_full && which > 4 ? 4 : which];
    flush(w); // a turn ends before time passes
    uint64_t most = (end - w->now_us) / 100000 + 1000;
    for (uint64_t n = 0; stack_next_deadline(w->stack) <= end; n++) {
        uint64_t next = stack_next_deadline(w->stack);
        assert(n < most); // timers that come again and again at the same time
        w->now_us = next > w->now_us ? next : w->now_us + 1;
        stack_timers(w->stack, w->now_us);
        flush(w);
    }
    w->now_us = end;
}

NOT_FOLLOWED static void
host_writes(struct world *w, struct model *m, size_t len)
{
    struct iovec iov[2];
    size_t done = 0;
    int n = stack_send_iov(w->stack, m->conn, iov);
    assert(n >= 0 && n <= 2);
    for (int i = 0; i < n && done < len; i++) {
        size_t some = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
        host_bytes(m->written + (uint32_t)done, iov[i].iov_base, some);
        done += some;
    }
    m->written += (uint32_t)done;
    stack_send_commit(w->stack, m->conn, done);
}

static void
host_takes(struct world *w, struct model *m, size_t most)
{
    struct iovec iov[2];
    size_t taken = 0;
    int n = stack_recv_iov(w->stack, m->conn, iov);
    assert(n >= 0 && n <= 2);
    for (int i = 0; i < n && taken < most; i++) {
        size_t len = iov[i].iov_len < most - taken ? iov[i].iov_len : most - taken;
        receive(w, m, iov[i].iov_base, len);
        taken += len;
    }
    if (taken > 0)
        stack_recv_consume(w->stack, m->conn, taken);
}

static void
op_host(struct world *w, struct cursor *c, unsigned which)
{
    struct model *m = &w->main;
    uint16_t n = cursor_u16(c);
    if (!m->open || m->asked)
        return;
    switch (which) {
    case 0:
        if (!m->shut)
            host_writes(w, m, n);
        break;
    case 1:
        host_takes(w, m, n);
        break;
    case 2:
        m->shut = true;
        stack_shutdown(w->stack, m->conn);
        break;
    case 3:
        if (n % 4 == 0)
            stack_abort(w->stack, m->conn, w->now_us);
        else if (n % 4 == 1) {
            m->doomed = true;
            stack_abort_after_send(w->stack, m->conn, w->now_us);
        } else if (m->shut && stack_recv_at_end(w->stack, m->conn))
            stack_orphan(w->stack, m->conn);
        break;
    }
    flush(w);
}

static void
op_answer(struct world *w, struct cursor *c)
{
    struct model *m = &w->main;
    uint8_t how = cursor_u8(c);
    w->hold = how & 1;
    w->refuse = how & 2;
    if (!m->asked)
        return;
    m->asked = false;
    if (how & 4) {
        m->open = false;
        w->attached--;
        stack_reject(w->stack, m->conn, w->now_us);
    } else {
        stack_accept(w->stack, m->conn, w->now_us);
    }
    flush(w);
}

static void
op_connect(struct world *w)
{
    struct model *m = &w->main;
    if (m->open)
        return;
    *m = (struct model){.fin_at = UINT64_MAX};
    uint32_t conn = stack_connect(w->stack, FUZZ_GUEST, 40000, PORT, w->now_us);
    if (conn == STACK_NO_CONN)
        return;
    m->open = true;
    m->conn = conn;
    w->attached++;
    flush(w);
}

static void
op_link(struct world *w, struct cursor *c)
{
    uint8_t how = cursor_u8(c);
    w->link_full = how & 1;
    if (!w->link_full)
        stack_unblock(w->stack);
    if (how & 2)
        w->take_most = how >> 2 == 63 ? SIZE_MAX : (size_t)(how >> 2) * 100;
    if ((how & 0xfe) == 0xf0)
        stack_set_link(w->stack, 1500, true, true, true);
    flush(w);
}

static void
run_op(struct world *w, struct cursor *c)
{
    uint8_t op = cursor_u8(c) & 15;
    switch (op) {
    case 8:
        op_wait(w, c);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        op_host(w, c, op - 9u);
        break;
    case 13:
        op_link(w, c);
        break;
    case 14:
        op_answer(w, c);
        break;
    case 15:
        flush(w);
        op_connect(w);
        break;
    default:
        op_segment(w, c);
    }
}

// --- and then ------------------------------------------------------------------------------------

// A guest that obeys connects, says eight bytes and hears them.
static void
converse(struct world *w)
{
    struct model *m = &w->fresh;
    struct tcp_header h = {.src_port = 50000,
                           .dst_port = PORT,
                           .seq = 7,
                           .flags = TCP_SYN,
                           .window = 65535,
                           .wscale = -1};
    w->link_full = false;
    w->take_most = SIZE_MAX;
    flush(w);
    stack_unblock(w->stack);
    flush(w);
    send_arp(w);
    send_segment(w, h, NULL, 0, 0, false);
    flush(w);
    assert(m->open && m->has_iss);
    h.flags = TCP_ACK;
    h.seq = 8;
    h.ack = m->ack;
    send_segment(w, h, NULL, 0, 8, false);
    flush(w);
    assert(m->established && m->received == 8);
    host_writes(w, m, 8);
    flush(w);
    assert(m->ack == m->iss + 9 && m->acked == 9);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(data, size);
    static struct world w;
    memset(&w, 0, sizeof(w));
    uint8_t how = cursor_u8(&c);
    w.ring_bytes = how & 1 ? 4096 : how & 2 ? 65536 : 131072;
    w.now_us = 5 * SECOND_US;
    w.take_most = SIZE_MAX;
    w.main.fin_at = w.fresh.fin_at = UINT64_MAX;
    w.main.seq = how & 4 ? UINT32_MAX - 100 : 1000;
    const struct stack_config config = {.mac = fuzz_our_mac,
                                        .addr = FUZZ_US,
                                        .guest_addr = FUZZ_GUEST,
                                        .netmask = 0xffffff00,
                                        .mtu = how & 8 ? 576 : 1500,
                                        .csum_offload = how & 16,
                                        .tso = how & 32,
                                        .max_conns = 8,
                                        .max_half_open = 4,
                                        .ring_bytes = w.ring_bytes,
                                        .secret = {1, 2}};
    w.stack = stack_new(&config, &ops, &w, w.now_us);
    assert(w.stack);
    if (how & 64)
        send_arp(&w);
    for (unsigned i = 0; i < OPS_MAX && c.left > 0; i++)
        run_op(&w, &c);
    converse(&w);
    stack_link_down(w.stack);
    assert(w.attached == 0 && !w.main.open && !w.fresh.open);
    stack_free(w.stack);
    return 0;
}
