// SPDX-License-Identifier: BSD-3-Clause
// A link whose calls fail, what it reports, and the other end where there is one.
#pragma once

#include "failing.h"
#include "pair.h"

static struct test_frame frame;

static inline bool
send_frame(struct pair *p)
{
    bool sent = link_send(p->r->link, frame_fill(&frame, 100, 1));
    if (p->r->link)
        link_flush(p->r->link);
    return sent;
}

static inline void
free_link(void *ctx)
{
    struct receiver *r = ctx;
    r->writable++;
    link_free(r->link);
    r->link = NULL;
}
