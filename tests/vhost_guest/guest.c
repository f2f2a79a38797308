// SPDX-License-Identifier: BSD-3-Clause
// The stack's callbacks and the turn. Reaches into the stack for one thing: its pool of send rings
// is mapped over with the guest's memory.
#include "guest.h"

#include "stack/internal.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES (1024 * 1024)
#define GUEST_MTU  1500

uint64_t
guest_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

// Byte `at` of every stream that is to be exact; one half depends on the position only in steps of
// 8, so that a shift by any amount shows.
static uint8_t
pattern(uint64_t at)
{
    uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15ull;
    return (uint8_t)(x >> (56 - 8 * (at & 7) % 56));
}

// --- sending -------------------------------------------------------------------------------------

static uint64_t
fill(struct peer *p, const struct iovec *iov, int count)
{
    uint64_t done = 0;
    for (int i = 0; i < count && done < p->to_send; i++) {
        uint64_t left = p->to_send - done;
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : (size_t)left;
        uint8_t *to = iov[i].iov_base;
        for (size_t j = 0; j < n && p->exact; j++)
            to[j] = pattern(p->sent + done + j);
        done += n;
    }
    return done;
}

void
guest_pump(struct guest *g, struct peer *p)
{
    struct iovec iov[2];
    if (p->conn == STACK_NO_CONN || !p->established)
        return;
    while (p->to_send > 0) {
        int count = stack_send_iov(g->stack, p->conn, iov);
        if (count == 0)
            return; // on_writable goes on
        uint64_t n = fill(p, iov, count);
        stack_send_commit(g->stack, p->conn, (size_t)n);
        p->to_send -= n;
        p->sent += n;
    }
    if (p->shuts_down)
        stack_shutdown(g->stack, p->conn);
}

// --- the stack's callbacks -----------------------------------------------------------------------

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct guest *g = ctx;
    const struct ring_pool *pool = &g->stack->send_pool;
    size_t pool_bytes = (size_t)pool->slots * pool->slot_bytes;
    struct iovec iov[FRAME_IOV_MAX];
    struct frame in_memory = *frame;
    in_memory.iov = iov;
    for (int i = 0; i < frame->iovcnt; i++) {
        iov[i] = frame->iov[i];
        size_t at = (size_t)((uint8_t *)iov[i].iov_base - pool->base);
        if (i > 0 && at >= pool_bytes)
            return true; // an answer to a ping: nobody waits for it
        if (i > 0)
            iov[i].iov_base = g->front.memory + g->pool_at + at;
    }
    return nic_send(&g->nic, &in_memory);
}

static bool
on_port(void *ctx, uint16_t port)
{
    return false;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    abort(); // no port answers
}

static void
on_established(void *ctx, uint32_t conn)
{
    struct guest *g = ctx;
    struct peer *p = g->peers[conn];
    g->events++;
    if (!p)
        return;
    p->established = true;
    guest_pump(g, p);
}

static void
take(struct peer *p, const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        const uint8_t *from = iov[i].iov_base;
        for (size_t j = 0; j < iov[i].iov_len && p->exact; j++)
            p->wrong += from[j] != pattern(p->received + j);
        p->received += iov[i].iov_len;
    }
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int count)
{
    struct guest *g = ctx;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (g->peers[conn])
        take(g->peers[conn], iov, count);
    g->events++;
    return total;
}

static void
on_readable(void *ctx, uint32_t conn)
{
    struct guest *g = ctx;
    struct peer *p = g->peers[conn];
    struct iovec iov[2];
    int count;
    g->events++;
    while ((count = stack_recv_iov(g->stack, conn, iov)) > 0) {
        size_t total = iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
        if (p)
            take(p, iov, count);
        stack_recv_consume(g->stack, conn, total);
    }
    if (p)
        p->at_end = stack_recv_at_end(g->stack, conn);
}

static void
on_writable(void *ctx, uint32_t conn)
{
    struct guest *g = ctx;
    if (g->peers[conn])
        guest_pump(g, g->peers[conn]);
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct guest *g = ctx;
    struct peer *p = g->peers[conn];
    g->events++;
    g->peers[conn] = NULL;
    if (!p)
        return;
    p->conn = STACK_NO_CONN;
    p->closed = true;
    p->reason = reason;
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

// --- connections ---------------------------------------------------------------------------------

bool
guest_connect(struct guest *g, struct peer *p, uint16_t port)
{
    p->conn = stack_connect(g->stack, CHANNEL_ADDR, port, 0, guest_now_us());
    if (p->conn == STACK_NO_CONN)
        return false;
    g->peers[p->conn] = p;
    return true;
}

void
guest_close(struct guest *g, struct peer *p)
{
    if (p->conn == STACK_NO_CONN)
        return;
    g->peers[p->conn] = NULL;
    stack_shutdown(g->stack, p->conn);
    stack_orphan(g->stack, p->conn);
    p->conn = STACK_NO_CONN;
}

// --- the turn ------------------------------------------------------------------------------------

static int
wait_ms(const struct guest *g, int timeout_ms)
{
    uint64_t deadline = stack_next_deadline(g->stack), now = guest_now_us();
    if (deadline == UINT64_MAX)
        return timeout_ms;
    uint64_t left = deadline <= now ? 0 : (deadline - now + 999) / 1000;
    return timeout_ms >= 0 && (uint64_t)timeout_ms < left ? timeout_ms : (int)left;
}

static void
wait_for_calls(struct guest *g, int timeout_ms, int extra_fd)
{
    struct pollfd p[3] = {{.fd = g->front.call[FRONT_TO_GUEST], .events = POLLIN},
                          {.fd = g->front.call[FRONT_FROM_GUEST], .events = POLLIN},
                          {.fd = extra_fd, .events = POLLIN}};
    uint64_t count;
    if (nic_want_calls(&g->nic, g->stack->blocked))
        timeout_ms = 0;
    poll(p, 3, timeout_ms == 0 ? 0 : wait_ms(g, timeout_ms));
    for (int i = 0; i < 2; i++) {
        if ((p[i].revents & POLLIN) && read(p[i].fd, &count, sizeof(count)) < 0)
            perror("vhost-guest: eventfd");
    }
    nic_no_calls(&g->nic);
}

void
guest_turn(struct guest *g, int timeout_ms, int extra_fd)
{
    uint64_t now = guest_now_us();
    size_t count = nic_receive(&g->nic);
    for (size_t i = 0; i < count; i++)
        stack_input(g->stack, &g->nic.frames[i], now);
    stack_timers(g->stack, now);
    stack_unblock(g->stack);
    stack_flush(g->stack, now);
    nic_release(&g->nic);
    nic_kick(&g->nic);
    if (count == 0)
        wait_for_calls(g, timeout_ms, extra_fd);
}

// --- beginning and end ---------------------------------------------------------------------------

static bool
start_stack(struct guest *g, const struct guest_options *o, size_t pool_at)
{
    const struct stack_config config = {
        .mac = {{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}},
        .addr = GUEST_ADDR,
        .guest_addr = CHANNEL_ADDR,
        .netmask = 0xffffff00,
        .mtu = GUEST_MTU,
        .csum_offload = true,
        .tso = true,
        .max_conns = o->max_conns,
        .max_half_open = o->max_conns,
        .ring_bytes = RING_BYTES,
        .secret = {guest_now_us(), (uint64_t)getpid()},
    };
    g->stack = stack_new(&config, &ops, g, guest_now_us());
    g->peers = calloc(o->max_conns, sizeof(*g->peers));
    if (!g->stack || !g->peers)
        return false;
    struct ring_pool *pool = &g->stack->send_pool;
    g->pool_at = pool_at;
    return mmap(pool->base, (size_t)pool->slots * pool->slot_bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_FIXED | MAP_NORESERVE, g->front.memory_fd,
                (off_t)pool_at) != MAP_FAILED;
}

bool
guest_init(struct guest *g, const struct guest_options *o)
{
    size_t pool = (size_t)o->max_conns * RING_BYTES, nic = nic_bytes(&o->nic);
    memset(g, 0, sizeof(*g));
    return front_end_init(&g->front, nic + pool) &&
           front_end_connect(&g->front, o->path, o->within_ms) &&
           front_end_negotiate(&g->front, &o->nic.front) && start_stack(g, o, nic) &&
           nic_init(&g->nic, &o->nic, &g->front, g->front.memory);
}

void
guest_fini(struct guest *g)
{
    uint32_t base;
    for (int i = 0; i < FRONT_RINGS; i++)
        front_end_stop_ring(&g->front, i, &base);
    stack_free(g->stack);
    free(g->peers);
    nic_fini(&g->nic);
    front_end_fini(&g->front);
}
