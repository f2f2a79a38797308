// SPDX-License-Identifier: BSD-3-Clause
// The guest of guest_end.h.
#include "lib/guest_end.h"

#include "test.h"

#define CHANNEL_ADDR 0x0a000204u
#define GUEST_ADDR   0x0a00020fu

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct guest_end *g = ctx;
    return g->link && link_send(g->link, frame);
}

static bool
on_port(void *ctx, uint16_t port)
{
    return false;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
}

static void
on_established(void *ctx, uint32_t conn)
{
    ((struct guest_end *)ctx)->conns[conn].established = true;
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct guest_conn *c = &((struct guest_end *)ctx)->conns[conn];
    size_t total = 0;
    for (int i = 0; i < iovcnt; i++) {
        size_t room = sizeof(c->data) - c->len;
        size_t n = iov[i].iov_len < room ? iov[i].iov_len : room;
        memcpy(c->data + c->len, iov[i].iov_base, n);
        c->len += n;
        total += iov[i].iov_len;
    }
    return total;
}

static void
on_readable(void *ctx, uint32_t conn)
{
    struct guest_end *g = ctx;
    struct iovec iov[2];
    int n;
    while ((n = stack_recv_iov(g->stack, conn, iov)) > 0)
        stack_recv_consume(g->stack, conn, on_data(g, conn, iov, n));
    g->conns[conn].eof = stack_recv_at_end(g->stack, conn);
}

static void
on_writable(void *ctx, uint32_t conn)
{
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct guest_end *g = ctx;
    g->conns[conn].closed = true;
    g->conns[conn].reason = reason;
}

static const struct stack_ops ops = {
    .on_emit = on_emit,
    .on_port = on_port,
    .on_open = on_open,
    .on_established = on_established,
    .on_data = on_data,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_closed = on_closed,
};

static void
on_turn_end(void *ctx)
{
    struct guest_end *g = ctx;
    stack_flush(g->stack, loop_now_us(g->loop));
    if (g->link)
        link_flush(g->link);
    if (stack_next_deadline(g->stack) != UINT64_MAX)
        loop_timer_set(g->loop, g->timer, stack_next_deadline(g->stack));
}

static void
on_timer(void *ctx)
{
    struct guest_end *g = ctx;
    stack_timers(g->stack, loop_now_us(g->loop));
}

static void
on_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct guest_end *g = ctx;
    for (size_t i = 0; i < count; i++)
        stack_input(g->stack, &frames[i], loop_now_us(g->loop));
    on_turn_end(g);
}

static void
on_link_writable(void *ctx)
{
    stack_unblock(((struct guest_end *)ctx)->stack);
}

static void
on_link_down(void *ctx, const char *why)
{
    struct guest_end *g = ctx;
    g->link_down = true;
    guest_end_detach(g);
}

static const struct link_events link_events = {
    .on_frames = on_frames,
    .on_writable = on_link_writable,
    .on_down = on_link_down,
};

void
guest_end_init(struct guest_end *g, int link_fd)
{
    memset(g, 0, sizeof(*g));
    struct stack_config config = {
        .mac = {{2, 0, 0, 0, 0, 15}},
        .addr = GUEST_ADDR,
        .guest_addr = GUEST_ADDR,
        .netmask = 0xffffff00,
        .mtu = 1500,
        .max_conns = GUEST_END_CONNS,
        .max_half_open = GUEST_END_CONNS,
        .ring_bytes = 1 << 16,
        .secret = {1, 2},
    };
    g->loop = loop_new();
    g->stack = stack_new(&config, &ops, g, loop_now_us(g->loop));
    assert_non_null(g->stack);
    g->timer = loop_timer_new(g->loop, on_timer, g);
    loop_on_turn_end(g->loop, on_turn_end, g);
    guest_end_attach(g, link_fd);
}

void
guest_end_fini(struct guest_end *g)
{
    if (g->link)
        link_free(g->link);
    stack_free(g->stack);
    loop_free(g->loop);
}

void
guest_end_attach(struct guest_end *g, int link_fd)
{
    g->link = link_new_stream(g->loop, link_fd, &link_events, g);
    assert_non_null(g->link);
    g->link_down = false;
}

void
guest_end_detach(struct guest_end *g)
{
    link_free(g->link);
    g->link = NULL;
    stack_link_down(g->stack);
}

uint32_t
guest_end_connect(struct guest_end *g, uint16_t port)
{
    uint32_t conn = stack_connect(g->stack, CHANNEL_ADDR, port, 0, loop_clock_us());
    assert_int_not_equal(conn, STACK_NO_CONN);
    g->conns[conn] = (struct guest_conn){0};
    on_turn_end(g);
    return conn;
}

void
guest_end_send(struct guest_end *g, uint32_t conn, const char *text)
{
    struct iovec iov[2];
    size_t len = strlen(text);
    assert_true(stack_send_iov(g->stack, conn, iov) > 0 && iov[0].iov_len >= len);
    memcpy(iov[0].iov_base, text, len);
    stack_send_commit(g->stack, conn, len);
    on_turn_end(g);
}

void
guest_end_until(struct guest_end *g, const bool *flag)
{
    uint64_t end = loop_clock_us() + 5000000;
    while (!*flag) {
        assert_true(loop_clock_us() < end);
        assert_int_equal(loop_turn(g->loop, 20), 0);
    }
}

void
guest_end_until_received(struct guest_end *g, uint32_t conn, const char *text)
{
    const struct guest_conn *c = &g->conns[conn];
    uint64_t end = loop_clock_us() + 5000000;
    while (c->len < strlen(text)) {
        assert_true(loop_clock_us() < end);
        assert_int_equal(loop_turn(g->loop, 20), 0);
    }
    assert_int_equal(c->len, strlen(text));
    assert_memory_equal(c->data, text, c->len);
}

void
guest_end_turns(struct guest_end *g, int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    while (loop_clock_us() < end)
        assert_int_equal(loop_turn(g->loop, 1), 0);
}
