// SPDX-License-Identifier: BSD-3-Clause
// The daemon of a libvirt domain as systemd's vmchannel@UUID.service (contrib/systemd): what
// cli/keeper does elsewhere is systemd's work then. The unit has what it needs beside the daemon's
// socket.
#pragma once

#include "base/error.h"
#include "cli/keeper.h"

#include <stdbool.h>

// run_as: the options of `serve` that say which user it becomes, words with a space between.
// Returns when the daemon is ready: 0; or -errno with err, and nothing is left. -ENOPKG: the unit
// is not installed. -ECHILD: the reason is the log's last line, if that has grown.
int
hook_unit_start(const struct keeper *k, const char *uuid, const char *run_as, struct error *err);
bool hook_unit_is_running(const char *uuid);
// Returns when the daemon has ended; what it had in the file system stays. No unit is no error.
int hook_unit_stop(const char *uuid, struct error *err);
