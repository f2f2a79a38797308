// SPDX-License-Identifier: BSD-3-Clause
// A host end as the relay sees it: a stream with two directions, whatever it is made of: one
// descriptor or two, raw or behind a codec, able to half-close or not, pollable or not. Belongs to
// the worker: opens nothing, only reads, writes, shuts and closes.
#pragma once

#include "host/codec.h"
#include "host/device.h"

#include <sys/types.h>
#include <sys/uio.h>

struct host_end {
    int read_fd;  // -1: nothing ever comes (file, null); may equal write_fd
    int write_fd; // -1: swallows all (null)
    enum device_kind kind;
    struct codec *codec; // NULL: raw
    // Behind a codec: wire bytes read and not yet decoded, encoded and not yet written. Allocated with
    // the codec, at open.
    struct host_buffer *in, *out;
    int log_fd; // logfile=: borrowed, -1 without
};

// Takes ownership of the fds (nfds 0..2: none, both ways, or read then write), also on failure.
// 0 or -ENOMEM.
int host_end_init(struct host_end *e, const struct device *dev, const int *fds, size_t nfds);
void host_end_close(struct host_end *e);

// Stream bytes to the host. Taken from the front (>= 0; 0 with -EAGAIN below), or -errno: -EAGAIN
// when full, else the end takes no more, ever. A datagram device takes each iovec run as one datagram.
ssize_t host_end_write(struct host_end *e, const struct iovec *iov, int iovcnt);
// Stream bytes from the host: > 0, 0 at the end, -EAGAIN: none now, else -errno: broken.
ssize_t host_end_read(struct host_end *e, const struct iovec *iov, int iovcnt);
// After the guest's last byte: SHUT_WR, close of the write side, or the codec's goodbye. An end that
// cannot half-close says so: false, and the connection ends as a whole.
bool host_end_shutdown(struct host_end *e);
// Writes what the codec still holds. 0: nothing left; -EAGAIN: wait for writability; else -errno.
int host_end_flush(struct host_end *e);
// Two raw stream sockets may be joined by splice.
bool host_end_is_raw_socket(const struct host_end *e);
