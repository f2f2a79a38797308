// SPDX-License-Identifier: BSD-3-Clause
// What opens the host ends of one kind of device. One struct of functions per kind; host/opener
// calls them, one state per channel. None blocks but start. The files open_*.c are the back ends;
// nobody outside of host/ includes this.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "host/device.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a back end is given at start; valid until its stop.
struct backend_env {
    struct loop *loop;
    const char *guest; // for log lines and identities
    const struct channel_spec *spec;
    bool has_stdio;                   // descriptors 0 and 1 are the user's, and may be a device
    const struct unix_access *access; // of the Unix sockets that we make; NULL: as made
    uint32_t max_ends;                // that may be there at once, for who keeps something for each
    void (*on_client)(void *ctx);     // a server's client waits (told while watched)
    void *ctx;
};

struct backend_try {
    uint64_t session;
    uint32_t way;    // 0..ways-1
    uint64_t number; // of this try, for the identity
};

// The descriptors of one end: none, one for both ways, or read then write.
struct end_fds {
    int fd[2];
    size_t count;
};

struct backend {
    // Opens what is opened once. 0 and *state, or -errno with err naming the device.
    int (*start)(const struct backend_env *env, void **state, struct error *err);
    // Closes what start opened, ends what open started.
    void (*stop)(void *state);
    // One end. 0; -EINPROGRESS: fd[0] is connecting, and its writability is to be told by
    // `connected`; -EAGAIN of a server: nobody waits; else -errno with err naming the device.
    int (*open)(void *state, const struct backend_try *t, struct end_fds *out, struct error *err);
    // How a connect in progress ended: 0 or -errno with err. fd stays the caller's. NULL where none
    // is ever in progress.
    int (*connected)(void *state, int fd, const struct backend_try *t, struct error *err);
    // In how many ways (addresses) an end may be had; NULL: one.
    uint32_t (*ways)(const void *state);
    // The connection that had the end of that session is over. NULL where nobody cares.
    void (*closed)(void *state, uint64_t session);
    // That nothing it started is still ending, so that stop() need not wait. NULL: never does.
    bool (*idle)(const void *state);
    // Servers: whether on_client is wanted.
    void (*watch)(void *state, bool on);
};

extern const struct backend backend_listen; // open_listen.c: server=on of unix, tcp and above
extern const struct backend backend_unix;   // open_connect.c
extern const struct backend backend_inet;   // open_connect.c: tcp and what is on top of it
extern const struct backend backend_vsock;  // open_connect.c
extern const struct backend backend_udp;    // open_udp.c
extern const struct backend backend_pty;    // open_pty.c
extern const struct backend backend_file;   // open_file.c
extern const struct backend backend_null;   // open_file.c
extern const struct backend backend_pipe;   // open_pipe.c
extern const struct backend backend_tty;    // open_tty.c
extern const struct backend backend_stdio;  // open_tty.c
extern const struct backend backend_cmd;    // open_cmd.c

const struct backend *backend_of(const struct device *dev);

// Next waiting client of a listening socket that is still there: its fd, or -errno (-EAGAIN: nobody
// waits). Clients that left without having sent a byte are passed over.
int backend_accept(int listener_fd);
// A descriptor for one end out of one that stays: out gets a duplicate more.
// 0 or -errno with err.
int backend_dup(int fd, const struct channel_spec *spec, struct end_fds *out, struct error *err);
