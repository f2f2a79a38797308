// SPDX-License-Identifier: BSD-3-Clause
// What a socket link listens on for one channel.
#pragma once

#include <unistd.h>

struct link_listener {
    int fd;  // -1: none
    int fd6; // netns: by IPv6; -1: none
};

#define LINK_LISTENER_NONE ((struct link_listener){-1, -1})

// Harmless when there is nothing to close.
static inline void
link_listener_close(struct link_listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->fd6 >= 0)
        close(l->fd6);
    *l = LINK_LISTENER_NONE;
}
