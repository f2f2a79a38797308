// SPDX-License-Identifier: BSD-3-Clause
// A link of frames over one socket, what it reports, and the socket at the other end.
#pragma once

#include "frames.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct pair {
    struct loop *loop;
    struct receiver *r;
    int peer; // non-blocking; -1 once closed
};

typedef struct link *
new_link(struct loop *loop, int fd, const struct link_events *events, void *ctx);

static inline struct pair
pair_of(new_link *new, int ours, int peers)
{
    struct pair p = {.loop = loop_new(), .r = receiver_new(), .peer = peers};
    assert_int_equal(fcntl(peers, F_SETFL, O_NONBLOCK), 0);
    p.r->link = new (p.loop, ours, &receiver_events, p.r);
    assert_non_null(p.r->link);
    return p;
}

// The link of that type of Unix socket.
static inline struct pair
pair_open(int type)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
    return pair_of(type == SOCK_STREAM ? link_new_stream : link_new_message, fds[0], fds[1]);
}

static inline void
pair_close(struct pair *p)
{
    link_free(p->r->link);
    loop_free(p->loop);
    if (p->peer >= 0)
        close(p->peer);
    free(p->r);
}
