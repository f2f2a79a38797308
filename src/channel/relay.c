// SPDX-License-Identifier: BSD-3-Clause
// Joins connections of the stack to host ends: bytes, ends and errors each way (the semantics of a
// channel). The rings are the stack's; here are the decisions of when to read, write, shut, reset.
//
// Host ends are registered once, edge-triggered, and their readiness is remembered, so that a busy
// connection costs no epoll_ctl.
#include "channel/internal.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t
index_of(const struct relay *r)
{
    return (uint32_t)(r - r->hub->relays);
}

static uint32_t
session_of(const struct relay *r)
{
    return (r->generation << SESSION_INDEX_BITS) | index_of(r);
}

static void
make_ready(struct relay *r)
{
    struct hub *hub = r->hub;
    if (r->in_ready)
        return;
    r->in_ready = true;
    r->ready_next = 0;
    if (hub->ready_last)
        hub->relays[hub->ready_last - 1].ready_next = index_of(r) + 1;
    else
        hub->ready_first = index_of(r) + 1;
    hub->ready_last = index_of(r) + 1;
}

static void
forget(struct relay *r)
{
    if (r->io.fd >= 0) {
        loop_remove(r->hub->loop, &r->io);
        close(r->io.fd);
        r->io.fd = -1;
    }
    r->state = RELAY_FREE;
    r->generation++;
    hub_session_end(r->hub, r->channel);
}

// --- guest -> host -------------------------------------------------------------------------------

// The host end will never take another byte. What it sent before still goes to the guest, then RST.
static void
host_write_failed(struct relay *r, int errnum)
{
    struct hub *hub = r->hub;
    log_debug("%s: channel %u: conn %u: host end takes no more: %s", hub->guest,
        hub->channels[r->channel].config.port, index_of(r), strerrordesc_np(errnum));
    r->write_failed = true;
    r->writable = false;
    if (r->host_eof)
        stack_abort_after_send(hub->stack, index_of(r), loop_now_us(hub->loop));
    else
        make_ready(r); // reads to the end first
}

// Bytes the host end took; less than offered means that it is full or broken.
static size_t
write_to_host(struct relay *r, const struct iovec *iov, int iovcnt)
{
    size_t total = 0;
    for (int i = 0; i < iovcnt; i++)
        total += iov[i].iov_len;
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                               .msg_iovlen = (size_t)iovcnt};
    ssize_t n;
    do
        n = sendmsg(r->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        host_write_failed(r, errno);
        return 0;
    }
    if (n < (ssize_t)total)
        r->writable = false;
    return n > 0 ? (size_t)n : 0;
}

static void
pump_to_host(struct relay *r)
{
    struct stack *stack = r->hub->stack;
    struct iovec iov[2];
    int count;
    while (r->writable && (count = stack_recv_iov(stack, index_of(r), iov)) > 0) {
        size_t n = write_to_host(r, iov, count);
        if (n > 0)
            stack_recv_consume(stack, index_of(r), n);
    }
    if (r->state == RELAY_OPEN && !r->guest_eof && !r->write_failed
        && stack_recv_at_end(stack, index_of(r))) {
        r->guest_eof = true;
        shutdown(r->io.fd, SHUT_WR);
    }
}

// --- host -> guest -------------------------------------------------------------------------------

// The host end has sent its last byte, orderly or by an error.
static void
host_read_ended(struct relay *r, int errnum)
{
    struct stack *stack = r->hub->stack;
    uint32_t conn = index_of(r);
    r->readable = false;
    r->host_eof = true;
    if (errnum || r->write_failed) {
        log_debug("%s: channel %u: conn %u: host end broke: %s", r->hub->guest,
            r->hub->channels[r->channel].config.port, conn,
            errnum ? strerrordesc_np(errnum) : "closed with the guest still sending");
        stack_abort_after_send(stack, conn, loop_now_us(r->hub->loop));
        return;
    }
    stack_shutdown(stack, conn);
    if (r->hangup)
        stack_orphan(stack, conn);
}

static void
pump_to_guest(struct relay *r)
{
    struct stack *stack = r->hub->stack;
    uint32_t conn = index_of(r);
    struct iovec iov[2];
    while (r->state == RELAY_OPEN && r->readable && !r->host_eof) {
        int count = stack_send_iov(stack, conn, iov);
        if (count == 0)
            return; // on_writable goes on
        size_t room = iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
        ssize_t n = readv(r->io.fd, iov, count);
        int errnum = errno;
        stack_send_commit(stack, conn, n > 0 ? (size_t)n : 0);
        if (n == 0)
            host_read_ended(r, 0);
        else if (n < 0 && errnum != EAGAIN && errnum != EINTR)
            host_read_ended(r, errnum);
        else if (n < 0 && errnum == EAGAIN)
            r->readable = false;
        else if ((size_t)n < room && !r->finishing)
            r->readable = false; // drained; what comes later is a new edge (epoll(7))
    }
}

static void
on_host_event(void *ctx, unsigned events)
{
    struct relay *r = ctx;
    if (events & (LOOP_RDHUP | LOOP_HANGUP))
        r->finishing = r->readable = true;
    if (events & LOOP_HANGUP) {
        r->hangup = true;
        r->writable = true; // a write will tell the error
        if (r->host_eof && !r->write_failed)
            stack_orphan(r->hub->stack, index_of(r));
    }
    if (events & LOOP_READ)
        r->readable = true;
    if (events & LOOP_WRITE)
        r->writable = true;
    make_ready(r);
}

void
relay_pump_ready(struct hub *hub)
{
    // One pass: a relay made ready again by this pass waits for the next turn.
    uint32_t last = hub->ready_last;
    while (hub->ready_first) {
        struct relay *r = &hub->relays[hub->ready_first - 1];
        bool end = hub->ready_first == last;
        hub->ready_first = r->ready_next;
        if (!hub->ready_first)
            hub->ready_last = 0;
        r->in_ready = false;
        if (r->state == RELAY_OPEN)
            pump_to_host(r);
        if (r->state == RELAY_OPEN)
            pump_to_guest(r);
        if (end)
            break;
    }
}

// --- the opener's answers ------------------------------------------------------------------------

static struct relay *
relay_waiting(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct relay *r = &hub->relays[index];
    if (r->state != RELAY_OPENING && r->state != RELAY_EARLY)
        return NULL;
    return session_of(r) >> SESSION_INDEX_BITS == generation ? r : NULL;
}

void
relay_opened(struct hub *hub, uint32_t index, uint32_t generation, int fd)
{
    struct relay *r = relay_waiting(hub, index, generation);
    if (!r) {
        close(fd);
        return;
    }
    r->io.fd = fd;
    int rc = loop_add(hub->loop, &r->io, LOOP_READ | LOOP_WRITE | LOOP_RDHUP | LOOP_EDGE);
    if (rc < 0) {
        log_error("%s: channel %u: cannot watch a host end: %s", hub->guest,
            hub->channels[r->channel].config.port, strerrordesc_np(-rc));
        r->io.fd = -1;
        close(fd);
        relay_refused(hub, index, generation);
        return;
    }
    bool held = r->state == RELAY_OPENING;
    r->state = RELAY_OPEN;
    r->writable = true; // a fresh socket has room, and the guest may have sent already
    if (held)
        stack_accept(hub->stack, index, loop_now_us(hub->loop));
    make_ready(r);
}

void
relay_refused(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct relay *r = relay_waiting(hub, index, generation);
    if (!r)
        return;
    bool held = r->state == RELAY_OPENING;
    forget(r);
    if (held)
        stack_reject(hub->stack, index, loop_now_us(hub->loop));
    else
        stack_abort(hub->stack, index, loop_now_us(hub->loop));
}

void
relay_close_all(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->max_conns; i++) {
        struct relay *r = &hub->relays[i];
        if (r->state == RELAY_OPEN) {
            loop_remove(hub->loop, &r->io);
            close(r->io.fd);
        }
    }
}

// --- the stack's events --------------------------------------------------------------------------

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct hub *hub = ctx;
    return hub->link && link_send(hub->link, frame);
}

static bool
on_port(void *ctx, uint16_t port)
{
    const struct hub *hub = ctx;
    return hub->port_channel[port] != 0;
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    struct hub *hub = ctx;
    uint16_t channel = (uint16_t)(hub->port_channel[peer->local_port] - 1);
    uint64_t now_us = loop_now_us(hub->loop);
    if (!hub_session_begin(hub, channel)) {
        stack_reject(hub->stack, conn, now_us);
        return;
    }
    struct relay *r = &hub->relays[conn];
    bool early = hub->channels[channel].config.accept_early;
    *r = (struct relay) {
        .hub = hub,
        .io = {.fd = -1, .on_event = on_host_event, .ctx = r},
        .ready_next = r->ready_next,
        .in_ready = r->in_ready,
        .generation = r->generation,
        .channel = channel,
        .state = early ? RELAY_EARLY : RELAY_OPENING,
    };
    if (early)
        stack_accept(hub->stack, conn, now_us);
    hub->opener.open(hub->opener.ctx, session_of(r), channel, peer);
}

static void
on_established(void *ctx, uint32_t conn)
{
    const struct hub *hub = ctx;
    const struct relay *r = &hub->relays[conn];
    log_debug("%s: channel %u: conn %u: connected", hub->guest,
        hub->channels[r->channel].config.port, conn);
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state != RELAY_OPEN || !r->writable)
        return 0;
    return write_to_host(r, iov, iovcnt);
}

static void
on_readable(void *ctx, uint32_t conn)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state == RELAY_OPEN)
        pump_to_host(r);
}

static void
on_writable(void *ctx, uint32_t conn)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state == RELAY_OPEN)
        pump_to_guest(r);
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    static const char *const words[] = {
        [STACK_CLOSED] = "closed",
        [STACK_RESET] = "reset by the guest",
        [STACK_TIMED_OUT] = "the guest does not answer",
        [STACK_ABORTED] = "reset",
        [STACK_REFUSED] = "refused by the guest",
        [STACK_EVICTED] = "gave way to newer ones",
    };
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state == RELAY_FREE)
        return; // relay_refused on its way
    log_debug("%s: channel %u: conn %u: %s", hub->guest, hub->channels[r->channel].config.port,
              conn, words[reason]);
    uint32_t session = session_of(r);
    bool waiting = r->state != RELAY_OPEN;
    forget(r);
    if (waiting)
        hub->opener.cancel(hub->opener.ctx, session);
}

const struct stack_ops relay_stack_ops = {
    .on_emit = on_emit,
    .on_port = on_port,
    .on_open = on_open,
    .on_established = on_established,
    .on_data = on_data,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_closed = on_closed,
};
