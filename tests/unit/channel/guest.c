// SPDX-License-Identifier: BSD-3-Clause
// The rig of guest.h.
#include "guest.h"

#include "test.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUR_ADDR   0x0a000204u
#define GUEST_ADDR 0x0a00020fu

// --- the opener ----------------------------------------------------------------------------------

static void
on_open_request(void *ctx, uint64_t session, uint16_t channel, const struct stack_peer *peer)
{
    struct rig *r = ctx;
    assert_true(r->open_count < 64);
    r->opens[r->open_count++] = (struct open_request){session, channel, *peer};
}

static void
on_cancel(void *ctx, uint64_t session)
{
    struct rig *r = ctx;
    assert_true(r->cancel_count < 64);
    r->cancelled[r->cancel_count++] = session;
}

// --- the guest -----------------------------------------------------------------------------------

static bool
guest_emit(void *ctx, const struct frame *frame)
{
    struct rig *r = ctx;
    return r->guest_link && link_send(r->guest_link, frame);
}

static bool
guest_port(void *ctx, uint16_t port)
{
    return false;
}

static void
guest_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
}

static void
guest_established(void *ctx, uint32_t conn)
{
    ((struct rig *)ctx)->conns[conn].established = true;
}

static size_t
guest_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct guest_conn *c = &((struct rig *)ctx)->conns[conn];
    size_t total = 0;
    for (int i = 0; i < iovcnt; i++) {
        size_t room = sizeof c->data - c->len;
        size_t n = iov[i].iov_len < room ? iov[i].iov_len : room;
        memcpy(c->data + c->len, iov[i].iov_base, n);
        if (((struct rig *)ctx)->on_bytes)
            ((struct rig *)ctx)
                ->on_bytes(((struct rig *)ctx)->ctx, iov[i].iov_base, iov[i].iov_len);
        c->len += n;
        total += iov[i].iov_len;
    }
    c->total += total;
    return total;
}

static void
guest_readable(void *ctx, uint32_t conn)
{
    struct rig *r = ctx;
    struct iovec iov[2];
    int n;
    while ((n = stack_recv_iov(r->guest, conn, iov)) > 0)
        stack_recv_consume(r->guest, conn, guest_data(r, conn, iov, n));
    r->conns[conn].eof = stack_recv_at_end(r->guest, conn);
}

static void
guest_writable(void *ctx, uint32_t conn)
{
}

static void
guest_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct rig *r = ctx;
    r->conns[conn].closed = true;
    r->conns[conn].reason = reason;
}

static const struct stack_ops guest_ops = {
    .on_emit = guest_emit,
    .on_port = guest_port,
    .on_open = guest_open,
    .on_established = guest_established,
    .on_data = guest_data,
    .on_readable = guest_readable,
    .on_writable = guest_writable,
    .on_closed = guest_closed,
};

static void
guest_turn_end(void *ctx)
{
    struct rig *r = ctx;
    stack_flush(r->guest, loop_now_us(r->loop));
    if (r->guest_link)
        link_flush(r->guest_link);
    if (stack_next_deadline(r->guest) != UINT64_MAX)
        loop_timer_set(r->loop, r->guest_timer, stack_next_deadline(r->guest));
}

static void
guest_timer(void *ctx)
{
    struct rig *r = ctx;
    stack_timers(r->guest, loop_now_us(r->loop));
}

static void
guest_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct rig *r = ctx;
    for (size_t i = 0; i < count; i++)
        stack_input(r->guest, &frames[i], loop_now_us(r->loop));
    guest_turn_end(r);
}

static void
guest_link_writable(void *ctx)
{
    stack_unblock(((struct rig *)ctx)->guest);
}

static void
guest_link_down(void *ctx, const char *why)
{
    fail_msg("the guest's link broke: %s", why);
}

static const struct link_events guest_link_events = {
    .on_frames = guest_frames,
    .on_writable = guest_link_writable,
    .on_down = guest_link_down,
};

// --- making --------------------------------------------------------------------------------------

static void
on_hub_link_down(void *ctx)
{
    ((struct rig *)ctx)->link_down = true;
}

static struct stack_config
config_for(uint32_t addr, uint32_t max_conns)
{
    return (struct stack_config){
        .mac = {{2, 0, 0, 0, 0, (uint8_t)addr}},
        .addr = addr,
        .guest_addr = GUEST_ADDR,
        .netmask = 0xffffff00,
        .mtu = 1500,
        .max_conns = max_conns,
        .max_half_open = max_conns,
        .ring_bytes = 1 << 16,
        .secret = {addr, 1},
    };
}

void
rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->loop = loop_new();
    assert_non_null(r->loop);
    const struct hub_config config = {
        .guest = "vm1",
        .stack = config_for(OUR_ADDR, HUB_CONNS),
        .opener = {.open = on_open_request, .cancel = on_cancel, .ctx = r},
    };
    r->hub = hub_new(r->loop, &config);
    assert_non_null(r->hub);
    hub_on_link_down(r->hub, on_hub_link_down, r);

    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    hub_attach_link(r->hub, link_new_stream(r->loop, fds[0], hub_link_events(), r->hub));
    rig_init_guest(r, r->loop, fds[1]);
}

void
rig_init_guest(struct rig *r, struct loop *loop, int link_fd)
{
    r->loop = loop;
    r->guest_link = link_new_stream(r->loop, link_fd, &guest_link_events, r);
    assert_non_null(r->guest_link);

    const struct stack_config guest = config_for(GUEST_ADDR, GUEST_CONNS);
    r->guest = stack_new(&guest, &guest_ops, r, loop_now_us(r->loop));
    assert_non_null(r->guest);
    r->guest_timer = loop_timer_new(r->loop, guest_timer, r);
    loop_on_turn_end(r->loop, guest_turn_end, r);
}

void
rig_fini_guest(struct rig *r)
{
    if (r->guest_link)
        link_free(r->guest_link);
    stack_free(r->guest);
}

void
rig_fini(struct rig *r)
{
    hub_free(r->hub);
    rig_fini_guest(r);
    loop_free(r->loop);
}

uint16_t
rig_channel(struct rig *r, struct hub_channel config)
{
    int channel = hub_add_channel(r->hub, &config);
    assert_true(channel >= 0);
    return (uint16_t)channel;
}

void
rig_cut(struct rig *r)
{
    link_free(r->guest_link);
    r->guest_link = NULL;
}

// --- time ----------------------------------------------------------------------------------------

void
rig_until(struct rig *r, const bool *flag)
{
    uint64_t end = loop_clock_us() + 5000000;
    while (!*flag) {
        assert_true(loop_clock_us() < end);
        assert_int_equal(loop_turn(r->loop, 20), 0);
    }
}

void
rig_until_count(struct rig *r, const size_t *count, size_t at_least)
{
    uint64_t end = loop_clock_us() + 5000000;
    while (*count < at_least) {
        assert_true(loop_clock_us() < end);
        assert_int_equal(loop_turn(r->loop, 20), 0);
    }
}

void
rig_turns(struct rig *r, int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    while (loop_clock_us() < end)
        assert_int_equal(loop_turn(r->loop, 1), 0);
}

// --- doing ---------------------------------------------------------------------------------------

uint32_t
rig_connect(struct rig *r, uint16_t port)
{
    uint32_t conn = stack_connect(r->guest, OUR_ADDR, port, 0, loop_now_us(r->loop));
    assert_int_not_equal(conn, STACK_NO_CONN);
    r->conns[conn] = (struct guest_conn){0};
    link_flush(r->guest_link);
    return conn;
}

void
rig_send(struct rig *r, uint32_t conn, const void *data, size_t len)
{
    const uint8_t *from = data;
    while (len > 0) {
        struct iovec iov[2];
        if (stack_send_iov(r->guest, conn, iov) == 0) {
            assert_int_equal(loop_turn(r->loop, 20), 0);
            continue;
        }
        size_t n = len < iov[0].iov_len ? len : iov[0].iov_len;
        memcpy(iov[0].iov_base, from, n);
        stack_send_commit(r->guest, conn, n);
        from += n;
        len -= n;
    }
}

int
rig_open(struct rig *r)
{
    int fds[2];
    assert_true(r->open_count > 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    hub_opened(r->hub, r->opens[r->open_count - 1].session, fds, 1);
    return fds[1];
}

uint32_t
rig_join(struct rig *r, uint16_t port, int *host_fd)
{
    size_t before = r->open_count;
    uint32_t conn = rig_connect(r, port);
    rig_until_count(r, &r->open_count, before + 1);
    *host_fd = rig_open(r);
    rig_until(r, &r->conns[conn].established);
    return conn;
}

void
rig_host_reads(struct rig *r, int fd, void *out, size_t len)
{
    uint64_t end = loop_clock_us() + 5000000;
    size_t have = 0;
    while (have < len) {
        assert_true(loop_clock_us() < end);
        ssize_t n = read(fd, (uint8_t *)out + have, len - have);
        if (n > 0)
            have += (size_t)n;
        else
            assert_true(n < 0 && errno == EAGAIN);
        assert_int_equal(loop_turn(r->loop, 1), 0);
    }
}
