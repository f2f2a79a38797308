// SPDX-License-Identifier: BSD-3-Clause
// Moves the bytes of a relay and maps its ends: what is written to the host end and read from it,
// when that is shut, and what errors become. The rings are the stack's. Which connection has which
// host end, and since when, is relay.c's.
//
// Host ends are registered once, edge-triggered, and their readiness is remembered, so that a busy
// connection costs no epoll_ctl.
#include "channel/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CUT_MAX 16 // pieces written at once under rate=; 2 at least

uint32_t
relay_index(const struct relay *r)
{
    return (uint32_t)(r - r->hub->relays);
}

void
relay_make_ready(struct relay *r)
{
    struct hub *hub = r->hub;
    if (r->in_ready)
        return;
    r->in_ready = true;
    r->ready_next = 0;
    if (hub->ready_last)
        hub->relays[hub->ready_last - 1].ready_next = relay_index(r) + 1;
    else
        hub->ready_first = relay_index(r) + 1;
    hub->ready_last = relay_index(r) + 1;
}

static struct port_text
port_of(const struct relay *r)
{
    return channel_port_text(r->hub->channels[r->channel].config.port);
}

// --- guest -> host -------------------------------------------------------------------------------

// What the host end has to give now is the last of it.
static void
drain(struct relay *r)
{
    r->draining = true;
    r->readable = true;
    relay_make_ready(r);
}

// The host end will never take another byte. What it sent before still goes to the guest, then RST.
static void
host_write_failed(struct relay *r, int errnum)
{
    struct hub *hub = r->hub;
    bool left = errnum == EPIPE || errnum == ECONNRESET;
    if (left && r->host.end.way != HOST_END_FILE) // a client or a service may; not a pipe's reader
        log_debug("%s: channel %s: conn %u: host end takes no more: %s", hub->guest,
                  port_of(r).text, relay_index(r), strerrordesc_np(errnum));
    else
        hub_log_fault(hub, r->channel, "connection reset", errnum);
    r->write_failed = true;
    r->writable = false;
    if (r->host_eof)
        stack_abort_after_send(hub->stack, relay_index(r), loop_now_us(hub->loop));
    else if (r->host.end.way == HOST_END_SOCKET || r->host.end.way == HOST_END_CODEC)
        relay_make_ready(r); // reads to the end first, which is sure to come
    else
        drain(r);
}

// Less than offered means that the host end is full or broken.
static size_t
write_to_host(struct relay *r, const struct iovec *iov, int iovcnt)
{
    size_t total = 0;
    for (int i = 0; i < iovcnt; i++)
        total += iov[i].iov_len;
    ssize_t n = host_end_write(&r->host.end, iov, iovcnt);
    if (r->host.end.log_error) {
        hub_log_fault(r->hub, r->channel, "logfile lacks some of the traffic",
                      r->host.end.log_error);
        r->host.end.log_error = 0;
    }
    if (n < 0 && (n != -EAGAIN || !r->host.out_polled)) {
        host_write_failed(r, (int)-n);
        return 0;
    }
    if (n < (ssize_t)total && r->host.out_polled)
        r->writable = false;
    if (n <= 0)
        return 0;
    r->moved_us = loop_now_us(r->hub->loop);
    r->hub->channels[r->channel].counters->bytes_from_guest += (uint64_t)n;
    loop_moved(r->hub->loop, (size_t)n);
    return (size_t)n;
}

// The front of iov, of at most len bytes or, where pieces may not be cut, the one piece that begins
// within. Gives how many pieces, at most CUT_MAX; out may be iov.
static int
cut_front(const struct iovec *iov, int iovcnt, size_t len, bool whole, struct iovec *out)
{
    int count = 0;
    for (; count < iovcnt && count < CUT_MAX && len > 0; count++) {
        out[count] = iov[count];
        if (iov[count].iov_len > len && !whole)
            out[count].iov_len = len;
        len -= iov[count].iov_len < len ? iov[count].iov_len : len;
    }
    return count;
}

// Under rate=. What is not taken stays with the stack, whose window closes.
static size_t
write_limited(struct relay *r, const struct iovec *iov, int iovcnt)
{
    struct iovec front[CUT_MAX];
    size_t may = limit_ask(r->limit, LIMIT_TO_HOST);
    if (may == 0)
        return 0;
    int count = cut_front(iov, iovcnt, may, r->host.end.way == HOST_END_DATAGRAM, front);
    size_t n = write_to_host(r, front, count);
    if (r->limit) { // else the connection has ended
        limit_moved(r->limit, LIMIT_TO_HOST, n);
        limit_rest(r->limit, LIMIT_TO_HOST);
        relay_make_ready(r); // asks again for what was left out
    }
    return n;
}

size_t
relay_write_to_host(struct relay *r, const struct iovec *iov, int iovcnt)
{
    return r->limit ? write_limited(r, iov, iovcnt) : write_to_host(r, iov, iovcnt);
}

void
relay_pump_to_host(struct relay *r)
{
    struct stack *stack = r->hub->stack;
    struct iovec iov[2];
    int count;
    if (r->writable && r->host.end.codec) {
        int rc = host_end_flush(&r->host.end);
        if (rc < 0 && rc != -EAGAIN && !r->write_failed)
            host_write_failed(r, -rc);
        r->writable = rc == 0;
    }
    while (r->writable && !r->write_failed && r->state == RELAY_OPEN &&
           (count = stack_recv_iov(stack, relay_index(r), iov)) > 0) {
        size_t n = relay_write_to_host(r, iov, count);
        if (n == 0)
            break; // full, broken, or over the rate
        stack_recv_consume(stack, relay_index(r), n);
    }
    if (r->state == RELAY_OPEN && !r->guest_eof && !r->write_failed &&
        stack_recv_at_end(stack, relay_index(r))) {
        r->guest_eof = true;
        if (!host_end_shutdown(&r->host.end))
            drain(r);
    }
}

// --- host -> guest -------------------------------------------------------------------------------

// The host end has sent its last byte, orderly or by an error.
static void
host_read_ended(struct relay *r, int errnum)
{
    struct stack *stack = r->hub->stack;
    uint32_t conn = relay_index(r);
    r->readable = false;
    r->host_eof = true;
    if (errnum || r->write_failed) {
        log_debug("%s: channel %s: conn %u: host end broke: %s", r->hub->guest, port_of(r).text,
                  conn, errnum ? strerrordesc_np(errnum) : "closed with the guest still sending");
        stack_abort_after_send(stack, conn, loop_now_us(r->hub->loop));
        return;
    }
    stack_shutdown(stack, conn);
    if (r->hangup || host_end_is_over(&r->host.end))
        stack_orphan(stack, conn);
}

// One read's worth.
static void
take_read(struct relay *r, ssize_t n, size_t room)
{
    if (n == -EAGAIN) {
        r->readable = false;
        if (r->draining)
            host_read_ended(r, 0);
    } else if (n == 0) {
        host_read_ended(r, 0);
    } else if (n < 0) {
        host_read_ended(r, (int)-n);
    } else if ((size_t)n < room && !r->finishing && host_end_reads_short(&r->host.end)) {
        r->readable = false; // drained; what comes later is a new edge (epoll(7))
    }
}

// Whether a host end that finished sending has nothing more to give than that: which costs no
// token.
static bool
has_ended(const struct relay *r)
{
    char byte;
    if (!r->finishing || r->host.end.way != HOST_END_SOCKET)
        return false;
    ssize_t n = recv(r->host.end.read_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

// How much may be read for the guest now; 0: none.
static size_t
may_read(struct relay *r)
{
    if (!r->limit)
        return SIZE_MAX;
    size_t may = limit_ask(r->limit, LIMIT_TO_GUEST);
    return may == 0 && has_ended(r) ? 1 : may;
}

void
relay_pump_to_guest(struct relay *r)
{
    struct stack *stack = r->hub->stack;
    uint32_t conn = relay_index(r);
    struct iovec iov[2];
    size_t may;
    while (r->state == RELAY_OPEN && r->readable && !r->host_eof && (may = may_read(r)) > 0) {
        int count = stack_send_iov(stack, conn, iov);
        if (count == 0)
            break; // on_writable goes on
        size_t room = iov[0].iov_len + (count > 1 ? iov[1].iov_len : 0);
        if (room > may) {
            count = cut_front(iov, count, may, false, iov);
            room = may;
        }
        ssize_t n = host_end_read(&r->host.end, iov, count);
        stack_send_commit(stack, conn, n > 0 ? (size_t)n : 0);
        if (n > 0) {
            r->moved_us = loop_now_us(r->hub->loop);
            r->hub->channels[r->channel].counters->bytes_to_guest += (uint64_t)n;
            loop_moved(r->hub->loop, (size_t)n);
            if (r->limit)
                limit_moved(r->limit, LIMIT_TO_GUEST, (size_t)n);
        }
        if (r->host.end.codec && n != -EAGAIN && !r->write_failed) {
            r->writable = true; // what was read may have opened the codec, or made it owe an answer
            relay_make_ready(r);
        }
        if (n == -EINTR) {
            relay_make_ready(r);
            break;
        }
        take_read(r, n, room);
    }
    if (r->limit)
        limit_rest(r->limit, LIMIT_TO_GUEST);
}

// --- readiness -----------------------------------------------------------------------------------

void
relay_on_host_event(void *ctx, unsigned events)
{
    struct relay *r = ctx;
    if (events & (LOOP_RDHUP | LOOP_HANGUP))
        r->finishing = r->readable = true;
    if (events & LOOP_HANGUP) {
        r->hangup = true;
        r->writable = true; // a write will tell the error
        if (r->host_eof && !r->write_failed)
            stack_orphan(r->hub->stack, relay_index(r));
    }
    if (events & LOOP_READ)
        r->readable = true;
    if (events & LOOP_WRITE)
        r->writable = true;
    relay_make_ready(r);
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
            relay_pump_to_host(r);
        if (r->state == RELAY_OPEN)
            relay_pump_to_guest(r);
        if (end)
            break;
    }
}
