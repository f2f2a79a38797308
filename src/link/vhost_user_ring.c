// SPDX-License-Identifier: BSD-3-Clause
// A ring of a vhost-user session: the requests that set it up, its start and stop, its eventfds.
// What is in the ring is virtqueue.c's; the other requests are vhost_user.c's.
#include "link/vhost_user_impl.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_INDEX_MASK 0xff
#define RING_NO_FD      0x100
#define RING_ADDR_LOG   1

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

// The ring that a request names by its first 32 bits, or NULL.
static struct vhost_ring *
find_ring(struct vhost_user *v, uint32_t index, struct error *err)
{
    if (index < VHOST_RINGS)
        return &v->rings[index];
    error_set(err, EINVAL, "ring %u (accepted: 0 and 1)", index);
    return NULL;
}

static enum vhost_ring_index
index_of(const struct vhost_user *v, const struct vhost_ring *ring)
{
    return ring == &v->rings[0] ? VHOST_RING_TO_GUEST : VHOST_RING_FROM_GUEST;
}

static void
notify(int fd)
{
    const uint64_t one = 1;
    // One that is full has not been looked at; it is readable, which is all that matters.
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
        return;
}

static void
publish(struct vhost_ring *ring)
{
    if (virtqueue_publish(&ring->queue))
        notify(ring->call_fd);
}

static void
stop_ring(struct vhost_user *v, struct vhost_ring *ring)
{
    if (ring->queue.desc) {
        publish(ring);
        v->on_ring_stop(v->ctx, index_of(v, ring));
    }
    virtqueue_stop(&ring->queue);
}

// Lets the ring run if all is there that it takes.
static int
start_ring_if_complete(struct vhost_user *v, struct vhost_ring *ring, struct error *err)
{
    assert(!ring->queue.desc);
    if (ring->kick_fd < 0 || !ring->has_addr || ring->queue.size == 0 || v->memory.count == 0)
        return 0;
    if (!ring->has_base)
        virtqueue_set_base_to_start(&ring->queue);
    ring->has_base = true;
    int rc = virtqueue_start(&ring->queue, &ring->addr, err);
    if (rc < 0)
        return rc;
    rc = v->on_ring_start(v->ctx, index_of(v, ring));
    if (rc < 0) {
        virtqueue_stop(&ring->queue);
        return error_set(err, -rc, "cannot wait for kicks");
    }
    log_debug("link vhost-user: %s ring %u runs, %u entries, from %u",
              ring->queue.is_packed ? "packed" : "split", index_of(v, ring), ring->queue.size,
              ring->queue.next_avail);
    return 0;
}

// After a change of the memory or of the addresses.
int
vhost_ring_move(struct vhost_user *v, struct vhost_ring *ring, struct error *err)
{
    if (!ring->queue.desc)
        return start_ring_if_complete(v, ring, err);
    enum vhost_ring_index i = index_of(v, ring);
    int rc = virtqueue_move(&ring->queue, &ring->addr, err);
    if (rc < 0)
        v->on_ring_stop(v->ctx, i); // it has no descriptors any more
    return rc;
}

int
vhost_ring_on_num(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                  struct error *err)
{
    struct vhost_ring *ring = find_ring(v, vhost_get_u32(m, 0), err);
    uint32_t size = vhost_get_u32(m, 4);
    if (!ring)
        return -EINVAL;
    bool any = ring->queue.packed; // virtio 1.2, 2.8.10.1
    if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (!any && (size & (size - 1)) != 0))
        return error_set(err, EINVAL, "ring of %u entries (accepted: %s up to %d)", size,
                         any ? "1" : "powers of two", VIRTQUEUE_SIZE_MAX);
    if (ring->queue.desc)
        return size == ring->queue.size ? 0 : error_set(err, EBUSY, "size of a running ring");
    ring->queue.size = size;
    return start_ring_if_complete(v, ring, err);
}

int
vhost_ring_on_addr(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                   struct error *err)
{
    struct vhost_ring *ring = find_ring(v, vhost_get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    ring->addr = (struct virtqueue_addr){.log_used = vhost_get_u32(m, 4) & RING_ADDR_LOG,
                                         .desc = vhost_get_u64(m, 8),
                                         .used = vhost_get_u64(m, 16),
                                         .avail = vhost_get_u64(m, 24),
                                         .used_log = vhost_get_u64(m, 32)};
    ring->has_addr = true;
    return vhost_ring_move(v, ring, err);
}

int
vhost_ring_on_base(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                   struct error *err)
{
    struct vhost_ring *ring = find_ring(v, vhost_get_u32(m, 0), err);
    uint32_t base = vhost_get_u32(m, 4);
    if (!ring)
        return -EINVAL;
    if (ring->queue.desc || !virtqueue_set_base(&ring->queue, base))
        return error_set(err, EINVAL, "base %u of a %s ring", base,
                         ring->queue.desc ? "running" : "stopped");
    ring->has_base = true;
    return 0;
}

int
vhost_ring_on_get_base(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                       struct error *err)
{
    struct vhost_ring *ring = find_ring(v, vhost_get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    stop_ring(v, ring);
    close_fd(&ring->kick_fd);
    uint32_t state[2] = {vhost_get_u32(m, 0), virtqueue_base(&ring->queue)};
    memcpy(r->payload, state, sizeof(state));
    r->size = sizeof(state);
    return 0;
}

// The descriptor of a kick, call or error; -1 where the front-end has none. Only an eventfd (or
// what looks like one) will do: a pipe would fill up, a file is always readable.
static int
take_event_fd(struct vhost_message *m, int *out, struct error *err)
{
    uint64_t value = vhost_get_u64(m, 0);
    bool none = value & RING_NO_FD;
    struct stat st;
    *out = -1;
    if ((value & ~(uint64_t)(RING_INDEX_MASK | RING_NO_FD)) || m->nfds != (none ? 0 : 1))
        return error_set(err, EINVAL, "%zu descriptors with ring 0x%llx", m->nfds,
                         (unsigned long long)value);
    if (none)
        return 0;
    if (fstat(m->fds[0], &st) < 0 || (st.st_mode & S_IFMT) != 0)
        return error_set(err, EINVAL, "a notification by something else than an eventfd");
    // A sandbox forbids to set O_ASYNC, should it be set.
    int flags = fcntl(m->fds[0], F_GETFL);
    if (flags < 0 || fcntl(m->fds[0], F_SETFL, (flags | O_NONBLOCK) & ~O_ASYNC) < 0)
        return error_set(err, errno, "eventfd");
    *out = vhost_take_fd(m, 0);
    return 0;
}

static struct vhost_ring *
find_event_ring(struct vhost_user *v, struct vhost_message *m, struct error *err)
{
    return find_ring(v, (uint32_t)(vhost_get_u64(m, 0) & RING_INDEX_MASK), err);
}

int
vhost_ring_on_kick(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                   struct error *err)
{
    struct vhost_ring *ring = find_event_ring(v, m, err);
    int fd;
    int rc = ring ? take_event_fd(m, &fd, err) : -EINVAL;
    if (rc < 0)
        return rc;
    if (fd < 0)
        return error_set(err, EOPNOTSUPP, "a ring without kicks, to be polled");
    stop_ring(v, ring);
    close_fd(&ring->kick_fd);
    ring->kick_fd = fd;
    return start_ring_if_complete(v, ring, err);
}

static int
set_event(struct vhost_message *m, int *fd_of_ring, struct error *err)
{
    int fd;
    int rc = take_event_fd(m, &fd, err);
    if (rc < 0)
        return rc;
    close_fd(fd_of_ring);
    *fd_of_ring = fd;
    return 0;
}

int
vhost_ring_on_call(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                   struct error *err)
{
    struct vhost_ring *ring = find_event_ring(v, m, err);
    int rc = ring ? set_event(m, &ring->call_fd, err) : -EINVAL;
    // What a back-end before us completed may not have been told.
    if (rc == 0 && ring->queue.desc)
        notify(ring->call_fd);
    return rc;
}

int
vhost_ring_on_err(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                  struct error *err)
{
    struct vhost_ring *ring = find_event_ring(v, m, err);
    return ring ? set_event(m, &ring->err_fd, err) : -EINVAL;
}

int
vhost_ring_on_enable(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                     struct error *err)
{
    struct vhost_ring *ring = find_ring(v, vhost_get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    if (vhost_get_u32(m, 4) > 1)
        return error_set(err, EINVAL, "ring enabled by %u", vhost_get_u32(m, 4));
    ring->enabled = vhost_get_u32(m, 4);
    return 0;
}

void
vhost_ring_init(struct vhost_ring *ring, struct guest_memory *memory)
{
    ring->kick_fd = ring->call_fd = ring->err_fd = -1;
    ring->queue.memory = memory;
}

void
vhost_ring_fini(struct vhost_ring *ring)
{
    close_fd(&ring->kick_fd);
    close_fd(&ring->call_fd);
    close_fd(&ring->err_fd);
}

void
vhost_ring_reset(struct vhost_user *v, struct vhost_ring *ring)
{
    stop_ring(v, ring);
    close_fd(&ring->kick_fd);
    ring->enabled = false;
    ring->has_addr = false;
    // QEMU 7.2 resets the status before it asks for the base, which it goes on from.
    ring->has_base = false;
    ring->queue.broken[0] = '\0';
}

bool
vhost_ring_is_active(const struct vhost_ring *ring)
{
    return ring->enabled && virtqueue_is_running(&ring->queue);
}

void
vhost_ring_publish(struct vhost_ring *ring)
{
    publish(ring);
}

void
vhost_ring_tell_broken(struct vhost_ring *ring)
{
    notify(ring->err_fd);
}
