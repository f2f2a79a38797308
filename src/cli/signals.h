// SPDX-License-Identifier: BSD-3-Clause
// Signals as descriptors and exit statuses: how a daemon is asked to end, and how `run` stands
// between its caller and COMMAND.
#pragma once

#include <signal.h>
#include <sys/types.h>

// Blocks SIGTERM, SIGINT and SIGHUP in this process and gives a descriptor that becomes readable
// when one of them comes; -errno on failure.
int signals_stop_fd(void);

// Blocks every signal that can be passed on, and SIGCHLD; *old is the mask before.
void signals_block(sigset_t *old);

// Waits for `command`, a child, and meanwhile passes on to it what signals_block() holds back.
// Stops with it when it is stopped by its terminal. An end of `broker`, another child, is logged;
// others are reaped. Gives COMMAND's exit status, or 128 plus the signal that killed it.
int signals_supervise(pid_t command, pid_t broker);

// Reaps `child`, which was told to end; kills it when it has not done so in a few seconds. SIGCHLD
// must be blocked, as for the next one.
void signals_reap(pid_t child);

// Kills and reaps every child but `except`, and what becomes a child by that
// (PR_SET_CHILD_SUBREAPER).
void signals_kill_children(pid_t except);
