// SPDX-License-Identifier: BSD-3-Clause
// One message and up to FDPASS_MAX descriptors over a Unix socket (SCM_RIGHTS, unix(7)).
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define FDPASS_MAX 64

// Sends data (len >= 1) with nfds descriptors, which stay the caller's. Never raises SIGPIPE.
// Bytes sent, or -errno (-EAGAIN on a full non-blocking socket).
ssize_t fdpass_send(int sock, const void *data, size_t len, const int *fds, size_t nfds);

// Receives one message into data; descriptors go to fds (CLOEXEC; the caller owns them), *nfds is
// in: room, out: count. Descriptors beyond the room, or beyond the limit of this process, are
// closed with the others and the call gives -EMSGSIZE; data then still holds what fits of it.
// Bytes received; 0, and no descriptor, at end of file or of an empty message; or -errno.
ssize_t fdpass_recv(int sock, void *data, size_t len, int *fds, size_t *nfds);
