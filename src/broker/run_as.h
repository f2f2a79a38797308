// SPDX-License-Identifier: BSD-3-Clause
// Another user for this process: --user.
#pragma once

#include "base/error.h"

#include <sys/types.h>

struct run_as {
    char name[64];
    uid_t uid;
    gid_t gid;   // the user's own
    gid_t group; // one more, for sockets that are to belong to it; (gid_t)-1: none
};

// Becomes that user with its groups, for good. Nothing happens when we are it already and are not
// root. 0, or -errno with err.
int run_as_become(const struct run_as *user, struct error *err);
