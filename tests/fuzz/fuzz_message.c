// SPDX-License-Identifier: BSD-3-Clause
// Messages: one is one frame, the hello of vfkit is none, an empty one is nothing, or on a
// SOCK_SEQPACKET socket the end.
//
// Input: which socket, then messages: length and bytes; a length beyond the input is filled up.
#include "fuzz.h"

#include "link/link.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES 64

struct receiver {
    struct link *link;
    struct {
        size_t len;
        uint8_t first[16];
    } expected[MESSAGES];
    size_t sent, got;
    bool down;
};

static uint8_t message[FRAME_MAX + 2000];

static void
on_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct receiver *r = ctx;
    for (size_t i = 0; i < count; i++) {
        assert(r->got < r->sent && frames[i].len == r->expected[r->got].len);
        size_t n = frames[i].len < 16 ? frames[i].len : 16;
        assert(memcmp(frames[i].iov[0].iov_base, r->expected[r->got].first, n) == 0);
        r->got++;
        link_send(r->link, &frames[i]);
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
    r->down = true;
    link_free(r->link);
}

static void
turn(struct loop *loop, int fd)
{
    static uint8_t bytes[FRAME_MAX];
    loop_turn(loop, 0);
    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void
put(struct receiver *r, struct loop *loop, int fd, size_t len)
{
    ssize_t n;
    bool is_hello = len == 4 && memcmp(message, "VFKT", 4) == 0;
    if (len > 0 && len <= FRAME_MAX && !is_hello) {
        r->expected[r->sent].len = len;
        memcpy(r->expected[r->sent++].first, message, 16);
    }
    for (int i = 0; i < 100 && !r->down; i++) {
        n = send(fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0 || errno != EAGAIN)
            return;
        turn(loop, fd);
    }
    assert(r->down); // else it has stopped reading
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct link_events events = {on_frames, on_writable, on_down};
    static struct receiver r;
    struct cursor c = cursor_of(data, size);
    uint8_t how = cursor_u8(&c);
    bool has_end = how & 1, ended = false;
    int sv[2];
    memset(&r, 0, sizeof(r));
    struct loop *loop = loop_new();
    int rc = socketpair(AF_UNIX, (has_end ? SOCK_SEQPACKET : SOCK_DGRAM) | SOCK_CLOEXEC, 0, sv);
    assert(loop && rc == 0);
    r.link = link_new_message(loop, sv[0], &events, &r);
    assert(r.link);
    if (how & 2)
        link_take_partial_csum(r.link);
    for (int i = 0; i < MESSAGES && c.left > 0 && !ended && !r.down; i++) {
        size_t len = cursor_u16(&c);
        len += how & 4 && len > 60000 ? 1600 : 0;
        size_t given = len < c.left ? len : c.left;
        memset(message, 0x5a, 64);
        cursor_bytes(&c, message, given);
        ended = has_end && len == 0;
        put(&r, loop, sv[1], len);
        if (how & 8)
            turn(loop, sv[1]);
    }
    for (int i = 0; i < 4; i++)
        turn(loop, sv[1]);
    assert(r.got == r.sent && r.down == ended);
    close(sv[1]);
    if (!r.down) {
        loop_turn(loop, 0);
        if (!r.down)
            link_free(r.link); // a datagram socket learns of it by sending
    }
    loop_turn(loop, 0);
    loop_free(loop);
    return 0;
}
