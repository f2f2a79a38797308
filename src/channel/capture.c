// SPDX-License-Identifier: BSD-3-Clause
// See capture.h.
#include "channel/capture.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define IOV_MAX_USED 65 // the header, and as many pieces of a frame

static void
drop(struct capture_sink *s)
{
    loop_remove(s->owner->loop, &s->io);
    close(s->io.fd);
    s->io.fd = -1;
    s->owner->count--;
}

static void
on_event(void *ctx, unsigned events)
{
    struct capture_sink *s = ctx;
    if (events & LOOP_HANGUP)
        drop(s);
}

void
captures_init(struct captures *c, struct loop *loop)
{
    *c = (struct captures){.loop = loop};
    for (size_t i = 0; i < CAPTURES_MAX; i++)
        c->sinks[i] = (struct capture_sink){.io = {.fd = -1}, .owner = c};
}

void
captures_fini(struct captures *c)
{
    for (size_t i = 0; i < CAPTURES_MAX; i++)
        if (c->loop && c->sinks[i].io.fd >= 0)
            drop(&c->sinks[i]);
}

void
captures_add(struct captures *c, int fd, uint32_t snaplen)
{
    for (size_t i = 0; i < CAPTURES_MAX; i++) {
        struct capture_sink *s = &c->sinks[i];
        if (s->io.fd >= 0)
            continue;
        *s = (struct capture_sink){
            .io = {.fd = fd, .on_event = on_event, .ctx = s}, .owner = c, .snaplen = snaplen};
        if (loop_add(c->loop, &s->io, 0) < 0) {
            s->io.fd = -1;
            break;
        }
        c->count++;
        return;
    }
    close(fd);
}

static void
send_copy(struct capture_sink *s, const struct frame *frame, struct capture_header *header)
{
    struct iovec iov[IOV_MAX_USED] = {{header, sizeof(*header)}};
    size_t left = frame->len < s->snaplen ? frame->len : s->snaplen;
    size_t count = 1;
    for (int i = 0; i < frame->iovcnt && left > 0 && count < IOV_MAX_USED; i++) {
        iov[count] = frame->iov[i];
        if (iov[count].iov_len > left)
            iov[count].iov_len = left;
        left -= iov[count++].iov_len;
    }
    header->left_out = s->left_out;
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n;
    do
        n = sendmsg(s->io.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        s->left_out = 0;
    else if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
        drop(s);
    else
        s->left_out++;
}

void
captures_take(struct captures *c, const struct frame *frame, bool to_guest)
{
    struct capture_header header = {
        .time_us = loop_clock_us(), .len = (uint32_t)frame->len, .to_guest = to_guest};
    for (size_t i = 0; i < CAPTURES_MAX; i++)
        if (c->sinks[i].io.fd >= 0)
            send_copy(&c->sinks[i], frame, &header);
}
