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

// Who may use a socket of ours, beyond what it is made with: its maker alone (0700).
struct unix_access {
    mode_t mode; // 0: as made
    uid_t uid;   // (uid_t)-1: as made
    gid_t gid;   // (gid_t)-1: as made
};

#define UNIX_ACCESS_AS_MADE ((struct unix_access){0, (uid_t)-1, (gid_t)-1})

// Fills sa for a path or an abstract name (tight: the name's length only; else padded with zeros to
// the whole of sun_path, as QEMU's tight=off). Returns the address length, or -ENAMETOOLONG.
int unix_address(struct sockaddr_un *sa, const char *path, bool abstract, bool tight);

// 0, or -errno with err naming the path. On failure nothing is left behind. A path that another
// process holds is waited for, half a second at most, in case that is just ending.
int unix_listener_open(struct unix_listener *l, const char *path, bool abstract, bool tight,
                       struct error *err);
// Likewise, at a path, of another type than SOCK_STREAM. SOCK_DGRAM: bound only.
int unix_listener_open_type(struct unix_listener *l, int type, const char *path, struct error *err);
// Gives the socket at its path to others. Harmless without a path. 0, or -errno
// with err naming the path, and the listener is as it was or shared with fewer than asked for.
int unix_listener_share(const struct unix_listener *l, const struct unix_access *access,
                        struct error *err);
// Closes, removes the socket (if it is still ours) and the lock file. Harmless when closed.
void unix_listener_close(struct unix_listener *l);
