// SPDX-License-Identifier: BSD-3-Clause
// See control_server.h. Clients are users of this account, or root; still none of them can hold up
// the broker or another one: each has a bounded buffer, a deadline for the rest of what it has
// begun to send and for taking its reply, and nothing is read from it meanwhile. Of too many
// clients the one that was silent longest gives way.
#include "broker/control_server.h"

#include "base/fdpass.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_MAX      32
#define ACCEPTS_PER_TURN 8
#define READS_PER_TURN   8
#define READ_BYTES       4096 // a buffer begins with this
#define BUSY_US          UINT64_C(10000000)
#define IDLE_US          UINT64_C(60000000)
#define RETRY_US         100000 // after EMFILE: a level-triggered listener would spin

struct client {
    struct control_server *server;
    struct loop_io io; // fd -1: this entry is free
    int timer;
    uint64_t active_us; // when it came, or last had a call served
    unsigned watched;

    char *in; // heap, grows up to CONTROL_CALL_MAX
    size_t in_len, in_size;
    int fd; // came with what is in `in`; -1: none

    char *out; // heap; NULL: nothing to send
    size_t out_len, out_at;
    bool held;
    uint32_t held_for;
};

struct control_server {
    struct loop *loop;
    const char *guest;
    const struct control_ops *ops;
    void *ctx;
    struct unix_listener listener;
    struct loop_io io;
    bool listening; // io is in the loop
    int retry_timer;
    struct client *serving; // whose call is being served
    struct client clients[CLIENTS_MAX];
};

static void
drop(struct client *c)
{
    loop_remove(c->server->loop, &c->io);
    loop_timer_clear(c->server->loop, c->timer);
    close(c->io.fd);
    c->io.fd = -1;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    free(c->in);
    free(c->out);
    c->in = c->out = NULL;
}

static void
watch(struct client *c)
{
    // Nothing is read from who has a reply to take; that it left is told all the same.
    unsigned events = !c->out ? LOOP_READ : c->held ? 0 : LOOP_WRITE;
    if (events != c->watched)
        loop_modify(c->server->loop, &c->io, events);
    c->watched = events;
}

// From now on it has so long to say or take all of something.
static void
give_time(struct client *c, uint64_t time_us)
{
    loop_timer_set(c->server->loop, c->timer, loop_clock_us() + time_us);
}

static void
on_timer(void *ctx)
{
    struct client *c = ctx;
    log_debug("%s: control: a client was silent for too long, dropped", c->server->guest);
    drop(c);
}

// False when the client is gone.
static bool
send_reply(struct client *c)
{
    while (c->out && !c->held) {
        ssize_t n =
            send(c->io.fd, c->out + c->out_at, c->out_len - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
            return true;
        if (n < 0) {
            drop(c);
            return false;
        }
        c->out_at += (size_t)n;
        if (c->out_at < c->out_len)
            continue;
        free(c->out);
        c->out = NULL;
        give_time(c, c->in_len > 0 ? BUSY_US : IDLE_US);
    }
    return true;
}

// Serves the first call in the buffer. False when the client is gone.
static bool
serve(struct client *c, size_t len)
{
    struct control_server *s = c->server;
    s->serving = c;
    c->active_us = loop_clock_us();
    c->out_at = 0;
    bool ok = control_serve(s->ops, s->ctx, c->in, len, &c->fd, &c->out, &c->out_len);
    s->serving = NULL;
    if (c->fd >= 0) // nobody asked for it
        close(c->fd);
    c->fd = -1;
    if (!ok) {
        log_debug("%s: control: what a client said is no call, dropped", s->guest);
        drop(c);
        return false;
    }
    c->held &= c->out != NULL;
    c->in_len -= len + 1;
    memmove(c->in, c->in + len + 1, c->in_len);
    return true;
}

// Serves what is whole, one call after the other; stops at a reply that is not taken at once.
// False when the client is gone.
static bool
serve_all(struct client *c)
{
    bool served = false;
    while (!c->out) {
        const char *end = c->in_len > 0 ? memchr(c->in, '\0', c->in_len) : NULL;
        if (!end)
            break;
        if (!serve(c, (size_t)(end - c->in)) || !send_reply(c))
            return false;
        served = true;
    }
    if (served)
        give_time(c, c->out || c->in_len > 0 ? BUSY_US : IDLE_US);
    watch(c);
    return true;
}

// Room for more bytes of a call: how many, 0 when the call is too long.
static size_t
make_room(struct client *c)
{
    if (c->in_len == c->in_size && c->in_size < CONTROL_CALL_MAX) {
        size_t size = c->in_size ? 2 * c->in_size : READ_BYTES;
        char *grown = realloc(c->in, size);
        if (!grown)
            return 0;
        c->in = grown;
        c->in_size = size;
    }
    return c->in_size - c->in_len;
}

// One read. False when there is no more to read now, or the client is gone.
static bool
read_some(struct client *c)
{
    int fd = -1;
    size_t nfds = 1, room = make_room(c);
    ssize_t n = room > 0 ? fdpass_recv(c->io.fd, c->in + c->in_len, room, &fd, &nfds) : -EMSGSIZE;
    if (n == -EAGAIN)
        return false;
    if (n > 0 && nfds > 0 && c->fd >= 0) { // one call never wants two
        close(fd);
        n = -EMSGSIZE;
    }
    if (n <= 0) {
        if (n < 0)
            log_debug("%s: control: a client is dropped: %s", c->server->guest,
                      strerrordesc_np((int)-n));
        drop(c);
        return false;
    }
    if (nfds > 0)
        c->fd = fd;
    if (c->in_len == 0)
        give_time(c, BUSY_US);
    c->in_len += (size_t)n;
    return serve_all(c) && !c->out;
}

static void
on_client(void *ctx, unsigned events)
{
    struct client *c = ctx;
    if (c->out && (events & LOOP_HANGUP)) {
        drop(c);
        return;
    }
    if (events & LOOP_WRITE) {
        if (!send_reply(c) || c->out || !serve_all(c))
            return;
    }
    for (int i = 0; i < READS_PER_TURN && c->io.fd >= 0 && !c->out; i++)
        if (!read_some(c))
            return;
}

// --- clients -------------------------------------------------------------------------------------

// A free entry, made so where there is none.
static struct client *
client_entry(struct control_server *s)
{
    struct client *oldest = &s->clients[0];
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->io.fd < 0)
            return c;
        if (c->active_us < oldest->active_us)
            oldest = c;
    }
    log_debug("%s: control: %d clients, the one silent longest is dropped", s->guest, CLIENTS_MAX);
    drop(oldest);
    return oldest;
}

// The directory lets nobody else in; should the socket be somewhere else, this does not either.
static bool
is_admitted(int fd)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t len = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void
accepted(struct control_server *s, int fd)
{
    if (!is_admitted(fd)) {
        log_debug("%s: control: a client of another user, dropped", s->guest);
        close(fd);
        return;
    }
    struct client *c = client_entry(s);
    int timer = c->timer;
    *c = (struct client){.server = s,
                         .io = {.fd = fd, .on_event = on_client, .ctx = c},
                         .timer = timer,
                         .active_us = loop_clock_us(),
                         .watched = LOOP_READ,
                         .fd = -1};
    if (loop_add(s->loop, &c->io, LOOP_READ) < 0) {
        close(fd);
        c->io.fd = -1;
        return;
    }
    give_time(c, BUSY_US);
    on_client(c, LOOP_READ); // before others come, and it might have to give way
}

static void
on_retry(void *ctx)
{
    struct control_server *s = ctx;
    loop_modify(s->loop, &s->io, LOOP_READ);
}

static void
on_listener(void *ctx, unsigned events)
{
    struct control_server *s = ctx;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            accepted(s, fd);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            log_error("%s: control: accept: %s", s->guest, strerrordesc_np(errno));
            loop_modify(s->loop, &s->io, 0);
            loop_timer_set(s->loop, s->retry_timer, loop_clock_us() + RETRY_US);
        }
        return;
    }
}

// --- making --------------------------------------------------------------------------------------

static bool
make_timers(struct control_server *s)
{
    s->retry_timer = loop_timer_new(s->loop, on_retry, s);
    bool ok = s->retry_timer >= 0;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        c->io.fd = c->fd = -1;
        c->timer = loop_timer_new(s->loop, on_timer, c);
        ok &= c->timer >= 0;
    }
    return ok;
}

struct control_server *
control_server_new(struct loop *loop, const char *guest, const char *path,
                   const struct control_ops *ops, void *ctx, struct error *err)
{
    struct control_server *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, ENOMEM, "control");
        return NULL;
    }
    s->loop = loop;
    s->guest = guest;
    s->ops = ops;
    s->ctx = ctx;
    s->listener = (struct unix_listener){.fd = -1, .lock_fd = -1};
    int rc = make_timers(s) ? 0 : error_set(err, ENOMEM, "control");
    if (rc == 0)
        rc = unix_listener_open(&s->listener, path, false, false, err);
    s->io = (struct loop_io){.fd = s->listener.fd, .on_event = on_listener, .ctx = s};
    if (rc == 0 && (rc = loop_add(loop, &s->io, LOOP_READ)) < 0)
        error_set(err, -rc, "control: %s", path);
    s->listening = rc == 0;
    if (rc < 0) {
        control_server_free(s);
        return NULL;
    }
    return s;
}

void
control_server_free(struct control_server *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->io.fd >= 0)
            drop(c);
        if (c->timer >= 0)
            loop_timer_free(s->loop, c->timer);
    }
    if (s->listening)
        loop_remove(s->loop, &s->io);
    unix_listener_close(&s->listener);
    if (s->retry_timer >= 0)
        loop_timer_free(s->loop, s->retry_timer);
    free(s);
}

int
control_server_share(const struct control_server *s, const struct unix_access *access,
                     struct error *err)
{
    return unix_listener_share(&s->listener, access, err);
}

void
control_server_hold(struct control_server *s, uint32_t number)
{
    s->serving->held = true;
    s->serving->held_for = number;
}

void
control_server_release(struct control_server *s, uint32_t number)
{
    for (size_t i = 0; s && i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];
        if (c->io.fd < 0 || !c->held || c->held_for > number)
            continue;
        c->held = false;
        if (send_reply(c))
            serve_all(c);
    }
}
