// SPDX-License-Identifier: BSD-3-Clause
// Guest connections of a socket link: the guest's own kernel, or its hypervisor, has connected them
// to a listening socket of ours, and they are joined to the host end by splice, or by copying where
// the end is not a plain stream. As that kernel has answered the SYN before we were asked, what is
// refused is accepted and reset at once.
#include "channel/internal.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define RETRY_US         100000 // after EMFILE: a level-triggered listener would spin

static uint32_t
index_of(const struct socket_session *t)
{
    return (uint32_t)(t - t->hub->sockets);
}

static uint64_t
session_of(const struct socket_session *t)
{
    return ((uint64_t)t->generation << SESSION_INDEX_BITS) | (t->hub->max_conns + index_of(t));
}

static struct socket_session *
session_new(struct hub *hub, uint16_t channel)
{
    if (!hub->sockets_free && hub->sockets_touched == hub->max_conns)
        return NULL;
    if (!hub_session_begin(hub, channel))
        return NULL;
    struct socket_session *t;
    if (hub->sockets_free) {
        t = &hub->sockets[hub->sockets_free - 1];
        hub->sockets_free = t->next_free;
    } else {
        t = &hub->sockets[hub->sockets_touched++];
    }
    t->hub = hub;
    t->channel = channel;
    t->state = SOCKET_OPENING;
    t->splice = NULL;
    t->pump = NULL;
    return t;
}

static void
session_free(struct socket_session *t)
{
    struct hub *hub = t->hub;
    t->state = SOCKET_FREE;
    t->generation++;
    t->next_free = hub->sockets_free;
    hub->sockets_free = index_of(t) + 1;
    hub_session_end(hub, t->channel);
    if (hub->session_count == 0 && ring_pool_is_dirty(&hub->kept))
        ring_pool_trim(&hub->kept, 0);
}

// For both ways, and with nothing left to read: what a guest sends before it leaves is delivered.
// Of AF_VSOCK the kernel reports no hangup before we have shut down too, but refuses to send.
static bool
guest_has_left(int fd, unsigned events)
{
    char byte;
    bool is_gone = events & LOOP_HANGUP;
    if (!is_gone && (events & LOOP_RDHUP))
        is_gone = send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
    return is_gone && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

// While there is no host end yet.
static void
on_guest_event(void *ctx, unsigned events)
{
    struct socket_session *t = ctx;
    if (!guest_has_left(t->io.fd, events))
        return;
    struct hub *hub = t->hub;
    uint64_t session = session_of(t);
    loop_remove(hub->loop, &t->io);
    close(t->io.fd);
    session_free(t);
    hub->opener.cancel(hub->opener.ctx, session);
}

// The session had a host end.
static void
session_over(struct socket_session *t)
{
    struct hub *hub = t->hub;
    uint64_t session = session_of(t);
    uint16_t channel = t->channel;
    session_free(t);
    if (hub->opener.closed)
        hub->opener.closed(hub->opener.ctx, session, channel);
}

static void
on_relay_done(void *ctx)
{
    session_over(ctx);
}

static void
on_pump_fault(void *ctx, const char *what, int errnum)
{
    const struct socket_session *t = ctx;
    hub_log_fault(t->hub, t->channel, what, errnum);
}

// TCP tells the guest's address; the other families have none that would fit, and give zeros.
static struct stack_peer
peer_of(const struct sockaddr_storage *from, uint16_t local_port)
{
    struct stack_peer peer = {.local_port = local_port};
    const struct sockaddr_in *sin = (const void *)from;
    if (from->ss_family == AF_INET) {
        peer.addr = ntohl(sin->sin_addr.s_addr);
        peer.port = ntohs(sin->sin_port);
    }
    const struct sockaddr_in6 *sin6 = (const void *)from;
    if (from->ss_family == AF_INET6) {
        memcpy(&peer.addr6, &sin6->sin6_addr, sizeof(peer.addr6));
        peer.port = ntohs(sin6->sin6_port);
    }
    return peer;
}

// An AF_VSOCK listener is reached by every guest of this host, and by the host itself.
static bool
is_admitted(const struct hub *hub, const struct sockaddr_storage *from)
{
    const struct sockaddr_vm *svm = (const void *)from;
    return from->ss_family != AF_VSOCK || (hub->guest_cid != 0 && svm->svm_cid == hub->guest_cid);
}

static void
accepted(struct listener *l, int fd, const struct sockaddr_storage *from)
{
    struct hub *hub = l->hub;
    if (!is_admitted(hub, from)) {
        log_debug("%s: channel %u: refused, of another CID", hub->guest,
                  hub->channels[l->channel].config.port);
        splice_reset_fd(fd);
        return;
    }
    struct socket_session *t = session_new(hub, l->channel);
    if (!t) {
        log_debug("%s: channel %u: refused, too many connections", hub->guest,
                  hub->channels[l->channel].config.port);
        splice_reset_fd(fd);
        return;
    }
    t->io = (struct loop_io){.fd = fd, .on_event = on_guest_event, .ctx = t};
    unsigned events = from->ss_family == AF_VSOCK ? LOOP_RDHUP | LOOP_EDGE : LOOP_EDGE;
    if (loop_add(hub->loop, &t->io, events) < 0) {
        splice_reset_fd(fd);
        session_free(t);
        return;
    }
    const struct stack_peer peer = peer_of(from, hub->channels[l->channel].config.port);
    hub->opener.open(hub->opener.ctx, session_of(t), l->channel, &peer);
}

static void
on_retry(void *ctx)
{
    struct listener *l = ctx;
    loop_modify(l->hub->loop, &l->io, LOOP_READ);
}

static void
accept_failed(struct listener *l, int errnum)
{
    struct hub *hub = l->hub;
    struct channel *ch = &hub->channels[l->channel];
    uint64_t now_us = loop_now_us(hub->loop);
    uint32_t left_out;
    if (log_limit_pass(&ch->log_limit, now_us, &left_out))
        log_error("%s: channel %u: accept: %s", hub->guest, ch->config.port,
                  strerrordesc_np(errnum));
    loop_modify(hub->loop, &l->io, 0);
    loop_timer_set(hub->loop, l->retry_timer, now_us + RETRY_US);
}

static void
on_listener(void *ctx, unsigned events)
{
    (void)events;
    struct listener *l = ctx;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t len = sizeof from;
        int fd = accept4(l->io.fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            accepted(l, fd, &from);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            accept_failed(l, errno);
        }
        return;
    }
}

int
hub_attach_listener(struct hub *hub, uint16_t channel, int fd)
{
    assert(channel < HUB_CHANNELS_MAX);
    if (!hub->channels[channel].used) {
        close(fd);
        return -ENOENT;
    }
    struct listener *l = calloc(1, sizeof *l);
    struct listener **list =
        reallocarray(hub->listeners, hub->listener_count + 1, sizeof *hub->listeners);
    if (list)
        hub->listeners = list;
    int timer = l ? loop_timer_new(hub->loop, on_retry, l) : -1;
    int rc = -ENOMEM;
    if (l && list && timer >= 0) {
        *l = (struct listener){
            .hub = hub,
            .io = {.fd = fd, .on_event = on_listener, .ctx = l},
            .channel = channel,
            .retry_timer = timer,
        };
        rc = loop_add(hub->loop, &l->io, LOOP_READ);
    }
    if (rc < 0) {
        if (timer >= 0)
            loop_timer_free(hub->loop, timer);
        free(l);
        close(fd);
        return rc;
    }
    hub->listeners[hub->listener_count++] = l;
    return 0;
}

static struct socket_session *
session_waiting(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct socket_session *t = &hub->sockets[index];
    if (index >= hub->sockets_touched || t->state != SOCKET_OPENING)
        return NULL;
    return t->generation == generation ? t : NULL;
}

void
hub_set_guest_cid(struct hub *hub, uint32_t cid)
{
    hub->guest_cid = cid;
}

// Two raw sockets are joined in the kernel; anything else by copying.
static bool
join(struct socket_session *t, struct host_end *end)
{
    struct loop *loop = t->hub->loop;
    const struct channel *ch = &t->hub->channels[t->channel];
    struct channel_counters *count = ch->counters;
    if (host_end_is_raw_socket(end)) {
        t->state = SOCKET_JOINED;
        t->splice = splice_new(loop, &t->hub->kept, t->io.fd, end->read_fd, on_relay_done, t);
        if (!t->splice)
            return false;
        splice_count(t->splice, &count->bytes_from_guest, &count->bytes_to_guest);
        if (!ch->limit || splice_limit(t->splice, ch->limit))
            return true;
        splice_free(t->splice);
        return false;
    }
    const struct pump_events events = {
        on_relay_done,          on_pump_fault, t, &count->bytes_from_guest,
        &count->bytes_to_guest, ch->limit};
    t->state = SOCKET_PUMPED;
    t->pump = pump_new(loop, t->io.fd, end, &events);
    return t->pump != NULL;
}

void
socket_opened(struct hub *hub, uint32_t index, uint32_t generation, const int *fds, size_t nfds)
{
    struct socket_session *t = session_waiting(hub, index, generation);
    if (!t) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        return;
    }
    const struct channel *ch = &hub->channels[t->channel];
    struct host_end end;
    int rc = host_end_init(&end, ch->config.device, ch->log_fd, fds, nfds);
    loop_remove(hub->loop, &t->io);
    if (rc < 0)
        splice_reset_fd(t->io.fd);
    if (rc < 0 || !join(t, &end)) {
        log_error("%s: channel %u: cannot join a connection: %s", hub->guest, ch->config.port,
                  strerrordesc_np(rc < 0 ? -rc : EMFILE));
        ch->counters->refused++;
        session_over(t);
        return;
    }
    ch->counters->opened++;
}

void
socket_refused(struct hub *hub, uint32_t index, uint32_t generation)
{
    struct socket_session *t = session_waiting(hub, index, generation);
    if (!t)
        return;
    hub->channels[t->channel].counters->refused++;
    loop_remove(hub->loop, &t->io);
    splice_reset_fd(t->io.fd);
    session_free(t);
}

void
socket_reset_idle(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->sockets_touched; i++) {
        struct socket_session *t = &hub->sockets[i];
        if (t->state == SOCKET_JOINED && hub_is_idle(hub, t->channel, splice_moved_us(t->splice))) {
            splice_free(t->splice);
            session_over(t);
        } else if (t->state == SOCKET_PUMPED &&
                   hub_is_idle(hub, t->channel, pump_moved_us(t->pump))) {
            pump_free(t->pump);
            session_over(t);
        }
    }
}

bool
socket_guest_has_finished(const struct hub *hub)
{
    for (uint32_t i = 0; i < hub->sockets_touched; i++) {
        const struct socket_session *t = &hub->sockets[i];
        if (t->state == SOCKET_OPENING) // its kernel has let the guest send
            return false;
        if (t->state == SOCKET_JOINED && !splice_guest_has_finished(t->splice))
            return false;
        if (t->state == SOCKET_PUMPED && !pump_guest_has_finished(t->pump))
            return false;
    }
    return true;
}

// Resets both sides of a session in use.
static void
cut(struct socket_session *t)
{
    if (t->state == SOCKET_JOINED) {
        splice_free(t->splice);
    } else if (t->state == SOCKET_PUMPED) {
        pump_free(t->pump);
    } else if (t->state == SOCKET_OPENING) {
        loop_remove(t->hub->loop, &t->io);
        splice_reset_fd(t->io.fd);
    }
}

static void
listener_free(void *ptr)
{
    free(ptr);
}

static void
listener_close(struct listener *l)
{
    loop_remove(l->hub->loop, &l->io);
    loop_timer_free(l->hub->loop, l->retry_timer);
    close(l->io.fd);
    loop_defer(l->hub->loop, listener_free, l); // its callback may be on the stack
}

void
socket_reset_channel(struct hub *hub, uint16_t channel)
{
    for (size_t i = 0; i < hub->listener_count;) {
        if (hub->listeners[i]->channel == channel) {
            listener_close(hub->listeners[i]);
            hub->listeners[i] = hub->listeners[--hub->listener_count];
        } else {
            i++;
        }
    }
    for (uint32_t i = 0; i < hub->sockets_touched; i++) {
        struct socket_session *t = &hub->sockets[i];
        if (t->state == SOCKET_FREE || t->channel != channel)
            continue;
        uint64_t session = session_of(t);
        bool opening = t->state == SOCKET_OPENING;
        cut(t);
        if (!opening) {
            session_over(t);
            continue;
        }
        session_free(t);
        hub->opener.cancel(hub->opener.ctx, session);
    }
}

void
socket_close_all(struct hub *hub)
{
    for (uint32_t i = 0; i < hub->sockets_touched; i++)
        cut(&hub->sockets[i]);
    for (size_t i = 0; i < hub->listener_count; i++)
        listener_close(hub->listeners[i]);
    free(hub->listeners);
}
