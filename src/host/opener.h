// SPDX-License-Identifier: BSD-3-Clause
// Opens host ends on request, for every channel of one guest: connects as client, pairs with the
// clients of server=on, retries for reconnect=S. Never blocks; each channel serves its requests in
// the order of their arrival. Used by the broker, and in process by lib.
#pragma once

#include "base/error.h"
#include "host/device.h"
#include "loop/loop.h"

#include <stddef.h>
#include <stdint.h>

struct opener;

// The answer to a request: exactly one of the two, from within opener_open() or later; none after
// opener_cancel() or opener_cancel_all().
struct opener_events {
    void (*on_opened)(void *ctx, uint32_t session, int fd);   // ownership of fd passes
    void (*on_refused)(void *ctx, uint32_t session, int why); // a negative errno, already logged
};

struct opener_config {
    struct loop *loop;
    const char *guest;                   // for log lines and identities, copied
    const struct channel_spec *channels; // the caller's, outlive the opener
    size_t channel_count;
    uint32_t max_pending; // requests under way at once; beyond: refused
    struct opener_events events;
    void *ctx;
};

// Listens for every server=on channel. NULL with err filled.
struct opener *opener_new(const struct opener_config *config, struct error *err);
// Closes the listeners and removes their paths; requests under way are forgotten.
void opener_free(struct opener *o);

// A host end for `channel` (an index, asserted). False, without an answer, when the session is
// under way already.
bool opener_open(struct opener *o, uint32_t session, uint16_t channel);
// Forgets a request. Harmless when it was answered or never made.
void opener_cancel(struct opener *o, uint32_t session);
void opener_cancel_all(struct opener *o);
uint32_t opener_pending(const struct opener *o);
