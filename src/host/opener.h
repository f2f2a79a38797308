// SPDX-License-Identifier: BSD-3-Clause
// Opens host ends on request, for every channel of one guest: connects as client, pairs with the
// clients of server=on, retries for reconnect=S, hands out the one end of an exclusive device,
// starts a process per connection. Never blocks after opener_new; a channel serves its requests in
// the order of their arrival. Used by the broker, and in process by lib.
//
// What is opened at start, in opener_new: listeners, exclusive devices, log files; and names of
// hosts are resolved there, once. While nobody is connected an exclusive device is not read: what
// it sends stays in the kernel, as far as that keeps it, and the next connection gets it.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "host/device.h"
#include "host/proxy.h"
#include "loop/loop.h"

#include <stddef.h>
#include <stdint.h>

struct opener;

#define OPENER_FDS_MAX 2

// The answer to a request: exactly one of the two, from within opener_open() or later; none after
// opener_cancel() or opener_cancel_all().
struct opener_events {
    // The descriptors of the end: none (null), one for both ways, or one to read and one to write.
    // Their ownership passes.
    void (*on_opened)(void *ctx, uint64_t session, const int *fds, size_t nfds);
    void (*on_refused)(void *ctx, uint64_t session, int why); // a negative errno, already logged
};

struct opener_config {
    struct loop *loop;
    const char *guest;                   // for log lines and identities, copied
    const char *uuid;                    // the guest's, for proxy=v2, copied; NULL: not known
    uint32_t channel_addr;               // what guests connect to, host order: for proxy=v2
    struct ipv6_addr channel_addr6;      // likewise, :: without IPv6
    const struct channel_spec *channels; // the caller's, outlive the opener
    size_t channel_count;                // those not in use are passed over
    size_t channels_max; // that there ever may be, with opener_add; 0: channel_count
    // Of the Unix sockets that we make; NULL: as made; outlives the opener.
    const struct unix_access *access;
    bool has_stdio;       // descriptors 0 and 1 are the user's: stdio may be a device
    uint32_t max_pending; // requests under way, and ends to be closed, at once; beyond: refused
    struct opener_events events;
    void *ctx;
};

// Opens what is opened at start. NULL with err naming the channel and what failed.
struct opener *opener_new(const struct opener_config *config, struct error *err);
// Closes all that, removes paths, ends processes (a command that ignores SIGTERM is waited for two
// seconds, then killed); requests under way are forgotten.
void opener_free(struct opener *o);

// Opens what is opened at start for one channel more, already at `index` of config.channels; not in
// use, see opener_is_free(). 0, or -errno with err likewise.
int opener_add(struct opener *o, uint16_t index, struct error *err);
// Closes that, and forgets the channel's requests without an answer. Gives how many connections of
// a counted device it had: opener_closed() of those is false from then on. What it has started, and
// what does not end at once, keeps its spec in use for a while.
uint32_t opener_remove(struct opener *o, uint16_t index);
// Neither in use nor still ending.
bool opener_is_free(const struct opener *o, uint16_t index);

// Whether the opener must be told (opener_closed) when a connection to such a device is over.
bool opener_counts(const struct device *dev);

// A host end for `channel` (an index, asserted). False, without an answer, when the session is
// under way already, or open and counted.
// guest: who asks, for proxy=v2; NULL: not known.
bool
opener_open(struct opener *o, uint64_t session, uint16_t channel, const struct proxy_peer *guest);
// Forgets a request. One that was answered meanwhile is closed as by opener_closed; harmless
// otherwise.
void opener_cancel(struct opener *o, uint64_t session);
// The connection that was given an end of a counted device is over. False: there is none.
bool opener_closed(struct opener *o, uint64_t session);
// Both, for all sessions.
void opener_cancel_all(struct opener *o);
// Requests without an answer yet.
uint32_t opener_pending(const struct opener *o);
// Where a channel's traffic is logged (logfile=), or -1. Stays the opener's.
int opener_log_fd(const struct opener *o, uint16_t channel);
