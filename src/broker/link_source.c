// SPDX-License-Identifier: BSD-3-Clause
// The broker's side of a frame link. A stream is handed over and forgotten: the next one is
// accepted or connected anew. A tap, packet or datagram socket is also kept here, so that a
// worker's successor goes on with the same queue. Nobody tells when the peer of a datagram socket
// is gone, so it is looked at now and then. Opening itself is link/open's and link/datagram's.
#include "broker/link_source.h"

#include "base/log.h"
#include "link/datagram.h"
#include "link/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_US           1000000
#define CONNECT_TIMEOUT_US 5000000
#define WATCH_US           1000000 // how often a datagram peer is looked at
#define LOG_BURST          8       // "up" lines, then one per interval
#define LOG_INTERVAL_US    10000000

struct link_source {
    struct loop *loop;
    const char *guest;
    struct link_spec spec;
    char name[256]; // the spec as a line
    const struct link_source_events *events;
    void *ctx;
    bool wanted; // link_source_next was called and not yet answered

    int kept_fd;    // tap, packet, and an inherited stream before its use; -1: none
    bool inherited; // spec.fd was given: there is no second one

    struct unix_listener listener; // stream server, or the datagram socket
    struct loop_io listener_io;
    bool listening; // listener_io is in the loop

    struct datagram_peer peer; // of a Unix datagram socket
    bool met;                  // the socket is connected to it

    struct loop_io connect_io; // stream client: a connect under way, fd -1 when none
    int timer;                 // retry, the end of patience with connect_io, or the next WATCH_US
    int failing;               // errno of the last failed attempt, 0 after a success
    uint64_t rest_until_us;    // no attempt of ours before: a link that breaks at once is no loop
    struct log_limit limit;    // of "up"
};

static void
retry_later(struct link_source *s)
{
    loop_timer_set(s->loop, s->timer, loop_clock_us() + RETRY_US);
}

// Once per reason, not once per attempt.
static void
note_failure(struct link_source *s, int why, const char *text)
{
    if (s->failing == why)
        return;
    s->failing = why;
    log_warn("%s: link %s: %s, trying again each second", s->guest, s->name, text);
}

static void
hand_over(struct link_source *s, int fd)
{
    uint64_t now = loop_clock_us();
    uint32_t left_out;
    s->wanted = false;
    s->failing = 0;
    s->rest_until_us = now + RETRY_US;
    if (log_limit_pass(&s->limit, now, &left_out))
        log_info("%s: link %s: up", s->guest, s->name);
    s->events->on_link(s->ctx, fd);
}

static void
stop_listening(struct link_source *s)
{
    if (s->listening)
        loop_remove(s->loop, &s->listener_io);
    s->listening = false;
}

static void
on_listener(void *ctx, unsigned events)
{
    struct link_source *s = ctx;
    int fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        stop_listening(s); // one guest at a time; the next one waits in the backlog
        hand_over(s, fd);
        return;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    // Out of descriptors: the listener stays readable, so it must rest or the loop would spin.
    note_failure(s, errno, strerror(errno));
    stop_listening(s);
    retry_later(s);
}

static void
start_listening(struct link_source *s, void (*on_event)(void *ctx, unsigned events))
{
    if (s->listening)
        return;
    s->listener_io = (struct loop_io){.fd = s->listener.fd, .on_event = on_event, .ctx = s};
    if (loop_add(s->loop, &s->listener_io, LOOP_READ) < 0)
        retry_later(s);
    else
        s->listening = true;
}

static void
drop_connect(struct link_source *s)
{
    if (s->connect_io.fd < 0)
        return;
    loop_remove(s->loop, &s->connect_io);
    close(s->connect_io.fd);
    s->connect_io.fd = -1;
}

static void
on_connect(void *ctx, unsigned events)
{
    struct link_source *s = ctx;
    int why = 0;
    socklen_t len = sizeof(why);
    if (getsockopt(s->connect_io.fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
        why = errno;
    if (why != 0) {
        drop_connect(s);
        note_failure(s, why, strerror(why));
        retry_later(s);
        return;
    }
    int fd = s->connect_io.fd;
    loop_remove(s->loop, &s->connect_io);
    s->connect_io.fd = -1;
    loop_timer_clear(s->loop, s->timer);
    hand_over(s, fd);
}

static void
start_connect(struct link_source *s)
{
    struct error err = {{0}};
    bool pending = false;
    int fd = link_connect(&s->spec, &pending, &err);
    if (fd < 0) {
        note_failure(s, -fd, err.text);
        retry_later(s);
        return;
    }
    if (!pending) {
        hand_over(s, fd);
        return;
    }
    s->connect_io = (struct loop_io){.fd = fd, .on_event = on_connect, .ctx = s};
    if (loop_add(s->loop, &s->connect_io, LOOP_WRITE) < 0) {
        close(fd);
        s->connect_io.fd = -1;
        retry_later(s);
        return;
    }
    loop_timer_set(s->loop, s->timer, loop_clock_us() + CONNECT_TIMEOUT_US);
}

static int
open_queue(struct link_source *s, struct error *err)
{
    if (s->spec.kind == LINK_TAP)
        return link_open_tap(&s->spec, err);
    return link_open_packet(&s->spec, err);
}

static void
hand_over_duplicate(struct link_source *s, int kept)
{
    int fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        note_failure(s, errno, strerror(errno));
        retry_later(s);
        return;
    }
    hand_over(s, fd);
}

// A tap or packet socket: the worker gets a duplicate.
static void
start_queue(struct link_source *s)
{
    struct error err = {{0}};
    if (s->kept_fd < 0)
        s->kept_fd =
            s->events->open_queue ? s->events->open_queue(s->ctx, &err) : open_queue(s, &err);
    if (s->kept_fd < 0) {
        note_failure(s, -s->kept_fd, err.text);
        s->kept_fd = -1;
        retry_later(s);
        return;
    }
    hand_over_duplicate(s, s->kept_fd);
}

static bool
is_datagram(const struct link_spec *spec)
{
    return spec->kind == LINK_MESSAGE &&
           (spec->carrier == LINK_CARRIER_UNIX || spec->carrier == LINK_CARRIER_UDP);
}

static bool
is_queue(const struct link_spec *spec)
{
    return spec->kind == LINK_TAP || spec->kind == LINK_PACKET;
}

static void
part_from_peer(struct link_source *s)
{
    if (s->met)
        datagram_part(s->listener.fd);
    s->met = false;
}

static void
on_first_message(void *ctx, unsigned events)
{
    struct link_source *s = ctx;
    struct error err = {{0}};
    int rc = datagram_meet(s->listener.fd, &s->spec, &s->peer, &err);
    if (rc == 0) {
        s->met = true;
        stop_listening(s);
        hand_over_duplicate(s, s->listener.fd);
        loop_timer_set(s->loop, s->timer, loop_clock_us() + WATCH_US);
    } else if (rc != -EAGAIN) {
        note_failure(s, -rc, err.text); // the next message may be of somebody else
    }
}

static void
start_datagram(struct link_source *s)
{
    if (s->spec.carrier == LINK_CARRIER_UDP) {
        hand_over_duplicate(s, s->listener.fd);
        return;
    }
    struct error err = {{0}};
    if (s->met && !datagram_peer_is_there(&s->peer))
        part_from_peer(s);
    int rc = s->met ? 0 : datagram_meet(s->listener.fd, &s->spec, &s->peer, &err);
    if (rc == 0) {
        s->met = true;
        hand_over_duplicate(s, s->listener.fd);
        loop_timer_set(s->loop, s->timer, loop_clock_us() + WATCH_US);
    } else if (s->spec.peer_path[0]) {
        note_failure(s, -rc, err.text);
        retry_later(s);
    } else {
        start_listening(s, on_first_message);
    }
}

static void
watch_peer(struct link_source *s)
{
    // The worker sees it and gives the link up.
    if (!datagram_peer_is_there(&s->peer))
        part_from_peer(s);
    else
        loop_timer_set(s->loop, s->timer, loop_clock_us() + WATCH_US);
}

static void
start(struct link_source *s)
{
    if (s->inherited && s->kept_fd < 0) {
        s->wanted = false;
        log_info("%s: link %s: inherited descriptor, no other will come", s->guest, s->name);
        s->events->on_exhausted(s->ctx);
    } else if (is_queue(&s->spec)) {
        start_queue(s);
    } else if (is_datagram(&s->spec)) {
        start_datagram(s);
    } else if (s->inherited) {
        int fd = s->kept_fd;
        s->kept_fd = -1;
        hand_over(s, fd);
    } else if (s->spec.server) {
        start_listening(s, on_listener);
    } else {
        start_connect(s);
    }
}

static void
on_timer(void *ctx)
{
    struct link_source *s = ctx;
    if (s->connect_io.fd >= 0) {
        drop_connect(s);
        note_failure(s, ETIMEDOUT, strerror(ETIMEDOUT));
    }
    if (s->wanted)
        start(s);
    else if (s->met)
        watch_peer(s);
}

// An inherited descriptor may be anything: it comes back when it is what its kind of link needs.
static int
check_inherited(struct link_source *s, struct error *err)
{
    bool pending;
    int fd = is_queue(&s->spec) ? open_queue(s, err) : link_connect(&s->spec, &pending, err);
    return fd < 0 ? fd : 0;
}

// What cannot wait until it is asked for: the other side may start only when we are there.
static int
open_at_start(struct link_source *s, struct error *err)
{
    if (s->inherited)
        return check_inherited(s, err);
    if (is_datagram(&s->spec))
        return datagram_open(&s->spec, &s->listener, err);
    if (!is_queue(&s->spec))
        return s->spec.server ? link_listen(&s->spec, &s->listener, err) : 0;
    s->kept_fd = open_queue(s, err);
    return s->kept_fd < 0 ? s->kept_fd : 0;
}

struct link_source *
link_source_new(struct loop *loop, const char *guest, const struct link_spec *spec,
                const struct link_source_events *events, void *ctx, struct error *err)
{
    struct link_source *s = calloc(1, sizeof(*s));
    if (!s) {
        if (spec->fd >= 0)
            close(spec->fd);
        error_set(err, ENOMEM, "link");
        return NULL;
    }
    *s = (struct link_source){
        .loop = loop,
        .guest = guest,
        .spec = *spec,
        .events = events,
        .ctx = ctx,
        .kept_fd = spec->fd,
        .inherited = spec->fd >= 0,
        .listener = {.fd = -1, .lock_fd = -1},
        .connect_io = {.fd = -1},
        .timer = loop_timer_new(loop, on_timer, s),
        .limit = {.burst = LOG_BURST, .interval_us = LOG_INTERVAL_US, .tokens = LOG_BURST}};
    link_spec_name(spec, s->name, sizeof(s->name));
    int rc = s->timer < 0 ? error_set(err, ENOMEM, "link %s", s->name) : open_at_start(s, err);
    if (rc < 0) {
        link_source_free(s);
        return NULL;
    }
    return s;
}

int
link_source_share(const struct link_source *s, const struct unix_access *access, struct error *err)
{
    return unix_listener_share(&s->listener, access, err);
}

void
link_source_free(struct link_source *s)
{
    if (!s)
        return;
    link_source_pause(s);
    link_source_broken(s);
    unix_listener_close(&s->listener);
    if (s->timer >= 0)
        loop_timer_free(s->loop, s->timer);
    free(s);
}

void
link_source_next(struct link_source *s)
{
    if (s->wanted)
        return;
    s->wanted = true;
    // Who connects or sends to our socket sets the pace; what we open ourselves we pace.
    bool guest_comes = s->spec.server || (is_datagram(&s->spec) && !s->spec.peer_path[0] &&
                                          s->spec.carrier == LINK_CARRIER_UNIX);
    if (!guest_comes && !s->inherited && loop_clock_us() < s->rest_until_us)
        loop_timer_set(s->loop, s->timer, s->rest_until_us);
    else
        start(s);
}

void
link_source_broken(struct link_source *s)
{
    if (s->kept_fd >= 0)
        close(s->kept_fd);
    s->kept_fd = -1;
    part_from_peer(s);
}

void
link_source_pause(struct link_source *s)
{
    s->wanted = false;
    stop_listening(s);
    drop_connect(s);
    if (s->timer >= 0)
        loop_timer_clear(s->loop, s->timer);
}
