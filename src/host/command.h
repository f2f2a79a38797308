// SPDX-License-Identifier: BSD-3-Clause
// One running command of cmd: its process group, and what it says on stderr.
#pragma once

#include "base/error.h"
#include "base/log.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COMMAND_LINE_MAX 256 // of stderr, in one line of the log

struct command {
    struct loop *loop;
    const char *label;       // in front of log lines: "vm1: channel 600"
    struct log_limit *limit; // of all commands of the channel
    pid_t pid;               // leads a session and a process group of its own; a zombie until free
    bool exited;             // but not yet waited for, so that its number is not another's
    struct loop_io pid_io;   // on a pidfd, while it runs
    struct loop_io err_io;   // its stderr; fd -1 after its end
    int timer;               // SIGTERM was sent, SIGKILL is due
    bool ending;
    char line[COMMAND_LINE_MAX]; // of stderr, until its newline
    size_t line_len;
    void (*on_ended)(void *ctx); // after command_end: nothing of it runs any more
    void *ctx;
};

// Runs text by /bin/sh with *fd as the other end of its stdin and stdout. c: filled in but for
// loop, label, limit, on_ended and ctx, which the caller sets. 0, or -errno with err.
int command_start(struct command *c, const char *text, int *fd, struct error *err);
// Its connection is over: SIGTERM for the whole group, SIGKILL two seconds later; then on_ended,
// perhaps from within. A command that exited before is not waited for: what it left behind in its
// group is killed.
void command_end(struct command *c);
// Kills, waits, no on_ended. One that became another user (sudo) is left alone.
void command_kill(struct command *c);
// Whether it still runs; signals the group otherwise (SIGTERM). For a farewell to many at once.
bool command_ask_to_end(struct command *c);
