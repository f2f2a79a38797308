// SPDX-License-Identifier: BSD-3-Clause
// Starts the daemon of a domain: its command line, its log, its keeper.
#pragma once

#include "broker/run_as.h"
#include "config/domain_xml.h"

// Returns when the daemon is ready; else exits, with a line that says why. xml: what the domain was
// read from. user: what the daemon becomes; NULL: nobody else.
void hook_daemon_start(const struct domain_info *domain, const char *xml, size_t len,
                       const struct run_as *user);
// How the daemon calls the guest: the domain's name, or where that will not do, its UUID.
const char *hook_daemon_guest(const struct domain_info *domain);
