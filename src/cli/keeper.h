// SPDX-License-Identifier: BSD-3-Clause
// Keeps the daemon of one libvirt domain running: a process of its own that
// starts `vmchannel serve` and starts it again whenever it ends. Beside the daemon's socket
// DIRECTORY/UUID.sock there is UUID.pid, which is locked by both processes, so that one that was
// left alone is found too, and none that only has its number.
#pragma once

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct keeper {
    const char *name;   // of the domain, for messages
    const char *socket; // the daemon's, /DIRECTORY/UUID.sock; the directory is made and removed
    const char *xml;    // of the domain, kept in a file: the daemon reads it at each start
    size_t xml_len;
    const char *guest; // --name of the daemon: its control socket is DIRECTORY/GUEST/control
    uid_t uid;         // who the daemon becomes: the directory of that is to be its own
    char **argv;       // of the daemon; argv[0] is the program
    int log_fd;        // what both write to; O_APPEND
    const char *log_path;
};

// Where that file is: what is changed there counts from the daemon's next start.
void keeper_xml_path(const char *socket, char out[PATH_MAX]);
// Starts keeper and daemon; returns when the daemon is ready, so that QEMU can be started. 0; or
// -errno with err, and nothing is left. -ECHILD: the reason is the log's last line.
// The caller has one thread.
int keeper_start(const struct keeper *k, struct error *err);
// Whether a daemon runs there, or somebody who starts it again.
bool keeper_is_running(const char *socket);
// Ends both, and removes what they had in the file system. Nothing there is no error.
int keeper_stop(const char *socket, const char *guest, struct error *err);
