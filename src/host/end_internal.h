// SPDX-License-Identifier: BSD-3-Clause
// What the files of host ends share (end.c, end_codec.c).
#pragma once

#include "host/end.h"

#define BUFFER_BYTES (64 * 1024)

struct host_buffer {
    size_t at, len; // len bytes from `at` on
    uint8_t bytes[BUFFER_BYTES];
};

void host_buffer_consume(struct host_buffer *b, size_t n); // n bytes from the front, at most len
size_t host_buffer_room(struct host_buffer *b);            // bytes that fit behind those kept
// Of a descriptor, as host_end_write() and host_end_read().
ssize_t host_end_socket_write(int fd, const struct iovec *iov, int iovcnt);
ssize_t host_end_file_read(int fd, const struct iovec *iov, int iovcnt);
// Of an end with a codec; one iovec is read into.
ssize_t host_end_codec_write(struct host_end *e, const struct iovec *iov, int iovcnt);
ssize_t host_end_codec_read(struct host_end *e, const struct iovec *iov);
