// SPDX-License-Identifier: BSD-3-Clause
// See bench.h.
#include "bench.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT        600
#define PATIENCE_US 15000000

static void
on_log(void *ctx, enum log_level level, const char *line)
{
    struct bench *b = ctx;
    size_t len = strlen(b->log);
    snprintf(b->log + len, sizeof(b->log) - len, "%s\n", line);
}

int
bench_logged(const struct bench *b, const char *part)
{
    int n = 0;
    for (const char *p = b->log; (p = strstr(p, part)); p++)
        n++;
    return n;
}

void
bench_path(struct bench *b, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", b->dir, name);
}

static int
make_listener(int *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

static void
attach(struct bench *b)
{
    if (b->socket_link) {
        assert_int_equal(vmc_attach_listener(b->vmc, 0, make_listener(&b->listener)), 0);
        return;
    }
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(vmc_attach_fd(b->vmc, LINK_STREAM, fds[0]), 0);
    rig_init_guest(&b->rig, b->loop, fds[1]);
}

bool
bench_try_init(struct bench *b, bool socket_link, const char *text, struct error *err)
{
    char device[512], spec[600];
    signal(SIGPIPE, SIG_IGN);
    memset(b, 0, sizeof(*b));
    b->socket_link = socket_link;
    snprintf(b->dir, sizeof(b->dir), "/tmp/test-devices-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    const char *at = strstr(text, "%s");
    if (at)
        snprintf(device, sizeof(device), "%.*s%s%s", (int)(at - text), text, b->dir, at + 2);
    else
        snprintf(device, sizeof(device), "%s", text);
    snprintf(spec, sizeof(spec), "%d:%s", PORT, device);
    if (channel_spec_parse(spec, &b->spec, err) < 0)
        fail_msg("%s", err->text);
    log_set_sink(on_log, b);
    log_set_level(LOG_INFO);
    const struct vmc_config config = {.guest = "vm1",
                                      .channel_addr = 0x0a000204,
                                      .guest_addr = 0x0a00020f,
                                      .netmask = 0xffffff00,
                                      .mtu = 1500,
                                      .max_conns = 32,
                                      .channels = &b->spec,
                                      .channel_count = 1};
    b->vmc = vmc_new(&config, err);
    if (!b->vmc) {
        log_set_sink(NULL, NULL);
        assert_int_equal(rmdir(b->dir), 0);
        return false;
    }
    b->loop = vmc_loop(b->vmc);
    attach(b);
    return true;
}

void
bench_init(struct bench *b, bool socket_link, const char *text)
{
    struct error err = {{0}};
    if (!bench_try_init(b, socket_link, text, &err))
        fail_msg("%s", err.text);
}

void
bench_fini(struct bench *b)
{
    if (!b->socket_link)
        rig_fini_guest(&b->rig);
    vmc_free(b->vmc);
    log_set_sink(NULL, NULL);
    assert_int_equal(rmdir(b->dir), 0);
}

void
bench_turn(struct bench *b)
{
    assert_int_equal(loop_turn(b->loop, 1), 0);
}

void
bench_turns(struct bench *b, int ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)ms * 1000;
    while (loop_clock_us() < end)
        bench_turn(b);
}

// --- the guest -----------------------------------------------------------------------------------

static void
received(void *ctx, const uint8_t *bytes, size_t len)
{
    struct guest_end *g = ctx;
    for (size_t i = 0; i < len; i++) {
        if (g->received + i < sizeof(g->data))
            g->data[g->received + i] = bytes[i];
        if (g->seed && bytes[i] != stream_byte(g->seed, g->received + i))
            fail_msg("byte %zu of the guest's is wrong", g->received + i);
    }
    g->received += len;
}

void
guest_connect(struct guest_end *g, struct bench *b)
{
    *g = (struct guest_end){.bench = b, .fd = -1};
    if (!b->socket_link) {
        b->rig.on_bytes = received; // of the newest guest alone: tests look at one at a time
        b->rig.ctx = g;
        g->conn = rig_connect(&b->rig, PORT);
        return;
    }
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)b->listener)};
    g->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(g->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(g->fd, F_SETFL, O_NONBLOCK);
    g->state = GUEST_CONNECTED; // as far as its kernel knows
}

static void
poll_socket(struct guest_end *g)
{
    uint8_t bytes[65536];
    while (g->fd >= 0 && !g->eof && !g->reset) {
        ssize_t n = recv(g->fd, bytes, sizeof(bytes), 0);
        if (n > 0)
            received(g, bytes, (size_t)n);
        else if (n == 0)
            g->eof = true;
        else if (errno == EAGAIN)
            return;
        else
            g->reset = true;
    }
}

void
guest_poll(struct guest_end *g)
{
    if (g->bench->socket_link) {
        poll_socket(g);
        return;
    }
    const struct guest_conn *c = &g->bench->rig.conns[g->conn];
    g->eof = c->eof;
    if (c->established)
        g->state = GUEST_CONNECTED;
    if (c->closed && c->reason == STACK_REFUSED)
        g->state = GUEST_REFUSED;
    if (c->closed && c->reason == STACK_CLOSED)
        g->eof = true;
    g->reset = c->closed && c->reason == STACK_RESET;
}

// Turns until the condition holds, or fails.
#define UNTIL(g, condition)                                                                        \
    do {                                                                                           \
        uint64_t until_end = loop_clock_us() + PATIENCE_US;                                        \
        guest_poll(g);                                                                             \
        while (!(condition)) {                                                                     \
            if (loop_clock_us() > until_end)                                                       \
                fail_msg("%s: not in time; the log:\n%s", #condition, (g)->bench->log);            \
            bench_turn((g)->bench);                                                                \
            guest_poll(g);                                                                         \
        }                                                                                          \
    } while (0)

void
guest_join(struct guest_end *g, struct bench *b)
{
    guest_connect(g, b);
    UNTIL(g, g->state != GUEST_CONNECTING);
    assert_int_equal(g->state, GUEST_CONNECTED);
    if (b->socket_link)
        bench_turns(b, 20);
}

void
guest_expect_refusal(struct guest_end *g, struct bench *b)
{
    guest_connect(g, b);
    UNTIL(g, g->state == GUEST_REFUSED || g->reset);
    if (g->fd >= 0)
        close(g->fd);
}

size_t
guest_try_send(struct guest_end *g, const void *data, size_t len)
{
    if (g->bench->socket_link) {
        ssize_t n = send(g->fd, data, len, MSG_NOSIGNAL);
        return n > 0 ? (size_t)n : 0;
    }
    struct iovec iov[2];
    if (g->bench->rig.conns[g->conn].closed ||
        stack_send_iov(g->bench->rig.guest, g->conn, iov) == 0)
        return 0;
    size_t n = len < iov[0].iov_len ? len : iov[0].iov_len;
    memcpy(iov[0].iov_base, data, n);
    stack_send_commit(g->bench->rig.guest, g->conn, n);
    return n;
}

void
guest_send(struct guest_end *g, const void *data, size_t len)
{
    const uint8_t *from = data;
    size_t sent = 0;
    UNTIL(g, (sent += guest_try_send(g, from + sent, len - sent)) == len);
}

void
guest_shutdown(struct guest_end *g)
{
    if (g->bench->socket_link)
        shutdown(g->fd, SHUT_WR);
    else if (!g->bench->rig.conns[g->conn].closed)
        stack_shutdown(g->bench->rig.guest, g->conn);
}

void
guest_abort(struct guest_end *g)
{
    if (g->bench->socket_link) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        close(g->fd);
        g->fd = -1;
    } else if (!g->bench->rig.conns[g->conn].closed) {
        stack_abort(g->bench->rig.guest, g->conn, loop_now_us(g->bench->loop));
    }
}

void
guest_expect(struct guest_end *g, const void *data, size_t len)
{
    UNTIL(g, g->received >= len);
    assert_int_equal(g->received, len);
    assert_memory_equal(g->data, data, len);
    g->received = 0;
}

void
guest_expect_eof(struct guest_end *g)
{
    UNTIL(g, g->eof || g->reset);
    assert_true(g->eof);
}

void
guest_expect_reset(struct guest_end *g)
{
    UNTIL(g, g->reset);
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
}

void
guest_close(struct guest_end *g)
{
    guest_shutdown(g);
    UNTIL(g, g->eof || g->reset);
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
    bench_turns(g->bench, 20);
}

// --- bulk ----------------------------------------------------------------------------------------

uint8_t
stream_byte(uint32_t seed, size_t at)
{
    return (uint8_t)((((uint32_t)at + seed) * 2654435761u) >> 23);
}

void
stream_fill(uint32_t seed, size_t at, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = stream_byte(seed, at + i);
}

static size_t
host_reads(int fd, uint32_t seed, size_t at)
{
    uint8_t bytes[65536];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] != stream_byte(seed, at + (size_t)i))
            fail_msg("byte %zu of the host's is wrong", at + (size_t)i);
    return n > 0 ? (size_t)n : 0;
}

void
exchange(struct guest_end *g, int write_fd, int read_fd, size_t len)
{
    static uint8_t bytes[65536];
    size_t guest_sent = read_fd < 0 ? len : 0, host_got = guest_sent;
    size_t host_sent = write_fd < 0 ? len : 0;
    size_t before = g->received;
    uint64_t end = loop_clock_us() + PATIENCE_US;
    g->seed = 0x5eed;
    g->received = write_fd < 0 ? len : 0;
    while (guest_sent < len || host_got < len || host_sent < len || g->received < len) {
        if (loop_clock_us() > end)
            fail_msg("guest sent %zu, host got %zu; host sent %zu, guest got %zu", guest_sent,
                     host_got, host_sent, g->received);
        size_t room = len - guest_sent < sizeof(bytes) ? len - guest_sent : sizeof(bytes);
        stream_fill(1, guest_sent, bytes, room);
        guest_sent += room > 0 ? guest_try_send(g, bytes, room) : 0;
        room = len - host_sent < sizeof(bytes) ? len - host_sent : sizeof(bytes);
        stream_fill(g->seed, host_sent, bytes, room);
        ssize_t n = room > 0 ? write(write_fd, bytes, room) : 0;
        host_sent += n > 0 ? (size_t)n : 0;
        if (host_got < len)
            host_got += host_reads(read_fd, 1, host_got);
        assert_int_equal(loop_turn(g->bench->loop, 0), 0);
        guest_poll(g);
    }
    assert_int_equal(g->received, len);
    g->seed = 0;
    g->received = before;
}

void
host_expect(struct bench *b, int fd, const char *text)
{
    char got[256] = "";
    size_t len = 0;
    assert_true(strlen(text) < sizeof(got));
    for (int i = 0; i < 1000 && len < strlen(text); i++) {
        ssize_t n = read(fd, got + len, strlen(text) - len);
        len += n > 0 ? (size_t)n : 0;
        bench_turn(b);
    }
    assert_string_equal(got, text);
}
