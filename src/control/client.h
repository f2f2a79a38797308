// SPDX-License-Identifier: BSD-3-Clause
// The asking half of the control protocol, for commands: connects to a guest's control socket, says
// one call at a time and waits for its reply, each at most for a while.
#pragma once

#include "base/error.h"
#include "control/types.h"

struct control_client;

struct control_status {
    struct control_info info;
    struct control_link link;
    struct control_channel *channels; // heap array, in the daemon's order
    size_t channel_count;
};

// name as in control_path(). NULL with err filled; *gone (may be NULL): nobody listens there.
struct control_client *control_client_new(const char *name, bool *gone, struct error *err);
void control_client_free(struct control_client *c);

// Each: 0, or -errno with err filled; the connection is of no use after an error that is not the
// daemon's own answer.
int control_client_info(struct control_client *c, struct control_info *out, struct error *err);
// All there is to know; undone by control_status_fini, also on failure.
int control_client_status(struct control_client *c, struct control_status *out, struct error *err);
void control_status_fini(struct control_status *status);
// The daemon's answer to Stats as it is: heap text, JSON.
int control_client_stats_json(struct control_client *c, char **out, struct error *err);
int control_client_add(struct control_client *c, const char *channel, struct error *err);
int control_client_remove(struct control_client *c, uint16_t port, struct error *err);
// fd: where the frames go, stays the caller's.
int control_client_capture(struct control_client *c, int fd, uint32_t snaplen, struct error *err);

// For tests: what a reply (len bytes without its NUL) would have given.
int control_reply_parse(const char *reply, size_t len, struct error *err);
