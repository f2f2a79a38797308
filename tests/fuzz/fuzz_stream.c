// SPDX-License-Identifier: BSD-3-Clause
// Stream framing: length prefixes and frames, cut anywhere, against a parser that sees them whole.
//
// Input: how long the pieces are (a number of them, then each), then the bytes of the stream.
#include "fuzz.h"

#include "link/link.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

struct receiver {
    struct link *link;
    struct cursor expected; // what is left of the stream
    unsigned frames;
    bool down;
};

static uint32_t
next_length(struct cursor c)
{
    uint32_t len = cursor_u32(&c);
    return c.failed ? UINT32_MAX : len;
}

static void
on_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct receiver *r = ctx;
    for (size_t i = 0; i < count; i++) {
        uint32_t len = cursor_u32(&r->expected);
        assert(frames[i].iovcnt == 1 && frames[i].len == len && frames[i].iov[0].iov_len == len);
        assert(r->expected.left >= len);
        assert(memcmp(frames[i].iov[0].iov_base, r->expected.at, len) == 0);
        cursor_skip(&r->expected, len);
        link_send(r->link, &frames[i]);
        r->frames++;
    }
    link_flush(r->link);
}

static void
on_writable(void *ctx)
{
}

static void
on_down(void *ctx, const char *why)
{
    struct receiver *r = ctx;
    assert(why[0]);
    r->down = true;
    link_free(r->link);
}

// What was sent comes back, framed and padded.
static size_t
drain(int fd)
{
    static uint8_t bytes[1 << 16];
    size_t total = 0;
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    return total;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct link_events events = {on_frames, on_writable, on_down};
    struct cursor c = cursor_of(data, size);
    struct cursor cuts = cursor_take(&c, cursor_u8(&c));
    struct receiver r = {.expected = c};
    size_t echoed = 0, pieces = 0;
    int sv[2];
    struct loop *loop = loop_new();
    int rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
    assert(loop && rc == 0);
    r.link = link_new_stream(loop, sv[0], &events, &r);
    assert(r.link);
    while (c.left > 0 && !r.down) {
        size_t len = cuts.left > 0 ? 1u + cursor_u8(&cuts) : c.left;
        len = len < c.left ? len : c.left;
        ssize_t n = send(sv[1], c.at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert(n > 0 || r.down);
        cursor_skip(&c, n > 0 ? (size_t)n : 0);
        unsigned frames = r.frames;
        loop_turn(loop, 0);
        if (r.frames > frames) // else nothing comes back
            echoed += drain(sv[1]);
        assert(++pieces <= size); // each piece gets further
    }
    loop_turn(loop, 0);
    echoed += drain(sv[1]);
    // Every whole frame was told, and the link is down exactly when a length cannot be.
    uint32_t len = next_length(r.expected);
    bool impossible = len == 0 || (len > FRAME_MAX && len != UINT32_MAX) ||
                      (len == UINT32_MAX && r.expected.left >= 4);
    assert(r.down == impossible);
    assert(impossible || len == UINT32_MAX || r.expected.left - 4 < len);
    assert(echoed >= r.frames * (4u + FRAME_MIN) || r.down);
    close(sv[1]);
    if (!r.down)
        loop_turn(loop, 0);
    assert(r.down);
    loop_free(loop);
    return 0;
}
