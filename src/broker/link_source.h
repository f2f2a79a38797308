// SPDX-License-Identifier: BSD-3-Clause
// Where a worker's frame link comes from: listens, connects and retries for ever, waits for a
// datagram peer and watches it, opens taps, or hands out what was inherited; one link at a time.
// Never blocks after link_source_new.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "link/spec.h"
#include "loop/loop.h"

struct link_source;

struct link_source_events {
    // An open link; ownership of fd passes.
    void (*on_link)(void *ctx, int fd);
    // It was an inherited descriptor and is used up: no other link will come.
    void (*on_exhausted)(void *ctx);
    // Opens a tap or packet link anew, when this process no longer can: a descriptor, or -errno
    // with err. NULL: it can.
    int (*open_queue)(void *ctx, struct error *err);
};

// Opens what must be there from the start: the listener, the tap, the packet socket. spec is
// copied, spec->fd taken over, also on failure. guest (for log lines) outlives it. NULL with err
// filled.
struct link_source *
link_source_new(struct loop *loop, const char *guest, const struct link_spec *spec,
                const struct link_source_events *events, void *ctx, struct error *err);
// Gives its Unix socket to others, where it made one. 0 or -errno with err.
int
link_source_share(const struct link_source *s, const struct unix_access *access, struct error *err);
void link_source_free(struct link_source *s);

// Asks for a link: on_link follows, from within or later. To be called when the worker has none.
void link_source_next(struct link_source *s);
// What was handed out is broken: nothing of it is handed out again.
void link_source_broken(struct link_source *s);
// Stops looking (the worker is gone); link_source_next starts again.
void link_source_pause(struct link_source *s);
