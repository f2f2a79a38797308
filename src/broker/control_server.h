// SPDX-License-Identifier: BSD-3-Clause
// The control socket of a guest: accepts clients, brings them whole calls and takes replies away,
// within the broker's loop and without ever waiting for one of them. What calls mean is
// control/service's, what they do is behind struct control_ops.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "control/service.h"
#include "loop/loop.h"

struct control_server;

// Listens at path (base/unix_listener.h). guest, for log lines, ops and ctx outlive it. NULL with
// err filled.
struct control_server *
control_server_new(struct loop *loop, const char *guest, const char *path,
                   const struct control_ops *ops, void *ctx, struct error *err);
void control_server_free(struct control_server *s); // removes the socket
// Gives the socket an owner and a group. 0 or -errno with err.
int control_server_share(const struct control_server *s, const struct unix_access *access,
                         struct error *err);

// From within one of the ops: its reply waits for control_server_release() of that number.
void control_server_hold(struct control_server *s, uint32_t number);
// Replies that wait for this number or one before it go out. Harmless with s NULL.
void control_server_release(struct control_server *s, uint32_t number);
