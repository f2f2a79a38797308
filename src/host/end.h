// SPDX-License-Identifier: BSD-3-Clause
// A host end as the relay sees it: a stream with two directions, whatever it is made of: one
// descriptor or two, raw or behind a codec, able to half-close or not, pollable or not. Belongs to
// the worker: opens nothing, only reads, writes, shuts and closes. Writing to a pipe whose reader
// is gone raises SIGPIPE: the process ignores it.
//
// Readiness: poll (edge-triggered) read_fd for reading and write_fd for writing, where they are
// there. Call host_end_flush at each edge of write_fd.
#pragma once

#include "host/codec.h"
#include "host/device.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

enum host_end_way {
    HOST_END_SOCKET,   // raw stream socket
    HOST_END_DATAGRAM, // udp
    HOST_END_FILE,     // read and write: pty, file, pipe, stdio, tty
    HOST_END_CODEC,    // stream socket behind a codec
    HOST_END_NULL,
};

struct host_end {
    int read_fd;  // -1: nothing ever comes (file, null); may equal write_fd
    int write_fd; // -1: swallows all (null)
    enum host_end_way way;
    struct codec *codec; // NULL without
    // Wire bytes read and not yet decoded (of udp: the rest of a datagram), encoded and not yet
    // written. Allocated at open.
    struct host_buffer *in, *out;
    int wire_end;  // codec: how the peer's stream ended: CODEC_END or -errno; 0: not yet
    bool no_eof;   // a terminal: an end of file is its hang-up
    bool shut;     // codec: SHUT_WR follows what stands in `out`; or was done
    int log_fd;    // logfile=: borrowed, -1 without
    int log_error; // errno of a write to the log that failed, for the owner to tell and clear
};

// Takes ownership of the fds (nfds 0..2: none, both ways, or read then write), also on failure; not
// of log_fd (-1: none). dev NULL: a raw stream socket. 0, -ENOMEM, or -EPROTO: such a device has
// not that many descriptors.
int host_end_init(struct host_end *e, const struct device *dev, int log_fd, const int *fds,
                  size_t nfds);
void host_end_close(struct host_end *e);
// Bytes of memory that an end of such a device takes beside the struct.
size_t host_end_memory(const struct device *dev);

// Stream bytes to the host. Taken from the front (> 0), or -errno: -EAGAIN when full (or before
// the codec's handshake is done: a read may end that), else the end takes no more, ever. Of a
// datagram device each iovec is a datagram, cut where it is longer than one may be; what the
// network refuses is lost, as datagrams are. The bytes may change meanwhile, as a guest's memory
// does: each is looked at once.
ssize_t host_end_write(struct host_end *e, const struct iovec *iov, int iovcnt);
// Stream bytes from the host: > 0, 0 at the end, -EAGAIN: none now, -EINTR: none yet, ask again
// (others first), else -errno: broken.
ssize_t host_end_read(struct host_end *e, const struct iovec *iov, int iovcnt);
// After the guest's last byte: SHUT_WR, or the codec's goodbye and SHUT_WR. An end that cannot
// half-close says so: false, and the connection ends as a whole.
bool host_end_shutdown(struct host_end *e);
// Writes what the codec still holds. 0: nothing left; -EAGAIN: wait for writability; else -errno.
int host_end_flush(struct host_end *e);

// A raw stream socket without a log, which may be joined with another by splice.
bool host_end_is_raw_socket(const struct host_end *e);
// A read that gave less than there was room for has taken all there is.
bool host_end_reads_short(const struct host_end *e);
// The protocol has ended both ways; the peer may leave its socket open all the same.
bool host_end_is_over(const struct host_end *e);
