// SPDX-License-Identifier: BSD-3-Clause
// Asks systemd by its own command, systemctl(1), without a shell.
#pragma once

#include "base/error.h"

#include <stdbool.h>

#define SYSTEMCTL_NOT_INSTALLED 5 // exit status: there is no such unit

// Whether this host was booted by systemd (sd_booted(3)).
bool systemctl_is_there(void);
// `systemctl VERB UNIT`, to its end, at most limit_ms. Its exit status, with what it complained
// about in err when that is not 0; or -errno with err.
int systemctl(const char *verb, const char *unit, int limit_ms, struct error *err);
