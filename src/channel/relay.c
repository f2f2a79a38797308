// SPDX-License-Identifier: BSD-3-Clause
// The life of a relay, which joins a connection of the stack and a host end: asked for, opened or
// refused, over. What happens to the bytes between is relay_pump.c's.
#include "channel/internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint64_t
session_of(const struct relay *r)
{
    return ((uint64_t)r->generation << SESSION_INDEX_BITS) | relay_index(r);
}

static struct relay *
relay_of_new_conn(struct hub *hub, uint32_t conn)
{
    if (conn >= hub->relays_touched)
        hub->relays_touched = conn + 1;
    return &hub->relays[conn];
}

// A codec's last bytes were acknowledged to the guest: they outlive a connection that ended well.
static void
close_end(struct relay *r, bool in_order)
{
    struct hub *hub = r->hub;
    limit_leave(r->limit);
    r->limit = NULL;
    end_io_stop(&r->host, hub->loop);
    if (in_order && host_end_flush(&r->host.end) == -EAGAIN)
        linger_add(&hub->lingering, &r->host.end);
    else
        host_end_close(&r->host.end);
}

static void
forget(struct relay *r)
{
    r->state = RELAY_FREE;
    r->generation++;
    hub_session_end(r->hub, r->channel);
}

// --- the opener's answers ------------------------------------------------------------------------

static struct relay *
relay_waiting(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct relay *r = &hub->relays[index];
    if (r->state != RELAY_OPENING && r->state != RELAY_EARLY)
        return NULL;
    return r->generation == generation ? r : NULL;
}

static void
on_grant(void *ctx)
{
    relay_make_ready(ctx);
}

// The host end, already filled in, into the loop and under the channel's rate=. 0 or -errno; the
// end stays open.
static int
start_io(struct relay *r)
{
    struct hub *hub = r->hub;
    struct limit *limit = hub->channels[r->channel].limit;
    if (limit && !(r->limit = limit_join(limit, on_grant, r)))
        return -ENOMEM;
    int rc = end_io_start(&r->host, hub->loop, relay_on_host_event, r);
    if (rc < 0) {
        limit_leave(r->limit);
        r->limit = NULL;
    }
    return rc;
}

static int
start_end(struct relay *r, const int *fds, size_t nfds)
{
    struct hub *hub = r->hub;
    const struct channel *ch = &hub->channels[r->channel];
    int rc = host_end_init(&r->host.end, ch->config.device, ch->log_fd, fds, nfds);
    if (rc < 0)
        return rc;
    rc = start_io(r);
    if (rc < 0)
        host_end_close(&r->host.end);
    return rc;
}

void
relay_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds)
{
    struct relay *r = relay_waiting(hub, index, generation);
    if (!r) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return;
    }
    int rc = start_end(r, fds, nfds);
    if (rc < 0) {
        uint64_t session = session_of(r);
        uint16_t channel = r->channel;
        log_error("%s: channel %s: cannot use a host end: %s", hub->guest,
                  channel_port_text(hub->channels[channel].config.port).text, strerrordesc_np(-rc));
        relay_refused(hub, index, generation);
        if (hub->opener.closed)
            hub->opener.closed(hub->opener.ctx, session, channel);
        return;
    }
    bool held = r->state == RELAY_OPENING;
    hub->channels[r->channel].counters->opened++;
    r->state = RELAY_OPEN;
    r->moved_us = loop_now_us(hub->loop);
    r->writable = true; // a fresh end has room, and the guest may have sent already
    r->readable = !r->host.in_polled;
    if (held)
        stack_accept(hub->stack, index, loop_now_us(hub->loop));
    relay_make_ready(r);
}

void
relay_refused(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct relay *r = relay_waiting(hub, index, generation);
    if (!r)
        return;
    bool held = r->state == RELAY_OPENING;
    hub->channels[r->channel].counters->refused++;
    forget(r);
    if (held)
        stack_reject(hub->stack, index, loop_now_us(hub->loop));
    else
        stack_abort(hub->stack, index, loop_now_us(hub->loop));
}

void
relay_reset_channel(struct hub *hub, uint16_t channel)
{
    for (uint32_t i = 0; i < hub->relays_touched; i++) {
        struct relay *r = &hub->relays[i];
        if (r->state == RELAY_FREE || r->channel != channel)
            continue;
        uint64_t session = session_of(r);
        if (r->state == RELAY_OPENING) {
            relay_refused(hub, i, r->generation);
            hub->opener.cancel(hub->opener.ctx, session);
        } else {
            stack_abort(hub->stack, i, loop_now_us(hub->loop)); // on_closed does the rest
        }
    }
}

void
relay_reset_idle(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->relays_touched; i++) {
        const struct relay *r = &hub->relays[i];
        if (r->state != RELAY_OPEN || limit_holds(r->limit) ||
            !hub_is_idle(hub, r->channel, r->moved_us))
            continue;
        log_debug("%s: channel %s: conn %u: idle", hub->guest,
                  channel_port_text(hub->channels[r->channel].config.port).text, i);
        stack_abort(hub->stack, i, loop_now_us(hub->loop));
    }
}

bool
relay_guest_has_finished(const struct hub *hub)
{
    for (uint32_t i = 0; i < hub->max_conns; i++) {
        const struct relay *r = &hub->relays[i];
        if (r->state == RELAY_OPEN && !r->guest_eof && !r->write_failed)
            return false;
    }
    return true;
}

void
relay_close_all(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->max_conns; i++) {
        struct relay *r = &hub->relays[i];
        if (r->state == RELAY_OPEN || r->state == RELAY_DIALLING)
            close_end(r, false);
    }
}

// --- inward --------------------------------------------------------------------------------------

void
relay_dial(struct hub *hub, uint16_t channel, uint16_t guest_port, const int *fds, size_t nfds)
{
    const struct channel *ch = &hub->channels[channel];
    struct host_end end;
    int rc = host_end_init(&end, ch->config.device, ch->log_fd, fds, nfds);
    if (rc < 0) {
        log_error("%s: channel %s: cannot use a host client: %s", hub->guest,
                  channel_port_text(ch->config.port).text, strerrordesc_np(-rc));
        return;
    }
    if (!hub_session_begin(hub, channel)) {
        host_end_close(&end);
        return;
    }
    uint64_t now_us = loop_now_us(hub->loop);
    uint32_t conn = stack_connect(hub->stack, hub->guest_addr, guest_port, 0, now_us);
    if (conn == STACK_NO_CONN) {
        log_debug("%s: channel %s: host client dropped: no connection left", hub->guest,
                  channel_port_text(ch->config.port).text);
        ch->counters->refused++;
        host_end_close(&end);
        hub_session_end(hub, channel);
        return;
    }
    struct relay *r = relay_of_new_conn(hub, conn);
    *r = (struct relay){
        .hub = hub,
        .host = {.end = end},
        .ready_next = r->ready_next,
        .in_ready = r->in_ready,
        .generation = r->generation,
        .channel = channel,
        .state = RELAY_DIALLING,
        .tell_port = ch->config.port == 0,
    };
}

// As Firecracker does: the client may send once it has read this. A client's fresh socket has room
// for it.
static bool
tell_port(struct relay *r)
{
    struct stack_peer peer;
    char text[16];
    stack_peer_of(r->hub->stack, relay_index(r), &peer);
    int len = snprintf(text, sizeof text, "OK %u\n", peer.local_port);
    const struct iovec iov = {text, (size_t)len};
    return host_end_write(&r->host.end, &iov, 1) == len;
}

static void
guest_accepted(struct relay *r)
{
    struct hub *hub = r->hub;
    if ((r->tell_port && !tell_port(r)) || start_io(r) < 0) {
        stack_abort(hub->stack, relay_index(r), loop_now_us(hub->loop));
        return;
    }
    hub->channels[r->channel].counters->opened++;
    r->state = RELAY_OPEN;
    r->moved_us = loop_now_us(hub->loop);
    r->writable = true;
    r->readable = !r->host.in_polled;
    relay_make_ready(r);
}

// --- the stack's events --------------------------------------------------------------------------

static bool
on_emit(void *ctx, const struct frame *frame)
{
    struct hub *hub = ctx;
    if (!hub->link || !link_send(hub->link, frame))
        return false;
    if (hub->captures.count > 0)
        captures_take(&hub->captures, frame, true);
    return true;
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
    struct relay *r = relay_of_new_conn(hub, conn);
    bool early = hub->channels[channel].config.accept_early;
    *r = (struct relay){
        .hub = hub,
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
    struct relay *r = &hub->relays[conn];
    log_debug("%s: channel %s: conn %u: connected", hub->guest,
              channel_port_text(hub->channels[r->channel].config.port).text, conn);
    if (r->state == RELAY_DIALLING)
        guest_accepted(r);
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state != RELAY_OPEN || !r->writable)
        return 0;
    return relay_write_to_host(r, iov, iovcnt);
}

static void
on_readable(void *ctx, uint32_t conn)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state == RELAY_OPEN)
        relay_pump_to_host(r);
}

static void
on_writable(void *ctx, uint32_t conn)
{
    struct hub *hub = ctx;
    struct relay *r = &hub->relays[conn];
    if (r->state == RELAY_OPEN)
        relay_pump_to_guest(r);
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
    log_debug("%s: channel %s: conn %u: %s", hub->guest,
              channel_port_text(hub->channels[r->channel].config.port).text, conn, words[reason]);
    uint64_t session = session_of(r);
    bool waiting = r->state == RELAY_OPENING || r->state == RELAY_EARLY;
    bool inward = hub->channels[r->channel].config.inward; // of which the opener knows no more
    if (r->state == RELAY_DIALLING)
        hub->channels[r->channel].counters->refused++;
    if (!waiting)
        close_end(r, reason == STACK_CLOSED);
    forget(r);
    if (waiting)
        hub->opener.cancel(hub->opener.ctx, session);
    else if (hub->opener.closed && !inward)
        hub->opener.closed(hub->opener.ctx, session, r->channel);
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
