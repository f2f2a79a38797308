// SPDX-License-Identifier: BSD-3-Clause
// What all frame links have in common: the way from link.h to a kind's functions, the breaking of a
// link, its end. The kinds (stream.c, message.c, tap.c, packet.c) move the frames.
#include "link/link_impl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void
on_down_timer(void *ctx)
{
    struct link *link = ctx;
    link->events->on_down(link->ctx, link->why);
}

// Without O_ASYNC, which a sandbox forbids to set (broker/sandbox_seccomp.c).
static bool
set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, (flags | O_NONBLOCK) & ~O_ASYNC) == 0;
}

bool
link_init(struct link *link, struct loop *loop, int fd, const struct link_events *events, void *ctx,
          void (*on_event)(void *ctx, unsigned loop_events))
{
    link->loop = loop;
    link->events = events;
    link->ctx = ctx;
    link->io = (struct loop_io){.fd = fd, .on_event = on_event, .ctx = link};
    link->down_timer = loop_timer_new(loop, on_down_timer, link);
    if (link->down_timer >= 0 && set_nonblocking(fd) && loop_add(loop, &link->io, LOOP_READ) == 0)
        return true;
    loop_timer_free(loop, link->down_timer);
    close(fd);
    link->ops->free(link);
    return false;
}

void
link_break(struct link *link, int errnum, const char *fmt, ...)
{
    assert(!link->closed);
    if (link->broken)
        return;
    link->broken = true;
    va_list args;
    va_start(args, fmt);
    vsnprintf(link->why, sizeof(link->why), fmt, args);
    va_end(args);
    size_t len = strlen(link->why);
    if (errnum)
        snprintf(link->why + len, sizeof(link->why) - len, ": %s", strerror(errnum));
    loop_remove(link->loop, &link->io);
    loop_timer_set(link->loop, link->down_timer, 0);
}

bool
link_deliver(struct link *link, const struct frame *frames, size_t count)
{
    assert(!link->closed && !link->broken);
    if (count == 0)
        return true;
    link->stats.frames_in += count;
    for (size_t i = 0; i < count; i++)
        link->stats.bytes_in += frames[i].len;
    link->events->on_frames(link->ctx, frames, count);
    return !link->closed && !link->broken;
}

void
link_take_partial_csum(struct link *link)
{
    link->csum_in = FRAME_CSUM_PARTIAL;
}

const struct link_caps *
link_caps_of(const struct link *link)
{
    return &link->caps;
}

const struct link_stats *
link_stats_of(const struct link *link)
{
    return &link->stats;
}

bool
link_send(struct link *link, const struct frame *frame)
{
    assert(frame->iovcnt >= 1 && frame->iovcnt <= FRAME_IOV_MAX && frame->len <= FRAME_MAX);
    if (link->broken) {
        link->stats.dropped_out++;
        return true;
    }
    return link->ops->send(link, frame);
}

void
link_flush(struct link *link)
{
    if (!link->broken)
        link->ops->flush(link);
}

void
link_free(struct link *link)
{
    if (!link)
        return;
    assert(!link->closed);
    link->closed = true;
    if (!link->broken)
        loop_remove(link->loop, &link->io);
    loop_timer_free(link->loop, link->down_timer);
    if (link->ops->stop)
        link->ops->stop(link);
    close(link->io.fd);
    // One of its functions may be on the stack, reading what it reads into.
    loop_defer(link->loop, link->ops->free, link);
}
