// SPDX-License-Identifier: BSD-3-Clause
// The requests of the vhost-user protocol, one function each, behind a table of what each may
// carry. A request that cannot be fulfilled is answered with a failure where the front-end asked
// for an answer (REPLY_ACK), and ends the session where it did not. An unfinished set-up is no
// error: a ring runs as soon as memory, size, addresses and a kick are there.
#include "link/vhost_user.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MESSAGES_PER_READ 32
#define RING_INDEX_MASK   0xff
#define RING_NO_FD        0x100
#define RING_ADDR_LOG     1

#define FEATURES                                                                                   \
    (VIRTIO_NET_CSUM | VIRTIO_NET_GUEST_CSUM | VIRTIO_NET_MTU | VIRTIO_NET_GUEST_TSO4 |            \
     VIRTIO_NET_HOST_TSO4 | VIRTIO_NET_MRG_RXBUF | VHOST_LOG_ALL | VIRTIO_ANY_LAYOUT |             \
     VIRTIO_INDIRECT_DESC | VIRTIO_EVENT_IDX | VHOST_PROTOCOL_FEATURES | VIRTIO_VERSION_1)

#define PROTOCOL_FEATURES                                                                          \
    (VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_RARP | VHOST_PROTOCOL_REPLY_ACK |                   \
     VHOST_PROTOCOL_MTU | VHOST_PROTOCOL_RESET_DEVICE | VHOST_PROTOCOL_STATUS)

// A request's answer, for those that have one.
struct reply {
    uint8_t payload[8];
    uint32_t size;
};

static uint32_t
get_u32(const struct vhost_message *m, size_t at)
{
    uint32_t v;
    memcpy(&v, m->payload + at, sizeof(v));
    return v;
}

static uint64_t
get_u64(const struct vhost_message *m, size_t at)
{
    uint64_t v;
    memcpy(&v, m->payload + at, sizeof(v));
    return v;
}

static void
put_u64(struct reply *r, uint64_t v)
{
    memcpy(r->payload, &v, sizeof(v));
    r->size = sizeof(v);
}

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
    if (ring->kick_fd < 0 || !ring->has_addr || ring->queue.size == 0 || v->memory.count == 0 ||
        ring->queue.desc)
        return 0;
    int rc = virtqueue_start(&ring->queue, &ring->addr, err);
    if (rc < 0)
        return rc;
    rc = v->on_ring_start(v->ctx, index_of(v, ring));
    if (rc < 0) {
        virtqueue_stop(&ring->queue);
        return error_set(err, -rc, "cannot wait for kicks");
    }
    log_debug("link vhost-user: ring %u runs, %u entries, from %u", index_of(v, ring),
              ring->queue.size, ring->queue.next_avail);
    return 0;
}

// After a change of the memory or of the addresses.
static int
move_ring(struct vhost_user *v, struct vhost_ring *ring, struct error *err)
{
    if (!ring->queue.desc)
        return start_ring_if_complete(v, ring, err);
    enum vhost_ring_index i = index_of(v, ring);
    int rc = virtqueue_move(&ring->queue, &ring->addr, err);
    if (rc < 0)
        v->on_ring_stop(v->ctx, i); // it has no descriptors any more
    return rc;
}

static void
reset(struct vhost_user *v)
{
    for (int i = 0; i < VHOST_RINGS; i++) {
        struct vhost_ring *ring = &v->rings[i];
        stop_ring(v, ring);
        close_fd(&ring->kick_fd);
        ring->enabled = false;
        ring->has_addr = false;
        ring->queue.next_avail = 0;
        ring->queue.broken[0] = '\0';
    }
    v->status = 0;
}

static int
on_get_features(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    put_u64(r, FEATURES);
    return 0;
}

static int
on_set_features(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    uint64_t features = get_u64(m, 0);
    if (features & ~FEATURES)
        return error_set(err, EINVAL, "features 0x%llx were not offered",
                         (unsigned long long)(features & ~FEATURES));
    v->features = features;
    v->memory.logging = features & VHOST_LOG_ALL;
    for (int i = 0; i < VHOST_RINGS; i++) {
        v->rings[i].queue.event_idx = features & VIRTIO_EVENT_IDX;
        v->rings[i].queue.indirect = features & VIRTIO_INDIRECT_DESC;
        if (!(features & VHOST_PROTOCOL_FEATURES))
            v->rings[i].enabled = true;
    }
    log_debug("link vhost-user: features 0x%llx", (unsigned long long)features);
    return 0;
}

static int
on_get_protocol_features(struct vhost_user *v, struct vhost_message *m, struct reply *r,
                         struct error *err)
{
    put_u64(r, PROTOCOL_FEATURES);
    return 0;
}

static int
on_set_protocol_features(struct vhost_user *v, struct vhost_message *m, struct reply *r,
                         struct error *err)
{
    uint64_t features = get_u64(m, 0);
    if (features & ~PROTOCOL_FEATURES)
        return error_set(err, EINVAL, "protocol features 0x%llx were not offered",
                         (unsigned long long)(features & ~PROTOCOL_FEATURES));
    v->protocol_features = features;
    return 0;
}

static int
on_nothing(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    return 0;
}

static int
on_reset_owner(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    for (int i = 0; i < VHOST_RINGS; i++)
        v->rings[i].enabled = false;
    return 0;
}

static int
on_reset_device(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    reset(v);
    return 0;
}

static int
on_set_mem_table(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
    uint32_t count = m->size >= 8 ? get_u32(m, 0) : 0;
    if (count == 0 || count > GUEST_MEMORY_REGIONS_MAX || m->size != 8 + count * 32 ||
        m->nfds != count)
        return error_set(err, EINVAL, "memory table of %u regions, %zu descriptors, %u bytes",
                         count, m->nfds, m->size);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = 8 + (size_t)i * 32;
        regions[i] = (struct guest_region){.guest_addr = get_u64(m, at),
                                           .size = get_u64(m, at + 8),
                                           .user_addr = get_u64(m, at + 16),
                                           .mmap_offset = get_u64(m, at + 24)};
    }
    int rc = guest_memory_map(&v->memory, regions, m->fds, count, err);
    if (rc < 0)
        return rc;
    // The pointers of all rings are void, also when one of them cannot be moved.
    for (int i = 0; i < VHOST_RINGS; i++) {
        int moved = move_ring(v, &v->rings[i], err);
        rc = moved < 0 ? moved : rc;
    }
    return rc;
}

static int
on_set_log_base(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    if (m->nfds != 1)
        return error_set(err, EINVAL, "log without a descriptor");
    return guest_memory_map_log(&v->memory, m->fds[0], get_u64(m, 0), get_u64(m, 8), err);
}

static int
on_set_vring_num(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_ring(v, get_u32(m, 0), err);
    uint32_t size = get_u32(m, 4);
    if (!ring)
        return -EINVAL;
    if (size == 0 || size > VIRTQUEUE_SIZE_MAX || (size & (size - 1)) != 0)
        return error_set(err, EINVAL, "ring of %u entries (accepted: powers of two up to %d)", size,
                         VIRTQUEUE_SIZE_MAX);
    if (ring->queue.desc)
        return size == ring->queue.size ? 0 : error_set(err, EBUSY, "size of a running ring");
    ring->queue.size = size;
    return start_ring_if_complete(v, ring, err);
}

static int
on_set_vring_addr(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_ring(v, get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    ring->addr = (struct virtqueue_addr){.log_used = get_u32(m, 4) & RING_ADDR_LOG,
                                         .desc = get_u64(m, 8),
                                         .used = get_u64(m, 16),
                                         .avail = get_u64(m, 24),
                                         .used_log = get_u64(m, 32)};
    ring->has_addr = true;
    return move_ring(v, ring, err);
}

static int
on_set_vring_base(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_ring(v, get_u32(m, 0), err);
    uint32_t base = get_u32(m, 4);
    if (!ring)
        return -EINVAL;
    if (base > UINT16_MAX || ring->queue.desc)
        return error_set(err, EINVAL, "base %u of a %s ring", base,
                         ring->queue.desc ? "running" : "stopped");
    ring->queue.next_avail = (uint16_t)base;
    return 0;
}

static int
on_get_vring_base(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_ring(v, get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    stop_ring(v, ring);
    close_fd(&ring->kick_fd);
    uint32_t state[2] = {get_u32(m, 0), ring->queue.next_avail};
    memcpy(r->payload, state, sizeof(state));
    r->size = sizeof(state);
    return 0;
}

// The descriptor of a kick, call or error; -1 where the front-end has none. Only an eventfd (or
// what looks like one) will do: a pipe would fill up, a file is always readable.
static int
take_event_fd(struct vhost_message *m, int *out, struct error *err)
{
    uint64_t value = get_u64(m, 0);
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
    int flags = fcntl(m->fds[0], F_GETFL);
    if (flags < 0 || fcntl(m->fds[0], F_SETFL, flags | O_NONBLOCK) < 0)
        return error_set(err, errno, "eventfd");
    *out = vhost_take_fd(m, 0);
    return 0;
}

static struct vhost_ring *
find_event_ring(struct vhost_user *v, struct vhost_message *m, struct error *err)
{
    return find_ring(v, (uint32_t)(get_u64(m, 0) & RING_INDEX_MASK), err);
}

static int
on_set_vring_kick(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
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

static int
on_set_vring_call(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_event_ring(v, m, err);
    int rc = ring ? set_event(m, &ring->call_fd, err) : -EINVAL;
    // What a back-end before us completed may not have been told.
    if (rc == 0 && ring->queue.desc)
        notify(ring->call_fd);
    return rc;
}

static int
on_set_vring_err(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    struct vhost_ring *ring = find_event_ring(v, m, err);
    return ring ? set_event(m, &ring->err_fd, err) : -EINVAL;
}

static int
on_set_vring_enable(struct vhost_user *v, struct vhost_message *m, struct reply *r,
                    struct error *err)
{
    struct vhost_ring *ring = find_ring(v, get_u32(m, 0), err);
    if (!ring)
        return -EINVAL;
    if (get_u32(m, 4) > 1)
        return error_set(err, EINVAL, "ring enabled by %u", get_u32(m, 4));
    ring->enabled = get_u32(m, 4);
    return 0;
}

static int
on_get_queue_num(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    put_u64(r, 1);
    return 0;
}

static int
on_net_set_mtu(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    uint64_t mtu = get_u64(m, 0);
    if (mtu < 68 || mtu > UINT16_MAX)
        return error_set(err, EINVAL, "MTU %llu", (unsigned long long)mtu);
    v->mtu = (uint16_t)mtu;
    return 0;
}

static int
on_set_status(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    uint64_t status = get_u64(m, 0);
    if (status > UINT8_MAX)
        return error_set(err, EINVAL, "status 0x%llx", (unsigned long long)status);
    if (status == 0)
        reset(v);
    v->status = (uint8_t)status;
    return 0;
}

static int
on_get_status(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    put_u64(r, v->status);
    return 0;
}

#define ANY_SIZE UINT32_MAX

struct rule {
    int (*handle)(struct vhost_user *v, struct vhost_message *m, struct reply *r,
                  struct error *err);
    uint32_t size; // of the payload
    size_t fds;    // at most
    bool has_reply;
    uint64_t needs; // a protocol feature
};

static const struct rule rules[] = {
    [VHOST_GET_FEATURES] = {on_get_features, 0, 0, true, 0},
    [VHOST_SET_FEATURES] = {on_set_features, 8, 0, false, 0},
    [VHOST_SET_OWNER] = {on_nothing, 0, 0, false, 0},
    [VHOST_RESET_OWNER] = {on_reset_owner, 0, 0, false, 0},
    [VHOST_SET_MEM_TABLE] = {on_set_mem_table, ANY_SIZE, VHOST_FDS_MAX, false, 0},
    [VHOST_SET_LOG_BASE] = {on_set_log_base, 16, 1, true, VHOST_PROTOCOL_LOG_SHMFD},
    [VHOST_SET_LOG_FD] = {on_nothing, ANY_SIZE, 1, false, 0},
    [VHOST_SET_VRING_NUM] = {on_set_vring_num, 8, 0, false, 0},
    [VHOST_SET_VRING_ADDR] = {on_set_vring_addr, 40, 0, false, 0},
    [VHOST_SET_VRING_BASE] = {on_set_vring_base, 8, 0, false, 0},
    [VHOST_GET_VRING_BASE] = {on_get_vring_base, 8, 0, true, 0},
    [VHOST_SET_VRING_KICK] = {on_set_vring_kick, 8, 1, false, 0},
    [VHOST_SET_VRING_CALL] = {on_set_vring_call, 8, 1, false, 0},
    [VHOST_SET_VRING_ERR] = {on_set_vring_err, 8, 1, false, 0},
    [VHOST_GET_PROTOCOL_FEATURES] = {on_get_protocol_features, 0, 0, true, 0},
    [VHOST_SET_PROTOCOL_FEATURES] = {on_set_protocol_features, 8, 0, false, 0},
    [VHOST_GET_QUEUE_NUM] = {on_get_queue_num, 0, 0, true, 0},
    [VHOST_SET_VRING_ENABLE] = {on_set_vring_enable, 8, 0, false, 0},
    // Nobody but us sees the guest's frames: there is no switch to tell where it is now.
    [VHOST_SEND_RARP] = {on_nothing, 8, 0, false, VHOST_PROTOCOL_RARP},
    [VHOST_NET_SET_MTU] = {on_net_set_mtu, 8, 0, false, VHOST_PROTOCOL_MTU},
    [VHOST_RESET_DEVICE] = {on_reset_device, 0, 0, false, VHOST_PROTOCOL_RESET_DEVICE},
    [VHOST_SET_STATUS] = {on_set_status, 8, 0, false, VHOST_PROTOCOL_STATUS},
    [VHOST_GET_STATUS] = {on_get_status, 0, 0, true, VHOST_PROTOCOL_STATUS},
};

static int
handle(struct vhost_user *v, struct vhost_message *m, struct reply *r, struct error *err)
{
    const struct rule *rule = &rules[m->request];
    if ((rule->needs & v->protocol_features) != rule->needs)
        return error_set(err, EPROTO, "request %u was not negotiated", m->request);
    if (rule->size != ANY_SIZE && m->size != rule->size)
        return error_set(err, EPROTO, "request %u of %u bytes, not %u", m->request, m->size,
                         rule->size);
    if (m->nfds > rule->fds)
        return error_set(err, EPROTO, "request %u with %zu descriptors", m->request, m->nfds);
    return rule->handle(v, m, r, err);
}

// 0, or -errno with err filled: the session is over.
static int
answer(struct vhost_user *v, int sock, struct vhost_message *m, struct error *err)
{
    struct reply r = {.size = 0};
    if (m->request >= sizeof(rules) / sizeof(rules[0]) || !rules[m->request].handle)
        return error_set(err, EPROTO, "unknown request %u", m->request);
    bool has_reply = rules[m->request].has_reply;
    int rc = handle(v, m, &r, err);
    if (has_reply)
        return rc < 0 ? rc : vhost_reply(sock, m->request, r.payload, r.size, err);
    if (!m->need_reply || !(v->protocol_features & VHOST_PROTOCOL_REPLY_ACK))
        return rc;
    if (rc < 0)
        log_warn("link vhost-user: refused: %s", err->text);
    put_u64(&r, rc < 0);
    return vhost_reply(sock, m->request, r.payload, r.size, err);
}

void
vhost_user_init(struct vhost_user *v)
{
    memset(v, 0, sizeof(*v));
    for (int i = 0; i < VHOST_RINGS; i++) {
        struct vhost_ring *ring = &v->rings[i];
        ring->kick_fd = ring->call_fd = ring->err_fd = -1;
        ring->queue.memory = &v->memory;
    }
}

void
vhost_user_fini(struct vhost_user *v)
{
    for (int i = 0; i < VHOST_RINGS; i++) {
        close_fd(&v->rings[i].kick_fd);
        close_fd(&v->rings[i].call_fd);
        close_fd(&v->rings[i].err_fd);
    }
    guest_memory_unmap(&v->memory);
    vhost_inbox_close(&v->inbox);
}

int
vhost_user_read(struct vhost_user *v, int sock, struct error *err)
{
    for (int i = 0; i < MESSAGES_PER_READ; i++) {
        struct vhost_message m;
        int rc = vhost_receive(sock, &v->inbox, &m, err);
        if (rc <= 0)
            return rc;
        rc = answer(v, sock, &m, err);
        vhost_message_close(&m);
        if (rc < 0)
            return rc;
    }
    return 0;
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
