// SPDX-License-Identifier: BSD-3-Clause
// The files of a keeper and its daemon beside DIRECTORY/UUID.sock, and who of them runs: the locks
// on UUID.pid end with their process, whatever its number is used for later.
#pragma once

#include "base/error.h"
#include "cli/keeper.h"

#include <sys/types.h>

// The process that starts the daemon, in keeper.c: returns when it is told to stop, or when the
// first daemon does not get ready. Writes a byte to report_fd when it does, and closes it.
void keeper_run(const struct keeper *k, int report_fd);

// Make the directory and the file where missing, and take a lock for the calling process, which
// holds it to its end. -EBUSY when another has it.
int keeper_files_lock_keeper(const char *socket, struct error *err);
// That of the daemon goes on when the process executes another program.
int keeper_files_lock_daemon(const char *socket, struct error *err);

// The directory of its control socket, for a user that cannot make it by itself. 0 or -errno with
// err.
int keeper_files_make_control(const struct keeper *k, struct error *err);
// Has the daemon, which is to be started by this process, look for it there.
void keeper_files_tell_directory(const char *socket);
// A file for the daemon: the socket's path with that ending for ".sock". 0 or -errno with err.
int keeper_files_write(const char *socket, const char *ending, const char *text, size_t len,
                       struct error *err);
// The same as a symbolic link.
int
keeper_files_link(const char *socket, const char *ending, const char *target, struct error *err);

// A descriptor that is readable when the process has ended, and good for pidfd_send_signal; -1 when
// there is none.
int keeper_files_find_keeper(const char *socket);
int keeper_files_find_daemon(const char *socket);

// Removes socket, locks, pid file, XML, what a unit had beside it, and the directory if that was
// all. For who holds the keeper's lock, or knows that nobody does.
void keeper_files_remove(const char *socket, const char *guest);
