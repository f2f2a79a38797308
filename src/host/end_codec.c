// SPDX-License-Identifier: BSD-3-Clause
// Host ends behind a codec: wire bytes wait in `in` and `out`, stream bytes pass through.
#include "host/end_internal.h"

#include <errno.h>
#include <sys/socket.h>

static int
wire_write(struct host_end *e)
{
    while (e->out->len > 0) {
        const struct iovec iov = {e->out->bytes + e->out->at, e->out->len};
        ssize_t n = host_end_socket_write(e->write_fd, &iov, 1);
        if (n < 0)
            return (int)n;
        host_buffer_consume(e->out, (size_t)n);
    }
    return 0;
}

int
host_end_flush(struct host_end *e)
{
    if (e->way != HOST_END_CODEC)
        return 0;
    size_t n;
    do {
        int rc = wire_write(e);
        if (rc < 0)
            return rc;
        n = codec_reply(e->codec, e->out->bytes, host_buffer_room(e->out));
        e->out->len += n;
    } while (n > 0);
    // An early goodbye waits for the handshake, whose answer it would cut off.
    if (e->shut && (codec_is_open(e->codec) || e->wire_end != 0))
        shutdown(e->write_fd, SHUT_WR);
    return 0;
}

ssize_t
host_end_codec_write(struct host_end *e, const struct iovec *iov, int iovcnt)
{
    size_t total = 0;
    if (e->shut || codec_is_shut(e->codec))
        return -EPIPE;
    for (int i = 0; i < iovcnt; i++) {
        for (size_t at = 0; at < iov[i].iov_len;) {
            struct codec_step step = {0, 0};
            size_t room = host_buffer_room(e->out);
            codec_encode(e->codec, (const uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at,
                         e->out->bytes + e->out->len, room, &step);
            e->out->len += step.produced;
            at += step.consumed;
            total += step.consumed;
            if (step.consumed > 0)
                continue;
            int rc = e->out->len > 0 ? wire_write(e) : -EAGAIN; // full, or not open yet
            if (rc < 0)
                return total > 0 ? (ssize_t)total : rc;
        }
    }
    wire_write(e); // what it does not take, or why, shows at the next flush
    return (ssize_t)total;
}

// The peer has said its last word in the codec's way, or broken its rules.
static void
wire_ended(struct host_end *e, int how)
{
    e->wire_end = how;
    e->in->len = 0;
    if (codec_is_shut(e->codec))
        e->shut = true; // the answer, if one is owed, then SHUT_WR
    host_end_flush(e);
}

// More wire bytes behind what `in` has. > 0, 0 at the end, or -errno.
static ssize_t
wire_read(struct host_end *e)
{
    size_t room = host_buffer_room(e->in);
    if (room == 0)
        return -EPROTO; // no message of a codec is as long before it takes some of it
    const struct iovec iov = {e->in->bytes + e->in->len, room};
    ssize_t n = host_end_file_read(e->read_fd, &iov, 1);
    if (n > 0)
        e->in->len += (size_t)n;
    return n;
}

// Decodes what is there into one iovec. 0, CODEC_END or -EPROTO.
static int
decode_into(struct host_end *e, const struct iovec *iov, size_t *produced)
{
    struct codec_step step;
    int rc;
    *produced = 0;
    do {
        rc = codec_decode(e->codec, e->in->bytes + e->in->at, e->in->len,
                          (uint8_t *)iov->iov_base + *produced, iov->iov_len - *produced, &step);
        host_buffer_consume(e->in, step.consumed);
        *produced += step.produced;
    } while (rc == 0 && (step.consumed > 0 || step.produced > 0) && e->in->len > 0 &&
             *produced < iov->iov_len);
    return rc;
}

// Stream bytes out of what `in` has, or -EINTR when there is none in it.
static ssize_t
codec_take(struct host_end *e, const struct iovec *iov)
{
    size_t produced;
    int rc = decode_into(e, iov, &produced);
    if (rc != 0)
        wire_ended(e, rc);
    else
        host_end_flush(e); // what the decoding made the codec owe; a failure shows later
    if (produced > 0)
        return (ssize_t)produced; // an end is told by the next call
    if (rc == 0)
        return -EINTR;
    return rc == CODEC_END ? 0 : rc;
}

ssize_t
host_end_codec_read(struct host_end *e, const struct iovec *iov)
{
    if (e->wire_end != 0)
        return e->wire_end == CODEC_END ? 0 : e->wire_end;
    ssize_t n = e->in->len > 0 ? codec_take(e, iov) : -EINTR;
    if (n != -EINTR)
        return n;
    n = wire_read(e);
    if (n == 0)
        wire_ended(e, codec_may_end(e->codec) ? CODEC_END : -ECONNRESET);
    if (n == 0)
        return e->wire_end == CODEC_END ? 0 : e->wire_end;
    return n < 0 ? n : codec_take(e, iov);
}
