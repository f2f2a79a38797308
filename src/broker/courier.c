// SPDX-License-Identifier: BSD-3-Clause
// Messages over the broker's socket pair. While something of the broker's waits to be sent it reads
// nothing, so that a worker that asks and never listens holds itself up and not the broker's
// memory. The worker always reads: if both waited for the other, both would wait for ever.
#include "broker/courier.h"

#include "base/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECEIVE_MAX 64     // messages per turn, so that a flood leaves time for the rest
#define CROWDED_US  100000 // between looks whether fewer descriptors are under way

static bool
may_read(const struct courier *c)
{
    return c->used == 0 || !c->limits.from_worker;
}

static void
watch(struct courier *c)
{
    bool writes = c->used > 0 && !c->crowded;
    unsigned events = (may_read(c) ? LOOP_READ : 0) | (writes ? LOOP_WRITE : 0);
    if (events == c->watched)
        return;
    c->watched = events;
    loop_modify(c->loop, &c->io, events);
}

static void
close_all(const int *fds, size_t nfds)
{
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
}

static void
drop_queue(struct courier *c)
{
    for (; c->used > 0; c->used--) {
        const struct courier_item *item = &c->queue[c->head];
        close_all(item->fds, item->nfds);
        c->head = (c->head + 1) % c->size;
    }
}

static void
gone(struct courier *c)
{
    loop_remove(c->loop, &c->io);
    loop_timer_clear(c->loop, c->timer);
    close(c->io.fd);
    c->io.fd = -1;
    drop_queue(c);
    c->events->on_gone(c->ctx);
}

// 1: the socket took it, 0: full, or not now, -errno: broken.
static int
send_one(struct courier *c, const struct message *m, const int *fds, size_t nfds)
{
    ssize_t n = fdpass_send(c->io.fd, m, sizeof(*m), fds, nfds);
    if (n == -ETOOMANYREFS && m->type == MESSAGE_OPENED) {
        // Too many descriptors in flight (unix(7)), and nothing tells when they are fewer: this
        // end is closed by our caller, and the guest is refused. What else has one has to wait.
        struct message refused = {
            .type = MESSAGE_REFUSED, .session = m->session, .why = -ETOOMANYREFS};
        n = fdpass_send(c->io.fd, &refused, sizeof(refused), NULL, 0);
    }
    c->crowded = n == -ETOOMANYREFS;
    if (n >= 0)
        return 1;
    if (c->crowded)
        loop_timer_set(c->loop, c->timer, loop_clock_us() + CROWDED_US);
    return c->crowded || n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM ? 0 : (int)n;
}

static void
flush(struct courier *c)
{
    while (c->used > 0) {
        struct courier_item *item = &c->queue[c->head];
        int rc = send_one(c, &item->message, item->fds, item->nfds);
        if (rc == 0)
            break;
        if (rc < 0) {
            gone(c);
            return;
        }
        close_all(item->fds, item->nfds);
        c->head = (c->head + 1) % c->size;
        c->used--;
    }
    watch(c);
}

static void
on_timer(void *ctx)
{
    flush(ctx);
}

// One message into m. 1: whole and valid, or valid but its descriptors did not find room among ours
// and are lost; 0: garbage; -errno: nothing there (-EAGAIN) or the end.
static int
receive_one(struct courier *c, struct message *m, int *fds, size_t *nfds)
{
    struct message data = {0};
    *nfds = MESSAGE_FDS_MAX;
    ssize_t n = fdpass_recv(c->io.fd, &data, sizeof(data), fds, nfds);
    if (n == -EMSGSIZE) {
        size_t wants = message_fds(&data);
        return wants > 0 && message_parse(m, &data, sizeof(data), wants, &c->limits);
    }
    if (n == -ENOMEM || n == -ENOBUFS) // the message is still there
        return -EAGAIN;
    if (n <= 0)
        return n < 0 ? (int)n : -EPIPE;
    if (message_parse(m, &data, (size_t)n, *nfds, &c->limits))
        return 1;
    close_all(fds, *nfds);
    return 0;
}

static void
receive(struct courier *c)
{
    for (int i = 0; i < RECEIVE_MAX && c->io.fd >= 0 && may_read(c); i++) {
        struct message m;
        int fds[MESSAGE_FDS_MAX];
        size_t nfds;
        int rc = receive_one(c, &m, fds, &nfds);
        if (rc == -EAGAIN)
            return;
        if (rc < 0)
            gone(c);
        else if (rc == 0)
            c->events->on_garbage(c->ctx);
        else
            c->events->on_message(c->ctx, &m, fds, nfds);
    }
}

static void
on_socket(void *ctx, unsigned events)
{
    struct courier *c = ctx;
    if (events & LOOP_WRITE)
        flush(c);
    else if ((events & LOOP_HANGUP) && !may_read(c))
        gone(c);
    // Else a hang-up ends in receive(), after the last words.
    if (c->io.fd >= 0 && (events & (LOOP_READ | LOOP_HANGUP)))
        receive(c);
}

int
courier_init(struct courier *c, struct loop *loop, int sock, uint32_t queue_size,
             const struct message_limits *limits, const struct courier_events *events, void *ctx)
{
    *c = (struct courier){.loop = loop,
                          .io = {.fd = sock, .on_event = on_socket, .ctx = c},
                          .watched = LOOP_READ,
                          .limits = *limits,
                          .events = events,
                          .ctx = ctx,
                          .size = queue_size,
                          .timer = loop_timer_new(loop, on_timer, c)};
    c->queue = calloc(queue_size, sizeof(*c->queue));
    int rc = c->queue && c->timer >= 0 ? loop_add(loop, &c->io, LOOP_READ) : -ENOMEM;
    if (rc < 0) {
        close(sock);
        c->io.fd = -1;
        courier_fini(c);
    }
    return rc;
}

void
courier_fini(struct courier *c)
{
    if (!c->loop)
        return;
    loop_timer_free(c->loop, c->timer);
    if (c->io.fd >= 0) {
        loop_remove(c->loop, &c->io);
        close(c->io.fd);
        c->io.fd = -1;
        drop_queue(c);
    }
    free(c->queue);
    c->queue = NULL;
    c->loop = NULL;
}

bool
courier_send(struct courier *c, const struct message *m, int fd)
{
    return courier_send_fds(c, m, &fd, fd >= 0 ? 1 : 0);
}

bool
courier_send_fds(struct courier *c, const struct message *m, const int *fds, size_t nfds)
{
    assert(nfds <= MESSAGE_FDS_MAX);
    if (!c->queue || c->io.fd < 0 || c->used == c->size) {
        close_all(fds, nfds);
        return false;
    }
    // A broken socket is not told from here, in the midst of the caller's work: the queued message
    // is dropped when the loop reports the hang-up.
    if (c->used == 0 && send_one(c, m, fds, nfds) > 0) {
        close_all(fds, nfds);
        return true;
    }
    struct courier_item *item = &c->queue[(c->head + c->used) % c->size];
    *item = (struct courier_item){.message = *m, .nfds = nfds};
    for (size_t i = 0; i < nfds; i++)
        item->fds[i] = fds[i];
    c->used++;
    watch(c);
    return true;
}

uint32_t
courier_room(const struct courier *c)
{
    return c->size - c->used;
}
