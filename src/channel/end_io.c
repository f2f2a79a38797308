// SPDX-License-Identifier: BSD-3-Clause
// See end_io.h.
#include "channel/end_io.h"

#include <errno.h>

// Of two descriptors each tells of its own direction alone.
static void
on_in(void *ctx, unsigned events)
{
    const struct end_io *e = ctx;
    e->on_event(e->ctx, (events & LOOP_HANGUP) ? LOOP_READ : events);
}

static void
on_out(void *ctx, unsigned events)
{
    const struct end_io *e = ctx;
    e->on_event(e->ctx, (events & LOOP_HANGUP) ? LOOP_WRITE : events);
}

// 1: added, 0: cannot be polled, or -errno.
static int
add(struct loop *loop, struct loop_io *io, unsigned events)
{
    int rc = loop_add(loop, io, events | LOOP_EDGE);
    if (rc == -EPERM)
        return 0;
    return rc < 0 ? rc : 1;
}

static int
start_one(struct end_io *e, struct loop *loop)
{
    e->in = (struct loop_io){e->end.read_fd, e->on_event, e->ctx};
    int rc = add(loop, &e->in, LOOP_READ | LOOP_WRITE | LOOP_RDHUP);
    if (rc < 0)
        return rc;
    e->in_added = e->in_polled = e->out_polled = rc > 0;
    return 0;
}

static int
start_two(struct end_io *e, struct loop *loop)
{
    int rc = 0;
    if (e->end.read_fd >= 0) {
        e->in = (struct loop_io){e->end.read_fd, on_in, e};
        rc = add(loop, &e->in, LOOP_READ);
        e->in_added = e->in_polled = rc > 0;
    }
    if (rc >= 0 && e->end.write_fd >= 0) {
        e->out = (struct loop_io){e->end.write_fd, on_out, e};
        rc = add(loop, &e->out, LOOP_WRITE);
        e->out_added = e->out_polled = rc > 0;
    }
    return rc < 0 ? rc : 0;
}

int
end_io_start(struct end_io *e, struct loop *loop, void (*on_event)(void *ctx, unsigned events),
             void *ctx)
{
    e->on_event = on_event;
    e->ctx = ctx;
    e->in_polled = e->out_polled = e->in_added = e->out_added = false;
    bool is_one = e->end.read_fd >= 0 && e->end.read_fd == e->end.write_fd;
    int rc = is_one ? start_one(e, loop) : start_two(e, loop);
    if (rc < 0)
        end_io_stop(e, loop);
    return rc;
}

void
end_io_stop(struct end_io *e, struct loop *loop)
{
    if (e->in_added)
        loop_remove(loop, &e->in);
    if (e->out_added)
        loop_remove(loop, &e->out);
    e->in_added = e->out_added = false;
}
