// SPDX-License-Identifier: BSD-3-Clause
// See listener.h.
#include "link/listener.h"

#include <unistd.h>

void
link_listener_close(struct link_listener *l)
{
    if (l->fd >= 0)
        close(l->fd);
    if (l->fd6 >= 0)
        close(l->fd6);
    *l = LINK_LISTENER_NONE;
}
