// SPDX-License-Identifier: BSD-3-Clause
// See splice_flow.h. Few bytes are copied, which costs less than three splices and no descriptor.
// A flow that shows to be bulk gets a pipe, and goes from then on from socket to pipe to socket.
#include "channel/splice_flow.h"

#include "channel/splice.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPY_BYTES      SPLICE_KEPT_BYTES // at once, on the stack
#define BULK_BYTES      (32u * 1024)      // copied in one run: such a flow is worth a pipe
#define TURN_BYTES      (256u * 1024) // of one flow per callback; then the others have their turn
#define PIPE_GROW_BYTES (32u * 1024)  // a read of this size says that the flow is a bulk transfer
#define PIPE_BYTES      (1024u * 1024)
#define PIPE_BYTES_MIN  (128u * 1024) // the least size worth asking for

void
splice_side_break(struct splice_side *side)
{
    side->broken = true;
    side->readable = true;
}

// A read gave no bytes, but end of file (0) or an error.
static void
read_failed(struct splice_flow *f, struct splice_side *source, ssize_t n)
{
    if (n == 0) {
        f->ended = true;
    } else if (errno == EINTR) {
        // the edge is still ours: readable stays set
    } else if (errno == EAGAIN) {
        source->readable = false;
        // A broken side whose peer left more to read would have given it.
        f->ended = source->broken;
    } else {
        splice_side_break(source);
        f->ended = true;
    }
}

static void
count(struct splice_flow *f, size_t bytes)
{
    if (f->bytes)
        *f->bytes += bytes;
}

// How many bytes may be read, of `most`. A source that has ended is read all the same: its end
// costs no token.
static size_t
may_take(const struct splice_flow *f, const struct splice_side *source, size_t most)
{
    char byte;
    if (!f->limit)
        return most;
    size_t may = limit_ask(f->limit, f->way);
    if (may > 0)
        return may < most ? may : most;
    if (!source->reads_end_early && !source->broken)
        return 0;
    ssize_t n = recv(source->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 ? 0 : 1;
}

static void
note_taken(const struct splice_flow *f, size_t bytes)
{
    if (f->limit)
        limit_moved(f->limit, f->way, bytes);
}

// --- copied --------------------------------------------------------------------------------------

// Bytes taken; 0 when the sink is full or broken.
static size_t
sink_take(struct splice_flow *f, struct splice_side *sink, const char *bytes, size_t len)
{
    ssize_t n = send(sink->io.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
        count(f, (size_t)n);
        return (size_t)n;
    }
    if (errno == EAGAIN)
        sink->writable = false;
    else if (errno != EINTR)
        splice_side_break(sink);
    return 0;
}

static size_t
flow_copy_kept(struct splice_flow *f, struct splice_side *sink)
{
    struct iovec iov[2]; // never the second: the slot was empty when it was filled
    ring_iov(f->pool, &f->kept, 0, f->kept.used, iov);
    size_t n = sink_take(f, sink, iov[0].iov_base, iov[0].iov_len);
    ring_consume(f->pool, &f->kept, (uint32_t)n);
    if (f->kept.used == 0)
        ring_release(f->pool, &f->kept);
    return n;
}

// Keeps what a full sink did not take. Nothing more is read before it is gone, so this is all that
// a flow ever keeps.
static void
flow_keep(struct splice_flow *f, const char *bytes, size_t len)
{
    bool has_slot = ring_acquire(f->pool, &f->kept);
    assert(has_slot);
    ring_place(f->pool, &f->kept, 0, bytes, (uint32_t)len);
    ring_commit(f->pool, &f->kept, (uint32_t)len);
}

// A short read has emptied the source: what comes later is a new edge (epoll(7)). Not so when it
// ended at an urgent mark, at a passed descriptor (MSG_CTRUNC, as we take none) or before a FIN.
static ssize_t
source_give(struct splice_side *source, char *bytes, size_t room)
{
    struct msghdr m = {.msg_iov = &(struct iovec){bytes, room}, .msg_iovlen = 1};
    ssize_t n = recvmsg(source->io.fd, &m, MSG_DONTWAIT);
    bool drained = n > 0 && (size_t)n < room && !(m.msg_flags & MSG_CTRUNC);
    if (drained && !source->reads_end_early && !source->broken)
        source->readable = false;
    return n;
}

// From source to sink, at most COPY_BYTES. Bytes moved, 0 when there is nothing to do now.
static size_t
flow_copy(struct splice_flow *f, struct splice_side *source, struct splice_side *sink,
          bool may_read)
{
    if (!sink->writable)
        return 0;
    if (f->kept.used > 0)
        return flow_copy_kept(f, sink);
    if (f->ended || !source->readable || !may_read)
        return 0;

    char bytes[COPY_BYTES];
    size_t may = may_take(f, source, sizeof bytes);
    if (may == 0)
        return 0;
    ssize_t n = source_give(source, bytes, may);
    if (n <= 0) {
        read_failed(f, source, n);
        return 0;
    }
    note_taken(f, (size_t)n);
    size_t taken = sink_take(f, sink, bytes, (size_t)n);
    if (taken < (size_t)n && !sink->broken)
        flow_keep(f, bytes + taken, (size_t)n - taken);
    return (size_t)n;
}

// --- spliced -------------------------------------------------------------------------------------

// An unprivileged user has 64 MiB of pipes in all (pipe(7)), so only a flow that needs a large pipe
// asks for one, and takes what it gets.
static void
pipe_grow(struct splice_flow *f)
{
    f->grown = true;
    for (uint32_t size = PIPE_BYTES; size >= PIPE_BYTES_MIN; size /= 2)
        if (fcntl(f->pipe[1], F_SETPIPE_SZ, (int)size) >= 0)
            return;
}

// Without a pipe (descriptors or the user's share of pipe memory ran out) the flow is copied on.
static void
pipe_open(struct splice_flow *f)
{
    if (pipe2(f->pipe, O_CLOEXEC | O_NONBLOCK) == 0)
        return;
    f->pipe[0] = f->pipe[1] = -1;
    f->no_pipe = true;
}

// From source to pipe, at most len bytes. Bytes moved, 0 when there is nothing to do now.
static size_t
flow_read(struct splice_flow *f, struct splice_side *source, size_t len)
{
    if (f->ended || f->full || !source->readable)
        return 0;
    len = may_take(f, source, len);
    if (len == 0)
        return 0;

    ssize_t n =
        splice(source->io.fd, NULL, f->pipe[1], NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        f->in_pipe += (uint32_t)n;
        note_taken(f, (size_t)n);
        if (n >= (ssize_t)PIPE_GROW_BYTES && !f->grown)
            pipe_grow(f);
        return (size_t)n;
    }
    if (n < 0 && errno == EAGAIN && f->in_pipe > 0)
        f->full = true; // or the source is empty; told apart once the pipe is
    else
        read_failed(f, source, n);
    return 0;
}

// From pipe to sink.
static size_t
flow_write(struct splice_flow *f, struct splice_side *sink)
{
    if (f->in_pipe == 0 || !sink->writable || sink->broken)
        return 0;

    ssize_t n =
        splice(f->pipe[0], NULL, sink->io.fd, NULL, f->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        assert((size_t)n <= f->in_pipe);
        f->in_pipe -= (uint32_t)n;
        f->full = false;
        count(f, (size_t)n);
        return (size_t)n;
    }
    if (n < 0 && errno == EINTR)
        return 0;
    if (n == 0 || errno == EAGAIN) {
        sink->writable = false; // the pipe is not empty, so it is the sink that is full
        return 0;
    }
    splice_side_break(sink);
    return 0;
}

void
splice_flow_init(struct splice_flow *f, struct ring_pool *pool)
{
    *f = (struct splice_flow){.pipe = {-1, -1}, .pool = pool};
    ring_init(&f->kept);
}

size_t
splice_flow_step(struct splice_flow *f, struct splice_side *source, struct splice_side *sink,
                 size_t moved)
{
    bool may_read = moved < TURN_BYTES;
    if (f->pipe[0] < 0 && moved >= BULK_BYTES && f->kept.used == 0 && !f->no_pipe)
        pipe_open(f);
    if (f->pipe[0] < 0)
        return flow_copy(f, source, sink, may_read);
    size_t n = may_read ? flow_read(f, source, TURN_BYTES) : 0;
    return n + flow_write(f, sink);
}

void
splice_flow_fini(struct splice_flow *f)
{
    ring_release(f->pool, &f->kept);
    for (int i = 0; i < 2; i++)
        if (f->pipe[i] >= 0)
            close(f->pipe[i]);
}
