// SPDX-License-Identifier: BSD-3-Clause
// Messages over the broker's socket pair. While something of the broker's waits to be sent it reads
// nothing, so that a worker that asks and never listens holds itself up and not the broker's
// memory. The worker always reads: if both waited for the other, both would wait for ever.
#include "broker/courier.h"

#include "base/fdpass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECEIVE_MAX 64 // messages per turn, so that a flood leaves time for the rest

static bool
may_read(const struct courier *c)
{
    return c->used == 0 || !c->limits.from_worker;
}

static void
watch(struct courier *c)
{
    unsigned events = (may_read(c) ? LOOP_READ : 0) | (c->used > 0 ? LOOP_WRITE : 0);
    if (events == c->watched)
        return;
    c->watched = events;
    loop_modify(c->loop, &c->io, events);
}

static void
drop_queue(struct courier *c)
{
    for (; c->used > 0; c->used--) {
        int fd = c->queue[c->head].fd;
        if (fd >= 0)
            close(fd);
        c->head = (c->head + 1) % c->size;
    }
}

static void
gone(struct courier *c)
{
    loop_remove(c->loop, &c->io);
    close(c->io.fd);
    c->io.fd = -1;
    drop_queue(c);
    c->events->on_gone(c->ctx);
}

// 1: the socket took it, 0: full, -errno: broken.
static int
send_one(struct courier *c, const struct message *m, int fd)
{
    ssize_t n = fdpass_send(c->io.fd, m, sizeof(*m), &fd, fd >= 0 ? 1 : 0);
    if (n == -ETOOMANYREFS && m->type == MESSAGE_OPENED) {
        // Too many descriptors in flight (unix(7)), and nothing tells when they are fewer: this
        // end is closed by our caller, and the guest is refused.
        struct message refused = {
            .type = MESSAGE_REFUSED, .session = m->session, .why = -ETOOMANYREFS};
        n = fdpass_send(c->io.fd, &refused, sizeof(refused), NULL, 0);
    }
    if (n >= 0)
        return 1;
    return n == -EAGAIN || n == -ENOBUFS || n == -ENOMEM ? 0 : (int)n;
}

static void
flush(struct courier *c)
{
    while (c->used > 0) {
        struct courier_item *item = &c->queue[c->head];
        int rc = send_one(c, &item->message, item->fd);
        if (rc == 0)
            break;
        if (rc < 0) {
            gone(c);
            return;
        }
        if (item->fd >= 0)
            close(item->fd);
        c->head = (c->head + 1) % c->size;
        c->used--;
    }
    watch(c);
}

// One message into m. 1: whole and valid, 2: valid, but its descriptor did not find room among
// ours and is lost, 0: garbage, -errno: nothing there (-EAGAIN) or the end.
static int
receive_one(struct courier *c, struct message *m, int *fd)
{
    struct message data = {0};
    size_t nfds = 1;
    ssize_t n = fdpass_recv(c->io.fd, &data, sizeof(data), fd, &nfds);
    if (n == -EMSGSIZE)
        return message_parse(m, &data, sizeof(data), 1, &c->limits) ? 2 : 0;
    if (n <= 0)
        return n < 0 ? (int)n : -EPIPE;
    if (message_parse(m, &data, (size_t)n, nfds, &c->limits)) {
        *fd = nfds > 0 ? *fd : -1;
        return 1;
    }
    if (nfds > 0)
        close(*fd);
    return 0;
}

static void
receive(struct courier *c)
{
    for (int i = 0; i < RECEIVE_MAX && c->io.fd >= 0 && may_read(c); i++) {
        struct message m;
        int fd = -1;
        int rc = receive_one(c, &m, &fd);
        if (rc == -EAGAIN)
            return;
        if (rc < 0)
            gone(c);
        else if (rc == 0)
            c->events->on_garbage(c->ctx);
        else
            c->events->on_message(c->ctx, &m, rc == 1 ? fd : -1);
    }
}

static void
on_socket(void *ctx, unsigned events)
{
    struct courier *c = ctx;
    if (events & LOOP_WRITE)
        flush(c);
    else if ((events & LOOP_HANGUP) && !may_read(c))
        flush(c); // fails for good, and ends in gone()
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
                          .size = queue_size};
    c->queue = calloc(queue_size, sizeof(*c->queue));
    int rc = c->queue ? loop_add(loop, &c->io, LOOP_READ) : -ENOMEM;
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
    if (!c->queue)
        return;
    if (c->io.fd >= 0) {
        loop_remove(c->loop, &c->io);
        close(c->io.fd);
        c->io.fd = -1;
        drop_queue(c);
    }
    free(c->queue);
    c->queue = NULL;
}

bool
courier_send(struct courier *c, const struct message *m, int fd)
{
    if (!c->queue || c->io.fd < 0 || c->used == c->size) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    // A broken socket is not told from here, in the midst of the caller's work: the queued message
    // is dropped when the loop reports the hang-up.
    if (c->used == 0 && send_one(c, m, fd) > 0) {
        if (fd >= 0)
            close(fd);
        return true;
    }
    c->queue[(c->head + c->used) % c->size] = (struct courier_item){*m, fd};
    c->used++;
    watch(c);
    return true;
}

uint32_t
courier_room(const struct courier *c)
{
    return c->size - c->used;
}
