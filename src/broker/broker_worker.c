// SPDX-License-Identifier: BSD-3-Clause
// The broker's half of the talk with its worker: what it is told, what it says, and another one
// when it has died. What it says has been validated by the courier; what is left to check here is
// what depends on state: a session asked for twice, a link that is not the current one.
#include "broker/internal.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define READY_TIMEOUT_US (10 * 1000000)
#define GARBAGE_MAX      16 // messages of one worker, before it is replaced
#define GARBAGE_LOG_US   1000000
#define LINK_BURST       8 // "down" lines, then one per interval
#define LINK_LOG_US      10000000
#define PEER_TEXT        (INET6_ADDRSTRLEN + 8) // with brackets and port
#define RESPAWN_MIN_US   20000
#define RESPAWN_MAX_US   5000000
#define LIVED_WELL_US    10000000 // a worker that lived so long is replaced without delay

static void
end_opened(void *ctx, uint64_t session, const int *fds, size_t nfds)
{
    struct broker *b = ctx;
    courier_send_fds(
        &b->worker.courier,
        &(struct message){.type = MESSAGE_OPENED, .session = session, .fds = (uint16_t)nfds}, fds,
        nfds);
}

static void
end_refused(void *ctx, uint64_t session, int why)
{
    struct broker *b = ctx;
    courier_send(&b->worker.courier,
                 &(struct message){.type = MESSAGE_REFUSED, .session = session, .why = why}, -1);
}

const struct opener_events broker_worker_ends = {.on_opened = end_opened,
                                                 .on_refused = end_refused};

void
broker_worker_link(void *ctx, int fd)
{
    struct broker *b = ctx;
    b->link = ++b->links;
    courier_send(&b->worker.courier,
                 &(struct message){.type = MESSAGE_LINK,
                                   .link = b->link,
                                   .link_kind = b->link_spec.kind,
                                   .link_offload = b->link_spec.offload},
                 fd);
}

static void
on_garbage(void *ctx)
{
    struct broker *b = ctx;
    uint32_t left_out;
    b->garbage++;
    if (log_limit_pass(&b->garbage_limit, loop_clock_us(), &left_out))
        log_error("%s: worker: malformed message number %u dropped", b->guest->name, b->garbage);
    if (b->garbage == GARBAGE_MAX) {
        log_error("%s: worker: too many malformed messages, ended", b->guest->name);
        worker_process_kill(&b->worker);
    }
}

// A duplicate of what stays the broker's, with a message about m->channel.
static void
send_copy(struct broker *b, const struct message *m, int fd, const char *what)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        courier_send(&b->worker.courier, m, copy);
    else
        log_error("%s: channel %s: %s: %s", b->guest->name,
                  channel_port_text(b->guest->channels[m->channel].port).text, what,
                  strerror(errno));
}

void
broker_send_listener(struct broker *b, uint16_t channel)
{
    struct message m = {
        .type = MESSAGE_LISTENER, .channel = channel, .guest_cid = b->link_spec.cid};
    const struct link_listener *l = &b->listeners[channel];
    if (l->fd >= 0)
        send_copy(b, &m, l->fd, "listener");
    if (l->fd6 >= 0)
        send_copy(b, &m, l->fd6, "listener");
}

void
broker_send_log(struct broker *b, uint16_t channel)
{
    struct message m = {.type = MESSAGE_LOG, .channel = channel};
    int fd = opener_log_fd(b->opener, channel);
    if (fd >= 0)
        send_copy(b, &m, fd, "logfile");
}

// Logs first: they must be there before the first guest byte.
static void
on_ready(struct broker *b, uint32_t changes)
{
    b->worker.ready = b->served = true;
    broker_control_worker_ready(b, changes);
    for (size_t i = 0; i < b->guest->channel_count; i++)
        broker_send_log(b, (uint16_t)i);
    log_debug("%s: worker %d ready", b->guest->name, (int)b->worker.pid);
    for (size_t i = 0; i < b->guest->channel_count; i++)
        broker_send_listener(b, (uint16_t)i);
    if (!b->is_socket_link)
        link_source_next(b->source);
}

static const char *
peer_text(const struct message *m, char out[PEER_TEXT])
{
    const struct in_addr addr = {.s_addr = htonl(m->guest_addr)};
    char text[INET6_ADDRSTRLEN];
    if (ipv6_addr_is_none(&m->guest_addr6))
        snprintf(out, PEER_TEXT, "%s:%u", inet_ntop(AF_INET, &addr, text, sizeof(text)),
                 m->guest_port);
    else
        snprintf(out, PEER_TEXT, "[%s]:%u",
                 inet_ntop(AF_INET6, &m->guest_addr6, text, sizeof(text)), m->guest_port);
    return out;
}

static void
on_open(struct broker *b, const struct message *m)
{
    if (!channel_spec_is_used(&b->guest->channels[m->channel])) { // removed while the worker asked
        end_refused(b, m->session, -ECONNREFUSED);
        return;
    }
    char text[PEER_TEXT];
    log_debug("%s: channel %s: session %" PRIu64 ": open for %s", b->guest->name,
              channel_port_text(b->guest->channels[m->channel].port).text, m->session,
              peer_text(m, text));
    const struct proxy_peer guest = {
        .addr = m->guest_addr, .port = (uint16_t)m->guest_port, .addr6 = m->guest_addr6};
    if (!opener_open(b->opener, m->session, (uint16_t)m->channel, &guest))
        on_garbage(b);
}

static void
on_link_down(struct broker *b, uint32_t link)
{
    if (link != b->link || !b->source) {
        on_garbage(b);
        return;
    }
    uint32_t left_out;
    b->link = 0;
    if (log_limit_pass(&b->link_limit, loop_clock_us(), &left_out))
        log_info("%s: link: down", b->guest->name);
    link_source_broken(b->source);
    if (b->exit_on_link_down)
        broker_finish(b, 0);
    else
        link_source_next(b->source);
}

static void
on_closed(struct broker *b, uint64_t session)
{
    if (opener_closed(b->opener, session))
        return;
    if (b->closes_expected > 0)
        b->closes_expected--;
    else
        on_garbage(b);
}

static void
on_message(void *ctx, const struct message *m, const int *fds, size_t nfds)
{
    struct broker *b = ctx;
    // Ended, but its last words may still be in the socket.
    if (b->garbage >= GARBAGE_MAX)
        return;
    // A worker says that it is ready first, and once.
    if ((m->type == MESSAGE_READY) == b->worker.ready) {
        on_garbage(b);
        return;
    }
    switch ((enum message_type)m->type) {
    case MESSAGE_READY:
        on_ready(b, (uint32_t)m->session);
        break;
    case MESSAGE_OPEN:
        on_open(b, m);
        break;
    case MESSAGE_CANCEL:
        opener_cancel(b->opener, m->session);
        break;
    case MESSAGE_LINK_DOWN:
        on_link_down(b, m->link);
        break;
    case MESSAGE_CLOSED:
        on_closed(b, m->session);
        break;
    case MESSAGE_SYNCED:
        if (m->session == 0 || m->session > b->sync)
            on_garbage(b);
        else
            control_server_release(b->control, (uint32_t)m->session);
        break;
    case MESSAGE_OPENED:
    case MESSAGE_REFUSED:
    case MESSAGE_LINK:
    case MESSAGE_DRAIN:
    case MESSAGE_LISTENER:
    case MESSAGE_LOG:
    case MESSAGE_CHANNEL:
    case MESSAGE_REMOVE:
    case MESSAGE_SYNC:
    case MESSAGE_CAPTURE:
        break; // not from a worker: the courier lets none through
    }
}

static void
on_worker_gone(void *ctx)
{
    struct broker *b = ctx;
    worker_process_kill(&b->worker); // a process that closed its socket is of no use
}

static const struct courier_events worker_events = {
    .on_message = on_message, .on_garbage = on_garbage, .on_gone = on_worker_gone};

static void
respawn_later(struct broker *b)
{
    loop_timer_set(b->loop, b->respawn_timer, loop_clock_us() + b->respawn_us);
    b->respawn_us = b->respawn_us < RESPAWN_MAX_US / 2 ? b->respawn_us * 2 : RESPAWN_MAX_US;
}

// A first worker that never got ready is a failure to start; later ones are replaced, at once after
// a long life and ever more slowly after short ones.
static void
on_worker_exit(void *ctx, const char *cause)
{
    struct broker *b = ctx;
    if (b->draining) {
        broker_finish(b, 0);
        return;
    }
    b->worker_died = true;
    b->link = 0;
    broker_control_worker_gone(b);
    opener_cancel_all(b->opener);
    if (b->source)
        link_source_pause(b->source);
    log_error("%s: worker: ended by %s, its connections are lost", b->guest->name, cause);
    if (!b->worker.ready && !b->served) {
        broker_finish(b, -EPIPE);
        return;
    }
    if (loop_clock_us() - b->worker.started_us >= LIVED_WELL_US)
        b->respawn_us = RESPAWN_MIN_US;
    respawn_later(b);
}

int
broker_worker_start(struct broker *b, struct error *err)
{
    b->garbage = 0;
    b->links = 0;
    return worker_process_start(&b->worker, b->loop, b->guest, b->counters,
                                b->starter.pid > 0 ? &b->starter : NULL, b->null_fd, &worker_events,
                                on_worker_exit, b, err);
}

static void
on_respawn(void *ctx)
{
    struct broker *b = ctx;
    struct error err;
    if (b->draining) { // long enough
        broker_finish(b, 0);
        return;
    }
    b->restarts++;
    int rc = broker_worker_start(b, &err);
    if (rc == 0)
        return;
    log_error("%s: %s", b->guest->name, err.text);
    if (rc == -EPIPE) // no starter
        broker_finish(b, -EPIPE);
    else
        respawn_later(b);
}

void
broker_worker_init(struct broker *b)
{
    b->garbage_limit = (struct log_limit){.burst = 4, .interval_us = GARBAGE_LOG_US, .tokens = 4};
    b->link_limit =
        (struct log_limit){.burst = LINK_BURST, .interval_us = LINK_LOG_US, .tokens = LINK_BURST};
    b->respawn_timer = loop_timer_new(b->loop, on_respawn, b);
    b->respawn_us = RESPAWN_MIN_US;
}

int
broker_worker_wait(struct broker *b, struct error *err)
{
    uint64_t deadline = loop_clock_us() + READY_TIMEOUT_US;
    while (!b->worker.ready && !b->finished && loop_clock_us() < deadline)
        if (loop_turn(b->loop, 100) < 0)
            break;
    return b->worker.ready ? 0 : error_set(err, 0, "worker: did not get ready");
}

void
broker_worker_drain(struct broker *b)
{
    b->draining = true;
    courier_send(&b->worker.courier, &(struct message){.type = MESSAGE_DRAIN}, -1);
    loop_timer_set(b->loop, b->respawn_timer, loop_clock_us() + b->drain_ms * UINT64_C(1000));
}
