// SPDX-License-Identifier: BSD-3-Clause
// Opens the listening sockets of the socket links that are no namespace: hybrid (Unix sockets by
// Firecracker's naming) and vsock. Used by the broker.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "link/spec.h"

#include <stddef.h>
#include <stdint.h>

// hybrid: listens on "PATH_<port>" for each port; out[i] for ports[i]. 0, or -errno with err
// filled, and nothing is left behind. Undone by unix_listener_close.
int link_open_hybrid(const struct link_spec *spec, const uint16_t *ports, size_t count,
                     struct unix_listener *out, struct error *err);
// vsock: an AF_VSOCK listener for each port, on any CID of ours; fds[i] for ports[i]. Whom to admit
// is looked at when somebody connects. 0, or -errno with err filled (also when nothing here could
// ever connect a guest), and nothing is left open.
int link_open_vsock(const struct link_spec *spec, const uint16_t *ports, size_t count, int *fds,
                    struct error *err);
