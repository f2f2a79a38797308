// SPDX-License-Identifier: BSD-3-Clause
// What a socket link listens on for one channel.
#pragma once

struct link_listener {
    int fd;  // -1: none
    int fd6; // netns: by IPv6; -1: none
};

#define LINK_LISTENER_NONE ((struct link_listener){-1, -1})

// Harmless when there is nothing to close.
void link_listener_close(struct link_listener *l);
