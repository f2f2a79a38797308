// SPDX-License-Identifier: BSD-3-Clause
// The requests in the order in which QEMU makes them. A back-end that answers otherwise than the
// protocol has it is an error that is told, as this is a test's other side.
#include "front_end.h"

#include "base/fdpass.h"
#include "link/vhost_user_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define USER_BASE 0x7f0000000000ull // of the memory, as the rings' addresses are told
#define ANSWER_S  5
#define FEATURES                                                                                   \
    (VIRTIO_VERSION_1 | VHOST_PROTOCOL_FEATURES | VIRTIO_NET_CSUM | VIRTIO_NET_GUEST_CSUM |        \
     VIRTIO_NET_HOST_TSO4 | VIRTIO_NET_GUEST_TSO4)

static bool
fail(const char *what)
{
    fprintf(stderr, "vhost-guest: %s: %s\n", what, strerror(errno));
    return false;
}

bool
front_end_init(struct front_end *f, size_t bytes)
{
    *f = (struct front_end){.sock = -1, .bytes = bytes};
    f->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (f->memory_fd < 0 || ftruncate(f->memory_fd, (off_t)bytes) < 0)
        return fail("guest memory");
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, f->memory_fd, 0);
    if (memory == MAP_FAILED)
        return fail("guest memory");
    f->memory = memory;
    for (int i = 0; i < FRONT_RINGS; i++) {
        f->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        f->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (f->kick[i] < 0 || f->call[i] < 0)
            return fail("eventfd");
    }
    return true;
}

void
front_end_fini(struct front_end *f)
{
    for (int i = 0; i < FRONT_RINGS; i++) {
        close(f->kick[i]);
        close(f->call[i]);
    }
    munmap(f->memory, f->bytes);
    close(f->memory_fd);
    if (f->sock >= 0)
        close(f->sock);
}

bool
front_end_connect(struct front_end *f, const char *path, unsigned within_ms)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(un.sun_path)) {
        errno = ENAMETOOLONG;
        return fail(path);
    }
    memcpy(un.sun_path, path, strlen(path));
    for (unsigned tries = 0; tries <= within_ms * 2; tries++) {
        f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (f->sock < 0)
            return fail("socket");
        struct timeval patience = {.tv_sec = ANSWER_S};
        setsockopt(f->sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (connect(f->sock, (struct sockaddr *)&un, sizeof(un)) == 0)
            return true;
        close(f->sock);
        f->sock = -1;
        usleep(500);
    }
    return fail(path);
}

static bool
request(struct front_end *f, uint32_t number, const void *payload, uint32_t size, const int *fds,
        size_t nfds)
{
    uint8_t bytes[12 + 64];
    uint32_t header[3] = {number, 1, size};
    memcpy(bytes, header, sizeof(header));
    if (size > 0)
        memcpy(bytes + 12, payload, size);
    if (fdpass_send(f->sock, bytes, 12 + size, fds, nfds) != (ssize_t)(12 + size))
        return fail("request");
    return true;
}

static bool
read_whole(struct front_end *f, void *out, size_t len)
{
    if (recv(f->sock, out, len, MSG_WAITALL) == (ssize_t)len)
        return true;
    return fail("no answer from the back-end");
}

static bool
answer(struct front_end *f, uint32_t number, void *out, uint32_t size)
{
    uint32_t header[3];
    if (!read_whole(f, header, sizeof(header)))
        return false;
    if (header[0] != number || header[1] != (1 | 4) || header[2] != size) {
        errno = EPROTO;
        return fail("answer");
    }
    return read_whole(f, out, size);
}

static bool
request_u64(struct front_end *f, uint32_t number, uint64_t value)
{
    return request(f, number, &value, sizeof(value), NULL, 0);
}

static bool
ask_u64(struct front_end *f, uint32_t number, uint64_t *out)
{
    return request(f, number, NULL, 0, NULL, 0) && answer(f, number, out, sizeof(*out));
}

static bool
set_memory(struct front_end *f)
{
    const struct {
        uint32_t count, padding;
        uint64_t guest, size, user, offset;
    } table = {.count = 1, .size = f->bytes, .user = USER_BASE};
    return request(f, VHOST_SET_MEM_TABLE, &table, sizeof(table), &f->memory_fd, 1);
}

bool
front_end_negotiate(struct front_end *f, const struct front_options *options)
{
    uint64_t offered, protocol;
    f->features = FEATURES | (options->packed ? VIRTIO_RING_PACKED : 0) |
                  (options->indirect ? VIRTIO_INDIRECT_DESC : 0) |
                  (options->mergeable ? VIRTIO_NET_MRG_RXBUF : 0) |
                  (options->event_idx ? VIRTIO_EVENT_IDX : 0);
    if (!request(f, VHOST_SET_OWNER, NULL, 0, NULL, 0) ||
        !ask_u64(f, VHOST_GET_FEATURES, &offered) ||
        !ask_u64(f, VHOST_GET_PROTOCOL_FEATURES, &protocol))
        return false;
    if ((offered & f->features) != f->features) {
        errno = EOPNOTSUPP;
        return fail("features that the back-end lacks");
    }
    return request_u64(f, VHOST_SET_PROTOCOL_FEATURES, protocol & VHOST_PROTOCOL_REPLY_ACK) &&
           request_u64(f, VHOST_SET_FEATURES, f->features) && set_memory(f);
}

static bool
set_event(struct front_end *f, uint32_t number, int ring, int fd)
{
    uint64_t value = (uint64_t)ring;
    return request(f, number, &value, sizeof(value), &fd, 1);
}

static bool
set_state(struct front_end *f, uint32_t number, int ring, uint32_t value)
{
    const uint32_t state[2] = {(uint32_t)ring, value};
    return request(f, number, state, sizeof(state), NULL, 0);
}

bool
front_end_start_ring(struct front_end *f, int ring, uint16_t size, uint32_t base,
                     const uint64_t parts[3])
{
    const struct {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
    } addr = {.index = (uint32_t)ring,
              .desc = USER_BASE + parts[0],
              .avail = USER_BASE + parts[1],
              .used = USER_BASE + parts[2]};
    return set_state(f, VHOST_SET_VRING_NUM, ring, size) &&
           set_state(f, VHOST_SET_VRING_BASE, ring, base) &&
           request(f, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0) &&
           set_event(f, VHOST_SET_VRING_KICK, ring, f->kick[ring]) &&
           set_event(f, VHOST_SET_VRING_CALL, ring, f->call[ring]) &&
           set_state(f, VHOST_SET_VRING_ENABLE, ring, 1);
}

bool
front_end_stop_ring(struct front_end *f, int ring, uint32_t *base)
{
    uint32_t state[2];
    if (!set_state(f, VHOST_GET_VRING_BASE, ring, 0) ||
        !answer(f, VHOST_GET_VRING_BASE, state, sizeof(state)))
        return false;
    *base = state[1];
    return true;
}
