// SPDX-License-Identifier: BSD-3-Clause
// See linger.h.
#include "channel/linger.h"

#include <errno.h>
#include <stdlib.h>

#define LINGER_US (60 * UINT64_C(1000000))

struct linger {
    struct linger_list *list;
    struct linger *next, *prev;
    struct host_end end;
    struct loop_io io;
    int timer;
};

static void
finish(struct linger *l)
{
    struct linger_list *list = l->list;
    if (l->prev)
        l->prev->next = l->next;
    else
        list->first = l->next;
    if (l->next)
        l->next->prev = l->prev;
    loop_remove(list->loop, &l->io);
    loop_timer_free(list->loop, l->timer);
    host_end_close(&l->end);
    loop_defer(list->loop, free, l); // its callback may be on the stack
}

static void
on_timer(void *ctx)
{
    finish(ctx);
}

static void
on_event(void *ctx, unsigned events)
{
    struct linger *l = ctx;
    if (host_end_flush(&l->end) != -EAGAIN)
        finish(l);
}

void
linger_add(struct linger_list *list, const struct host_end *end)
{
    struct linger *l = calloc(1, sizeof(*l));
    if (l) {
        *l = (struct linger){.list = list, .next = list->first, .end = *end};
        l->io = (struct loop_io){l->end.write_fd, on_event, l};
        l->timer = loop_timer_new(list->loop, on_timer, l);
        if (l->timer >= 0 && loop_add(list->loop, &l->io, LOOP_WRITE | LOOP_EDGE) == 0) {
            if (list->first)
                list->first->prev = l;
            list->first = l;
            loop_timer_set(list->loop, l->timer, loop_clock_us() + LINGER_US);
            return;
        }
        loop_timer_free(list->loop, l->timer);
    }
    struct host_end lost = *end;
    host_end_close(&lost);
    free(l);
}

void
linger_free_all(struct linger_list *list)
{
    while (list->first)
        finish(list->first);
}
