// SPDX-License-Identifier: BSD-3-Clause
// Joins a guest's socket (of a socket link) and a host end that splice cannot: two descriptors, a
// terminal, a file, datagrams, a codec, a log. Copies through a buffer each way. Ends map as in the
// stack's relay: EOF to shutdown each way, as a whole where the host end cannot half-close; an
// error of the host end resets the guest after the bytes read before; a reset by the guest closes
// it.
#pragma once

#include "channel/limit.h"
#include "host/end.h"
#include "loop/loop.h"

struct pump;

struct pump_events {
    // Both sides are closed, and the pump has freed itself. Once; never from within pump_new.
    void (*on_done)(void *ctx);
    // The host end, or its log, failed in a way that an operator wants to know.
    void (*on_fault)(void *ctx, const char *what, int errnum);
    void *ctx;
    // Bytes are added, as the other side takes them, to where these point; NULL: not counted.
    uint64_t *bytes_from_guest, *bytes_to_guest;
    struct limit *limit; // of the channel; NULL: none
};

// Takes ownership of both, also on failure. events is copied. NULL when descriptors or memory ran
// out (both sides are closed, the guest's by reset).
struct pump *pump_new(struct loop *loop, int guest_fd, const struct host_end *end,
                      const struct pump_events *events);
// The guest's last byte is with the host end, or nobody will take it any more.
bool pump_guest_has_finished(const struct pump *p);
// When bytes were last moved, or the relay began; now, while its channel's rate holds it up.
uint64_t pump_moved_us(const struct pump *p);
// Resets and closes both sides now; no on_done.
void pump_free(struct pump *p);
