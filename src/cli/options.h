// SPDX-License-Identifier: BSD-3-Clause
// The options of all commands: one table from which both the parser and the help texts are made.
// Long options may have one dash or two, and their value as the next word or behind "=".
#pragma once

#include "broker/run_as.h"
#include "cli/cli.h"
#include "config/guest_config.h"
#include "link/spec.h"

#include <stdbool.h>
#include <stdio.h>

// What the options said. Strings are argv's.
struct settings {
    struct guest_config guest; // -vmchannel, -chardev, --name, --net, --mtu, --max-connections, ...
    const char *link;          // --link as written; NULL when not given
    const char *nic;           // --nic as written; NULL when not given
    const char *xml;           // --xml: the file of serve's domain; NULL when not given
    const char *socket_dir;    // --socket-dir; NULL when not given
    const char *vmi, *domain;  // the documents of kubevirt-hook; NULL when not given
    bool has_name;             // --name was given
    bool has_mtu;              // --mtu was given
    bool reverse;              // xml --reverse
    int verbosity;             // --quiet: -1; else the number of --verbose
    bool dry_run;
    bool remove;         // install-hook --remove
    const char *uri;     // --connect; NULL when not given
    bool inactive;       // dumpxml --inactive
    struct run_as user;  // --user; name "" when not given
    const char *control; // --control as written; NULL when not given
    bool json;
    uint32_t count, interval_s, snaplen; // 0: not given
};

#define WORDS_MAX 2

void settings_init(struct settings *s);
void settings_fini(struct settings *s);
// Reads the options in front of argv, up to "--" (which is passed over) or the first word that is
// none; gives the rest. Exits on a usage error, and after --help.
char **settings_parse(struct settings *s, const struct command *command, char **argv);
// Reads options and words in any order: `min` to `max` (at most WORDS_MAX) words go to words. Exits
// on a usage error (`wanted`: what the words are), and after --help.
void settings_parse_words(struct settings *s, const struct command *command, char **argv,
                          size_t min, size_t max, const char *wanted, const char *words[WORDS_MAX]);
// For a daemon: the path that --control gives, NULL for none; *by_name: it was not given, but
// the guest's name, by --name or --xml.
const char *settings_control(const struct settings *s, bool *by_name);
// Takes out of argv every -vmchannel and -vmchannel-in, wherever it stands, and every -chardev
// that one of them refers to; other words keep their order. Exits on a usage error.
void settings_take_channels(struct settings *s, char **argv);
// After the last option: exits (usage) when no channel was given, or one has no device.
void settings_need_channel(struct settings *s, const struct command *command);
// Exits (usage) when a channel cannot be had over that kind of link.
void settings_check_link(const struct settings *s, enum link_kind kind);
// Sets the log level: `quiet_level` plus one for each --verbose; errors alone with --quiet.
void settings_apply_verbosity(const struct settings *s, int quiet_level);

void help_print(FILE *out, const struct command *command);
