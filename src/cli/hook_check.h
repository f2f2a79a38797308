// SPDX-License-Identifier: BSD-3-Clause
// Whether a domain's channels can work, before QEMU is started.
#pragma once

#include "broker/run_as.h"
#include "config/domain_xml.h"

#include <stdbool.h>

// Looks at each path as that user (NULL: as who we are): it exists, is a socket, may be connected
// to. A channel with `server` has no path yet. Logs a line for each that will not do.
bool hook_check_channels(const struct domain_info *domain, const struct run_as *user);
