// SPDX-License-Identifier: BSD-3-Clause
// One row for each option, which the parser and the help texts are made from. Nobody but
// cli/options includes this.
#pragma once

#include "cli/options.h"

#include <stddef.h>

struct cli_option {
    const char *spelling;   // as shown, with its dashes; matched with one or two
    const char *short_form; // without dash, or NULL
    const char *value;      // name of the value in the help; NULL: takes none
    const char *help;       // lines end with \n but for the last
    unsigned commands;      // of enum command_id
    // value is NULL for an option without one. -EINVAL: a usage error.
    int (*set)(struct settings *s, const char *value, struct error *err);
};

enum { // those that are found among QEMU's own
    OPTION_VMCHANNEL,
    OPTION_VMCHANNEL_IN,
    OPTION_CHARDEV,
};

extern const struct cli_option cli_options[]; // in the order of the help
extern const size_t cli_option_count;

// What each --verbose does.
void settings_raise_verbosity(struct settings *s);
