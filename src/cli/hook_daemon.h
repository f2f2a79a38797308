// SPDX-License-Identifier: BSD-3-Clause
// Starts and stops the daemon of a domain: its command line, its log, and who keeps it running:
// systemd where that is, a process of ours (cli/keeper) elsewhere and in sessions.
#pragma once

#include "broker/run_as.h"
#include "config/domain_xml.h"

#include <stdbool.h>

// Returns when the daemon is ready; else exits, with a line that says why. xml: what the domain was
// read from. user: what the daemon becomes; NULL: nobody else.
void hook_daemon_start(const struct domain_info *domain, const char *xml, size_t len,
                       const struct run_as *user);
// Whether it runs, or somebody who starts it again.
bool hook_daemon_is_running(const struct domain_info *domain);
// Whoever keeps it. Returns when nothing is left; else exits, with a line that says why.
void hook_daemon_stop(const struct domain_info *domain);
