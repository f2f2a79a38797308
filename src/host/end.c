// SPDX-License-Identifier: BSD-3-Clause
// See end.h. What is raw goes straight from the caller's buffers to the descriptor and back; behind
// a codec, and for datagrams, it goes through buffers of 64 KiB.
#include "host/end_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MAX   65507       // UDP over IPv4: 65535 less 20 and 8 (RFC 768, RFC 791)
#define CODEC_BYTES    (16 * 1024) // of a struct codec, rounded up
#define DATAGRAM_TRIES 64          // errors of earlier datagrams passed over in one call
#define COPY_BYTES     (64 * 1024) // written at once where they are copied first; any datagram
#define COPY_PIECES    64

static_assert(BUFFER_BYTES > DATAGRAM_MAX, "a datagram is never cut");

// --- buffers -------------------------------------------------------------------------------------

void
host_buffer_consume(struct host_buffer *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    b->at = b->len > 0 ? b->at + n : 0;
}

// Free bytes behind the kept ones, which are moved to the front for it.
size_t
host_buffer_room(struct host_buffer *b)
{
    if (b->at > 0)
        memmove(b->bytes, b->bytes + b->at, b->len);
    b->at = 0;
    return sizeof(b->bytes) - b->len;
}

static size_t
buffer_copy_out(struct host_buffer *b, const struct iovec *iov, int iovcnt)
{
    size_t total = 0;
    for (int i = 0; i < iovcnt && b->len > 0; i++) {
        size_t n = iov[i].iov_len < b->len ? iov[i].iov_len : b->len;
        memcpy(iov[i].iov_base, b->bytes + b->at, n);
        host_buffer_consume(b, n);
        total += n;
    }
    return total;
}

// --- raw -----------------------------------------------------------------------------------------

ssize_t
host_end_socket_write(int fd, const struct iovec *iov, int iovcnt)
{
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                               .msg_iovlen = (size_t)iovcnt};
    ssize_t n;
    do
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t
file_write(int fd, const struct iovec *iov, int iovcnt)
{
    ssize_t n;
    do
        n = writev(fd, iov, iovcnt);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n > 0 ? n : -EAGAIN;
}

ssize_t
host_end_file_read(int fd, const struct iovec *iov, int iovcnt)
{
    if (fd < 0)
        return -EAGAIN;
    ssize_t n;
    do
        n = readv(fd, iov, iovcnt);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

// --- datagrams -----------------------------------------------------------------------------------

// One datagram out of one iovec: bytes dealt with, or -EAGAIN. The first answer may be the error of
// an earlier datagram (ICMP, ip(7)), so a second try is made; after it the datagram is lost.
static ssize_t
datagram_send(int fd, const void *data, size_t len)
{
    size_t size = len < DATAGRAM_MAX ? len : DATAGRAM_MAX;
    for (int i = 0; i < 2; i++) {
        if (send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            break;
        if (errno == EAGAIN)
            return -EAGAIN;
    }
    return (ssize_t)size;
}

static ssize_t
datagram_write(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    ssize_t total = 0;
    for (int i = 0; i < iovcnt; i++) {
        for (size_t at = 0; at < iov[i].iov_len;) {
            ssize_t n = datagram_send(e->write_fd, (const uint8_t *)iov[i].iov_base + at,
                                      iov[i].iov_len - at);
            if (n < 0)
                return total > 0 ? total : n;
            at += (size_t)n;
            total += n;
        }
    }
    return total;
}

// A whole datagram is read first: a receive into too little room would cut it.
static ssize_t
datagram_read(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < DATAGRAM_TRIES && e->in->len == 0; i++) {
        ssize_t n = recv(e->read_fd, e->in->bytes, sizeof(e->in->bytes), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return -EAGAIN;
        e->in->at = 0;
        e->in->len = n > 0 ? (size_t)n : 0;
    }
    // With nothing but errors and empty datagrams: the rest is at the next call's hand.
    return e->in->len > 0 ? (ssize_t)buffer_copy_out(e->in, iov, iovcnt) : -EINTR;
}

// --- ends ----------------------------------------------------------------------------------------

static enum host_end_way
way_of(const struct device *dev)
{
    if (!dev)
        return HOST_END_SOCKET;
    if (codec_is_needed(dev))
        return HOST_END_CODEC;
    switch (dev->kind) {
    case DEVICE_UNIX:
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_CMD:
    case DEVICE_VSOCK:
        return HOST_END_SOCKET;
    case DEVICE_UDP:
        return HOST_END_DATAGRAM;
    case DEVICE_PTY:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_STDIO:
    case DEVICE_TTY:
        return HOST_END_FILE;
    case DEVICE_NULL:
        return HOST_END_NULL;
    }
    assert(false);
    return HOST_END_NULL;
}

static bool
fd_count_is_right(const struct host_end *e, size_t nfds)
{
    if (e->way == HOST_END_NULL)
        return nfds == 0;
    return nfds == 1 || (nfds == 2 && e->way == HOST_END_FILE);
}

static bool
has_room_for_codec(struct host_end *e, const struct device *dev)
{
    if (e->way == HOST_END_CODEC) {
        e->codec = codec_new(dev);
        e->out = calloc(1, sizeof(*e->out));
        if (!e->codec || !e->out)
            return false;
    }
    if (e->way == HOST_END_CODEC || e->way == HOST_END_DATAGRAM) {
        e->in = calloc(1, sizeof(*e->in));
        return e->in != NULL;
    }
    return true;
}

int
host_end_init(struct host_end *e, const struct device *dev, int log_fd, const int *fds, size_t nfds)
{
    *e = (struct host_end){.read_fd = -1, .write_fd = -1, .way = way_of(dev), .log_fd = log_fd};
    int rc = 0;
    if (!fd_count_is_right(e, nfds))
        rc = -EPROTO;
    else if (!has_room_for_codec(e, dev))
        rc = -ENOMEM;
    if (rc < 0) {
        for (size_t i = 0; i < nfds; i++)
            close(fds[i]);
        host_end_close(e);
        return rc;
    }
    e->no_eof = dev && dev->kind == DEVICE_TTY;
    if (nfds > 0) {
        e->read_fd = dev && dev->kind == DEVICE_FILE ? -1 : fds[0];
        e->write_fd = fds[nfds - 1];
    }
    return 0;
}

void
host_end_close(struct host_end *e)
{
    if (e->read_fd >= 0 && e->read_fd != e->write_fd)
        close(e->read_fd);
    if (e->write_fd >= 0)
        close(e->write_fd);
    e->read_fd = e->write_fd = -1;
    codec_free(e->codec);
    free(e->in);
    free(e->out);
    e->codec = NULL;
    e->in = e->out = NULL;
}

size_t
host_end_memory(const struct device *dev)
{
    switch (way_of(dev)) {
    case HOST_END_CODEC:
        return 2 * sizeof(struct host_buffer) + CODEC_BYTES;
    case HOST_END_DATAGRAM:
        return sizeof(struct host_buffer);
    case HOST_END_SOCKET:
    case HOST_END_FILE:
    case HOST_END_NULL:
        return 0;
    }
    assert(false);
    return 0;
}

// A log that fails is no reason to stop the traffic.
static void
log_bytes(struct host_end *e, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t written = write(e->log_fd, bytes + at, len - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            e->log_error = written < 0 ? errno : EIO;
            return;
        }
        at += (size_t)written;
    }
}

static ssize_t
write_once(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    ssize_t n = 0;
    switch (e->way) {
    case HOST_END_SOCKET:
        n = host_end_socket_write(e->write_fd, iov, iovcnt);
        break;
    case HOST_END_DATAGRAM:
        n = datagram_write(e, iov, iovcnt);
        break;
    case HOST_END_FILE:
        n = file_write(e->write_fd, iov, iovcnt);
        break;
    case HOST_END_CODEC:
        n = host_end_codec_write(e, iov, iovcnt);
        break;
    case HOST_END_NULL:
        for (int i = 0; i < iovcnt; i++)
            n += (ssize_t)iov[i].iov_len;
        break;
    }
    return n;
}

// As many pieces as fit, the first from byte `at` on; that one is cut if it is too long. Gives
// their number, *len their bytes.
static int
copy_front(const struct iovec *iov, int iovcnt, size_t at, uint8_t bytes[COPY_BYTES],
           struct iovec out[COPY_PIECES], size_t *len)
{
    int count = 0;
    *len = 0;
    for (; count < iovcnt && count < COPY_PIECES; count++, at = 0) {
        size_t n = iov[count].iov_len - at, room = COPY_BYTES - *len;
        if (n > room && count > 0)
            break;
        n = n < room ? n : room;
        memcpy(bytes + *len, (const uint8_t *)iov[count].iov_base + at, n);
        out[count] = (struct iovec){bytes + *len, n};
        *len += n;
    }
    __asm__ volatile("" ::: "memory"); // nor does the compiler read the originals again
    return count;
}

// For those that look at a byte twice. It may be in a guest's memory, and the guest write it again
// in between: what is logged must be what was sent, and what a codec sends what it looked at.
static ssize_t
write_copy(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    uint8_t bytes[COPY_BYTES];
    struct iovec copy[COPY_PIECES];
    size_t at = 0, len;
    ssize_t total = 0;
    while (iovcnt > 0) {
        int count = copy_front(iov, iovcnt, at, bytes, copy, &len);
        ssize_t n = write_once(e, copy, count);
        if (n < 0)
            return total > 0 ? total : n;
        if (e->log_fd >= 0)
            log_bytes(e, bytes, (size_t)n);
        total += n;
        if ((size_t)n < len)
            break;
        bool is_cut = count == 1 && at + len < iov->iov_len;
        at = is_cut ? at + len : 0;
        iov += is_cut ? 0 : count;
        iovcnt -= is_cut ? 0 : count;
    }
    return total;
}

ssize_t
host_end_write(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    bool looks_twice = e->log_fd >= 0 || e->way == HOST_END_CODEC;
    return looks_twice ? write_copy(e, iov, iovcnt) : write_once(e, iov, iovcnt);
}

ssize_t
host_end_read(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    ssize_t n;
    switch (e->way) {
    case HOST_END_SOCKET:
        return host_end_file_read(e->read_fd, iov, iovcnt);
    case HOST_END_FILE:
        n = host_end_file_read(e->read_fd, iov, iovcnt);
        return n == 0 && e->no_eof ? -EIO : n;
    case HOST_END_DATAGRAM:
        return datagram_read(e, iov, iovcnt);
    case HOST_END_CODEC:
        return host_end_codec_read(e, &iov[0]);
    case HOST_END_NULL:
        return -EAGAIN;
    }
    assert(false);
    return -EBADF;
}

bool
host_end_shutdown(struct host_end *e)
{
    switch (e->way) {
    case HOST_END_SOCKET:
        shutdown(e->write_fd, SHUT_WR);
        return true;
    case HOST_END_CODEC:
        codec_finish(e->codec);
        e->shut = true;
        host_end_flush(e); // what is left goes at the next edge
        return true;
    case HOST_END_DATAGRAM:
    case HOST_END_FILE:
    case HOST_END_NULL:
        return false;
    }
    assert(false);
    return false;
}

bool
host_end_is_raw_socket(const struct host_end *e)
{
    return e->way == HOST_END_SOCKET && e->log_fd < 0;
}

bool
host_end_reads_short(const struct host_end *e)
{
    return e->way == HOST_END_SOCKET; // a terminal gives a line at a time, a codec what it has
}

bool
host_end_is_over(const struct host_end *e)
{
    return e->way == HOST_END_CODEC && e->wire_end != 0 && e->shut;
}
