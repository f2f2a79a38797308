// SPDX-License-Identifier: BSD-3-Clause
// A Unix socket of ours at a path that never steals the path: lock file before any unlink, a path
// that somebody has bound or that is no socket is refused, a stale socket is replaced, umask 077.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct unix_listener {
    int fd;         // listening (bound: SOCK_DGRAM), non-blocking, CLOEXEC; -1 when closed
    int lock_fd;    // flock on PATH.lock; -1 for abstract names
    char path[108]; // to unlink; "" for abstract names
    dev_t dev;      // of the socket file that we made, to know it again
    ino_t ino;
};

// Fills sa for a path or an abstract name (tight: the name's length only; else padded with zeros to
// the whole of sun_path, as QEMU's tight=off). Returns the address length, or -ENAMETOOLONG.
int unix_address(struct sockaddr_un *sa, const char *path, bool abstract, bool tight);

// 0, or -errno with err naming the path. On failure nothing is left behind. A path that another
// process holds is waited for, half a second at most, in case that is just ending.
int unix_listener_open(struct unix_listener *l, const char *path, bool abstract, bool tight,
                       struct error *err);
// Likewise, at a path, of another type than SOCK_STREAM. SOCK_DGRAM: bound only.
int unix_listener_open_type(struct unix_listener *l, int type, const char *path, struct error *err);
// Closes, removes the socket (if it is still ours) and the lock file. Harmless when closed.
void unix_listener_close(struct unix_listener *l);
