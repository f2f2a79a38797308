// SPDX-License-Identifier: BSD-3-Clause
// One channel of an opener: its requests in order of arrival, and the back end that serves them.
// Nobody but host/opener includes this, which has the contract of it all.
#pragma once

#include "base/log.h"
#include "host/backend.h"
#include "host/opener.h"
#include "host/opener_table.h"

// What the channels of one opener have in common.
struct opener_shared {
    struct loop *loop;
    char guest[64];
    char uuid[37];                  // "": not known
    struct proxy_peer channel_addr; // port 0
    struct opener_events events;
    void *ctx;
    bool has_stdio;
    const struct unix_access *access; // the caller's
    struct opener_table table;
};

struct opener_channel {
    struct opener_shared *shared; // NULL: not in use
    const struct channel_spec *spec;
    struct backend_env env;
    const struct backend *backend;
    void *state; // the back end's
    bool started;
    bool removed; // by opener_remove, and still ending
    struct request_list lists[REQUEST_STATES];
    bool watched;
    int timer; // reconnect=S, or to go on after PUMP_MAX
    bool timer_armed;
    uint64_t made;  // ends tried so far: the <n> of the identity
    bool busy_told; // that an exclusive device has a connection, since it got that
    int failing;    // errno of the last failure, 0 after a success
    struct log_limit limit;
    int log_fd; // logfile=, -1 without
};

// Opens what is opened at start. 0, or -errno with err naming the channel; then it is not in use.
int opener_channel_start(struct opener_channel *ch, struct opener_shared *shared,
                         const struct channel_spec *spec, struct error *err);
// Closes all that, and what is connecting; then it is not in use.
void opener_channel_stop(struct opener_channel *ch);
// That nothing it has started is still ending, so that its stop will not wait.
bool opener_channel_is_idle(const struct opener_channel *ch);

// A new request of that session: answered, or queued. guest as of opener_open().
void
opener_channel_request(struct opener_channel *ch, uint64_t session, const struct proxy_peer *guest);
// Without an answer; the back end is told of one that is open.
void opener_channel_forget(struct request *r);
// All of them; gives how many were open.
uint32_t opener_channel_forget_all(struct opener_channel *ch);
