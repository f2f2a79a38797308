// SPDX-License-Identifier: BSD-3-Clause
// What a broker gives up once all that is opened at start is open: fitted to the devices and the
// link it was configured with.
#pragma once

#include "base/error.h"
#include "broker/broker.h"

#include <stdbool.h>
#include <stddef.h>

// False for a guest with cmd: devices: their programs would inherit it all.
bool sandbox_broker_is_possible(const struct guest_config *guest);
// Locks this process up, for good. 0, or -errno with err naming the step that the kernel forbids.
int sandbox_broker(const struct broker_config *config, struct error *err);

// What the configuration needs of the kernel. For sandbox_broker_*.c alone.
enum need {
    NEED_UNIX = 1, // sockets of each family, made and connected
    NEED_INET = 2,
    NEED_VSOCK = 4,
    NEED_NAMES = 8,        // a host's name is resolved: files and sockets of the C library's
    NEED_PIPE = 16,        // FIFOs, opened anew for each connection
    NEED_TERMINAL = 32,    // opened anew when it hung up; put back at the end
    NEED_REMOVE = 64,      // sockets and links of ours, removed at the end
    NEED_REMOVE_DIR = 128, // the directory of a link's socket, which was made for it
    NEED_CONTROL = 256,    // clients of a control socket, and what they may add
};
unsigned sandbox_broker_needs(const struct broker_config *config);
int sandbox_broker_landlock(const struct broker_config *config, unsigned needs, struct error *err);
int sandbox_broker_filter(unsigned needs, struct error *err);

// For tests: names of the rules of the filter, whatever their needs; NULL past the last. All rules
// but number `without` are loaded by sandbox_broker_filter_without.
const char *sandbox_broker_rule_name(size_t index);
int sandbox_broker_filter_without(size_t without, unsigned needs, struct error *err);
