// SPDX-License-Identifier: BSD-3-Clause
// Receiving and replying, as QEMU's docs/interop/vhost-user.rst has it: header of request, flags
// and payload size, 32 bits each, then the payload; descriptors come with the first byte.
#include "link/vhost_user_wire.h"

#include "base/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES 12

enum {
    FLAG_VERSION = 1,
    FLAG_VERSION_MASK = 3,
    FLAG_REPLY = 4,
    FLAG_NEED_REPLY = 8,
};

struct header {
    uint32_t request, flags, size;
};

static struct header
header_of(const uint8_t *bytes)
{
    struct header h;
    memcpy(&h.request, bytes, 4);
    memcpy(&h.flags, bytes + 4, 4);
    memcpy(&h.size, bytes + 8, 4);
    return h;
}

static int
check_header(const struct header *h, struct error *err)
{
    if ((h->flags & FLAG_VERSION_MASK) != FLAG_VERSION)
        return error_set(err, EPROTO, "request %u of version %u", h->request,
                         h->flags & FLAG_VERSION_MASK);
    if (h->flags & ~(uint32_t)(FLAG_VERSION_MASK | FLAG_NEED_REPLY))
        return error_set(err, EPROTO, "request %u with flags 0x%x", h->request, h->flags);
    if (h->size > VHOST_PAYLOAD_MAX)
        return error_set(err, EPROTO, "request %u of %u bytes", h->request, h->size);
    return 0;
}

// Reads until `wanted` bytes are there: 1, 0 when the socket is empty before, or -errno.
static int
fill(int sock, struct vhost_inbox *in, size_t wanted, struct error *err)
{
    while (in->used < wanted) {
        int fds[VHOST_FDS_MAX];
        size_t nfds = VHOST_FDS_MAX;
        ssize_t n = fdpass_recv(sock, in->bytes + in->used, wanted - in->used, fds, &nfds);
        if (n == -EAGAIN)
            return 0;
        if (n == 0)
            return error_set(err, ECONNRESET, "front-end closed the connection%s",
                             in->used ? " within a message" : "");
        if (n == -EMSGSIZE)
            return error_set(err, EPROTO, "more than %d descriptors with a message", VHOST_FDS_MAX);
        if (n < 0)
            return error_set(err, (int)-n, "read");
        for (size_t i = 0; i < nfds; i++) {
            if (in->nfds < VHOST_FDS_MAX) {
                in->fds[in->nfds++] = fds[i];
                continue;
            }
            for (; i < nfds; i++)
                close(fds[i]);
            return error_set(err, EPROTO, "more than %d descriptors with a message", VHOST_FDS_MAX);
        }
        in->used += (size_t)n;
    }
    return 1;
}

int
vhost_receive(int sock, struct vhost_inbox *in, struct vhost_message *out, struct error *err)
{
    int rc = fill(sock, in, HEADER_BYTES, err);
    if (rc <= 0)
        return rc;
    struct header h = header_of(in->bytes);
    if ((rc = check_header(&h, err)) < 0)
        return rc;
    if ((rc = fill(sock, in, HEADER_BYTES + h.size, err)) <= 0)
        return rc;
    *out = (struct vhost_message){.request = h.request,
                                  .need_reply = h.flags & FLAG_NEED_REPLY,
                                  .size = h.size,
                                  .nfds = in->nfds};
    memcpy(out->payload, in->bytes + HEADER_BYTES, h.size);
    memcpy(out->fds, in->fds, sizeof(out->fds));
    in->used = in->nfds = 0;
    return 1;
}

void
vhost_inbox_close(struct vhost_inbox *in)
{
    for (size_t i = 0; i < in->nfds; i++)
        close(in->fds[i]);
    in->nfds = in->used = 0;
}

void
vhost_message_close(struct vhost_message *m)
{
    for (size_t i = 0; i < m->nfds; i++) {
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    }
    m->nfds = 0;
}

int
vhost_take_fd(struct vhost_message *m, size_t i)
{
    assert(i < m->nfds);
    int fd = m->fds[i];
    m->fds[i] = -1;
    return fd;
}

int
vhost_reply(int sock, uint32_t request, const void *payload, uint32_t size, struct error *err)
{
    uint8_t bytes[HEADER_BYTES + 64];
    uint32_t flags = FLAG_VERSION | FLAG_REPLY;
    assert(size <= sizeof(bytes) - HEADER_BYTES);
    memcpy(bytes, &request, 4);
    memcpy(bytes + 4, &flags, 4);
    memcpy(bytes + 8, &size, 4);
    if (size > 0)
        memcpy(bytes + HEADER_BYTES, payload, size);
    ssize_t n = fdpass_send(sock, bytes, HEADER_BYTES + size, NULL, 0);
    if (n < 0)
        return error_set(err, (int)-n, "reply");
    return (size_t)n == HEADER_BYTES + size ? 0 : error_set(err, ENOBUFS, "reply");
}
