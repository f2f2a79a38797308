// SPDX-License-Identifier: BSD-3-Clause
// The bench's two sides: a host that echoes, and guests that are built segment by segment. What is
// sent and what must come of it is the tests'.

#include "rig.h"

#include "../unit/test.h"

#include <assert.h>

#define FRESH_PORT 61000
#define RUNS_MAX   1000000 // timer runs in one rig_run: more is a spin

static const uint8_t syn_options[] = {2, 4, 5, 180, 4, 2, 3, 3, 1, 0, 0, 0};

// --- the host ------------------------------------------------------------------------------------

static bool
on_emit(void *ctx, const struct frame *f)
{
    struct rig *r = ctx;
    struct packet *p = packet_new(f->len);
    size_t at = 0;

    for (int i = 0; i < f->iovcnt; i++) {
        memcpy(p->data + at, f->iov[i].iov_base, f->iov[i].iov_len);
        at += f->iov[i].iov_len;
    }
    p->csum = f->csum;
    assert_int_equal(at, f->len);
    if (packet_complaint(p))
        fail_msg("emitted frame is wrong: %s", packet_complaint(p));
    r->frames++;
    if (r->sent_count == RIG_SENT_MAX)
        free(p);
    else
        r->sent[r->sent_count++] = p;
    return true;
}

static bool
on_port(void *ctx, uint16_t port)
{
    (void)ctx;
    return port == RIG_PORT;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    struct rig *r = ctx;

    assert_true(conn < RIG_CONNS);
    assert_false(r->conn[conn].open);
    r->opens++;
    r->last_conn = conn;
    if (r->refuse) {
        stack_reject(r->stack, conn, r->now_us);
        return;
    }
    r->conn[conn] = (struct rig_conn){.open = true, .peer = *peer};
    if (!r->hold_opens)
        stack_accept(r->stack, conn, r->now_us);
}

static struct rig_conn *
conn_of(struct rig *r, uint32_t conn)
{
    assert_true(conn < RIG_CONNS && r->conn[conn].open);
    return &r->conn[conn];
}

static void
on_established(void *ctx, uint32_t conn)
{
    assert_false(conn_of(ctx, conn)->established);
    conn_of(ctx, conn)->established = true;
}

void
rig_shutdown(struct rig *r, uint32_t conn)
{
    if (conn_of(r, conn)->shut)
        return;
    conn_of(r, conn)->shut = true;
    stack_shutdown(r->stack, conn);
}

// Echoes as much as the send ring takes; returns how much that was.
static size_t
echo(struct rig *r, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    bool silent = r->keep_silent || conn_of(r, conn)->shut;
    size_t taken = 0;

    for (int i = 0; i < iovcnt; i++) {
        const uint8_t *bytes = iov[i].iov_base;
        struct iovec room[2];
        size_t left = iov[i].iov_len;

        while (left > 0) {
            int n = silent ? 0 : stack_send_iov(r->stack, conn, room);
            size_t part = n > 0 && room[0].iov_len < left ? room[0].iov_len : left;

            if (n == 0 && !silent)
                return taken;
            if (n > 0) {
                memcpy(room[0].iov_base, bytes, part);
                stack_send_commit(r->stack, conn, part);
            }
            if (r->stream_len + part <= RIG_STREAM)
                memcpy(r->stream + r->stream_len, bytes, part);
            r->stream_len += part;
            conn_of(r, conn)->received += part;
            bytes += part;
            left -= part;
            taken += part;
        }
    }
    return taken;
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct rig *r = ctx;

    assert_true(conn_of(r, conn)->established);
    assert_false(conn_of(r, conn)->at_end);
    return r->stall ? 0 : echo(r, conn, iov, iovcnt);
}

static void
drain(struct rig *r, uint32_t conn)
{
    struct iovec iov[2];
    int n = stack_recv_iov(r->stack, conn, iov);
    size_t taken = r->stall || n == 0 ? 0 : echo(r, conn, iov, n);

    if (taken > 0)
        stack_recv_consume(r->stack, conn, taken);
    if (!conn_of(r, conn)->at_end && stack_recv_at_end(r->stack, conn)) {
        conn_of(r, conn)->at_end = true;
        if (!r->keep_silent)
            rig_shutdown(r, conn);
    }
}

static void
on_ready(void *ctx, uint32_t conn)
{
    conn_of(ctx, conn);
    drain(ctx, conn);
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct rig *r = ctx;

    conn_of(r, conn)->open = false;
    r->closes++;
    r->reason = reason;
}

void
rig_init(struct rig *r, uint32_t max_half_open)
{
    static const struct stack_ops ops = {
        .on_emit = on_emit,
        .on_port = on_port,
        .on_open = on_open,
        .on_established = on_established,
        .on_data = on_data,
        .on_readable = on_ready,
        .on_writable = on_ready,
        .on_closed = on_closed,
    };
    const struct stack_config config = {
        .mac = {{2, 0, 0, 0, 0, 1}},
        .addr = RIG_HOST,
        .guest_addr = RIG_GUEST,
        .netmask = 0xffffff00,
        .mtu = 1500,
        .max_conns = RIG_CONNS,
        .max_half_open = max_half_open ? max_half_open : 64,
        .ring_bytes = RIG_RING,
        .secret = {1, 2},
    };

    memset(r, 0, sizeof(*r));
    r->now_us = 1000 * RIG_SECOND_US;
    r->stack = stack_new(&config, &ops, r, r->now_us);
    assert_non_null(r->stack);
}

void
rig_fini(struct rig *r)
{
    rig_clear(r);
    stack_free(r->stack);
}

void
rig_clear(struct rig *r)
{
    for (size_t i = 0; i < r->sent_count; i++)
        free(r->sent[i]);
    r->sent_count = 0;
}

void
rig_run(struct rig *r, uint64_t us)
{
    uint64_t until = r->now_us + us;

    for (int runs = 0; stack_next_deadline(r->stack) <= until; runs++) {
        assert_true(runs < RUNS_MAX);
        if (stack_next_deadline(r->stack) > r->now_us)
            r->now_us = stack_next_deadline(r->stack);
        stack_timers(r->stack, r->now_us);
        stack_flush(r->stack, r->now_us);
    }
    r->now_us = until;
}

void
rig_unstall(struct rig *r)
{
    r->stall = false;
    for (uint32_t i = 0; i < RIG_CONNS; i++)
        if (r->conn[i].open && r->conn[i].established)
            drain(r, i);
    stack_flush(r->stack, r->now_us);
}

bool
rig_find(const struct rig *r, uint16_t port, uint8_t flags, struct tcp_view *out)
{
    for (size_t i = r->sent_count; i > 0; i--)
        if (packet_tcp(r->sent[i - 1], out) && out->dport == port && (out->flags & flags) == flags)
            return true;
    return false;
}

size_t
rig_count(const struct rig *r, uint16_t port)
{
    struct tcp_view v;
    size_t n = 0;

    for (size_t i = 0; i < r->sent_count; i++)
        n += packet_tcp(r->sent[i], &v) && v.dport == port;
    return n;
}

// --- segments ------------------------------------------------------------------------------------

static void
put_headers(struct packet *p, const struct segment_spec *spec)
{
    static const uint8_t ether[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};

    memset(p->data, 0, p->len);
    memcpy(p->data, ether, sizeof(ether));
    p->data[14] = 0x45;
    packet_put16(p, 16, (uint16_t)(p->len - 14));
    p->data[22] = 64;
    p->data[23] = 6;
    packet_put32(p, 26, spec->src ? spec->src : RIG_GUEST);
    packet_put32(p, 30, RIG_HOST);
    packet_put16(p, 34, spec->sport);
    packet_put16(p, 36, spec->dport ? spec->dport : RIG_PORT);
    packet_put32(p, 38, spec->seq);
    packet_put32(p, 42, spec->ack);
    p->data[46] = (uint8_t)((5 + spec->options_len / 4) << 4);
    p->data[47] = spec->flags;
    packet_put16(p, 48, spec->window);
    packet_put16(p, 52, spec->urgent);
}

static uint16_t
sum(const struct packet *p, size_t at, size_t len, uint32_t start)
{
    uint32_t s = start;

    for (size_t i = 0; i < len; i++)
        s += i % 2 ? p->data[at + i] : (uint32_t)p->data[at + i] << 8;
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)s;
}

void
rig_send(struct rig *r, const struct segment_spec *spec)
{
    struct packet *p = packet_new(54 + spec->options_len + spec->payload_len);
    size_t l4_len = p->len - 34;
    struct iovec iov = {p->data, p->len};
    struct frame f = {.iov = &iov, .iovcnt = 1, .len = p->len};

    put_headers(p, spec);
    if (spec->options_len > 0)
        memcpy(p->data + 54, spec->options, spec->options_len);
    if (spec->payload_len > 0)
        memcpy(p->data + 54 + spec->options_len, spec->payload, spec->payload_len);
    if (spec->data_offset)
        p->data[46] = (uint8_t)(spec->data_offset << 4);
    packet_put16(p, 24, (uint16_t)~sum(p, 14, 20, 0));
    packet_put16(p, 50, (uint16_t)~sum(p, 34, l4_len, sum(p, 26, 8, (uint32_t)(6 + l4_len))));
    stack_input(r->stack, &f, r->now_us);
    stack_flush(r->stack, r->now_us);
    free(p);
}

void
rig_arp(struct rig *r)
{
    uint8_t reply[] = {2, 0, 0, 0, 0, 1, 2, 0,  0, 0, 0,  2, 8, 6, 0, 1, 8, 0,  6, 4, 0,
                       2, 2, 0, 0, 0, 0, 2, 10, 0, 2, 15, 2, 0, 0, 0, 0, 1, 10, 0, 2, 4};
    struct iovec iov = {reply, sizeof(reply)};
    struct frame f = {.iov = &iov, .iovcnt = 1, .len = sizeof(reply)};

    stack_input(r->stack, &f, r->now_us);
    stack_flush(r->stack, r->now_us);
}

// --- guests --------------------------------------------------------------------------------------

void
guest_syn(struct guest *g, struct rig *r, uint16_t port)
{
    const struct segment_spec syn = {.sport = port,
                                     .seq = 7000u * port,
                                     .flags = SYN,
                                     .window = 60000,
                                     .options = syn_options,
                                     .options_len = sizeof(syn_options)};

    *g = (struct guest){.rig = r, .addr = RIG_GUEST, .port = port, .seq = syn.seq + 1};
    g->window = 30000;
    rig_send(r, &syn);
}

void
guest_send(struct guest *g, uint8_t flags, const void *payload, size_t len)
{
    const struct segment_spec spec = {.src = g->addr,
                                      .sport = g->port,
                                      .seq = g->seq,
                                      .ack = g->ack,
                                      .flags = flags,
                                      .window = g->window,
                                      .payload = payload,
                                      .payload_len = len};

    g->seq += (uint32_t)len + (flags & FIN ? 1 : 0);
    rig_send(g->rig, &spec);
}

void
guest_connect(struct guest *g, struct rig *r, uint16_t port)
{
    struct tcp_view v;

    rig_clear(r);
    guest_syn(g, r, port);
    if (!rig_find(r, port, SYN | ACK, &v))
        fail_msg("no SYN-ACK to port %u", port);
    assert_int_equal(v.ack, g->seq);
    g->ack = v.seq + 1;
    rig_clear(r);
    guest_send(g, ACK, NULL, 0);
}

static void
take_segment(struct guest *g, const struct packet *p, const struct tcp_view *v)
{
    uint32_t skip = g->ack - v->seq; // what is known already
    size_t fresh;

    if (v->flags & RST) {
        g->reset_seen = true;
        return;
    }
    g->told_window = v->window;
    if (v->flags & SYN || skip > v->payload_len)
        return;
    fresh = v->payload_len - skip;
    if (g->received_len + fresh <= sizeof(g->received))
        memcpy(g->received + g->received_len, p->data + v->payload + skip, fresh);
    g->received_len += fresh;
    g->ack += (uint32_t)fresh;
    if (v->flags & FIN && !g->fin_seen) {
        g->fin_seen = true;
        g->ack++;
    }
}

void
guest_pump(struct guest *g)
{
    struct rig *r = g->rig;

    for (int rounds = 0; rounds < 1000; rounds++) {
        uint32_t before = g->ack;
        struct packet *batch[RIG_SENT_MAX];
        size_t count = r->sent_count;
        struct tcp_view v;

        memcpy(batch, r->sent, count * sizeof(batch[0]));
        r->sent_count = 0;
        for (size_t i = 0; i < count; i++) {
            if (packet_tcp(batch[i], &v) && v.dport == g->port)
                take_segment(g, batch[i], &v);
            free(batch[i]);
        }
        if (g->ack == before)
            return;
        guest_send(g, ACK, NULL, 0);
    }
    fail_msg("the host never stops sending");
}

void
guest_echo(struct guest *g, size_t len)
{
    static uint8_t bytes[4096];
    uint64_t began = g->rig->now_us;

    assert_true(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(g->seq + i * 7);
    guest_pump(g);
    g->received_len = 0;
    for (size_t at = 0; at < len; at += 1400)
        guest_send(g, ACK | PSH, bytes + at, len - at < 1400 ? len - at : 1400);
    guest_pump(g);
    while (g->received_len < len && g->rig->now_us < began + RIG_SECOND_US) {
        rig_run(g->rig, RIG_SECOND_US / 100);
        guest_pump(g);
    }
    assert_int_equal(g->received_len, len);
    assert_memory_equal(g->received, bytes, len);
}

void
guest_close(struct guest *g)
{
    uint32_t closes = g->rig->closes;

    guest_send(g, FIN | ACK, NULL, 0);
    guest_pump(g);
    assert_true(g->fin_seen);
    assert_int_equal(g->rig->closes, closes + 1);
    assert_int_equal(g->rig->reason, STACK_CLOSED);
}

void
rig_assert_alive(struct rig *r)
{
    static uint16_t fresh; // never the same port twice
    struct guest g;

    r->hold_opens = r->refuse = r->stall = r->keep_silent = false;
    guest_connect(&g, r, (uint16_t)(FRESH_PORT + fresh++ % 4000));
    guest_echo(&g, 3000);
    guest_close(&g);
}
