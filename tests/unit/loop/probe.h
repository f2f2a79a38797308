// SPDX-License-Identifier: BSD-3-Clause
// One end of a socket pair in a loop, which counts what it hears; and what it may do to others when
// it does.
#pragma once

#include "loop/loop.h"

#include "../test.h"

#include <sys/socket.h>
#include <unistd.h>

struct probe {
    struct loop *loop;
    struct loop_io io;
    int peer;        // the other side of io.fd
    unsigned events; // of the last call
    int calls;
    struct probe *victim;  // removed (and its fd closed) from within the callback
    struct probe *newborn; // added in the callback, on the number the victim's fd had
    struct probe *quieted; // modified in the callback to want LOOP_WRITE only
};

static inline void
probe_event(void *ctx, unsigned events)
{
    struct probe *p = ctx;
    p->calls++;
    p->events = events;
    if (p->victim) {
        int fd = p->victim->io.fd;
        loop_remove(p->loop, &p->victim->io);
        close(fd);
        if (p->newborn) {
            assert_int_equal(dup2(p->newborn->io.fd, fd), fd);
            close(p->newborn->io.fd);
            p->newborn->io.fd = fd;
            assert_int_equal(loop_add(p->loop, &p->newborn->io, LOOP_READ), 0);
            p->newborn = NULL;
        }
        p->victim->io.fd = -1;
        p->victim = NULL;
    }
    if (p->quieted) {
        loop_modify(p->loop, &p->quieted->io, LOOP_WRITE);
        p->quieted = NULL;
    }
}

static inline void
probe_open(struct probe *p, struct loop *loop)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *p = (struct probe){.loop = loop, .peer = fds[1]};
    p->io = (struct loop_io){.fd = fds[0], .on_event = probe_event, .ctx = p};
}

static inline void
probe_close(struct probe *p)
{
    if (p->io.fd >= 0) {
        loop_remove(p->loop, &p->io);
        close(p->io.fd);
    }
    close(p->peer);
}
