// SPDX-License-Identifier: BSD-3-Clause
// The guests that this user's daemons serve, for the commands that look at all of them.
#pragma once

#include "control/client.h"

// Calls `each` with the status of every guest that has a control socket where names are looked for,
// in the order of their names; or of the one called `name`. Exits when that is not there. A daemon
// that does not answer is told to stderr, once per call, and left out. False then.
bool guests_each(const char *name, void (*each)(void *ctx, const struct control_status *status),
                 void *ctx);
// "600", "in 22", "in *".
const char *guests_port(const struct control_channel *ch, char out[16]);
