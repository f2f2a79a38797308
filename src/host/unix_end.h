// SPDX-License-Identifier: BSD-3-Clause
// Host ends on Unix stream sockets: connect, and accept for server=on (the listening itself is
// base/unix_listener.h). Never blocks. The broker calls it.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "host/device.h"

// One attempt to connect, from a socket bound to the abstract name `identity`
// ("vmchannel/<guest>/<port>/<n>", cut to fit; not bound when that name is taken).
// The fd (non-blocking, CLOEXEC), or -errno with err naming the path: ENOENT, ECONNREFUSED, EACCES,
// EAGAIN (backlog full), ...
int unix_end_connect(const struct device *dev, const char *identity, struct error *err);

// Next waiting client that is still there: its fd, or -errno (-EAGAIN: nobody waits). Clients that
// left without having sent a byte are passed over.
int unix_end_accept(struct unix_listener *l);
