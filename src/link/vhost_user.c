// SPDX-License-Identifier: BSD-3-Clause
// The requests of the vhost-user protocol behind a table of what each may carry; those of a ring
// are in vhost_user_ring.c. A request that cannot be fulfilled is answered with a failure where the
// front-end asked for an answer (REPLY_ACK), and ends the session where it did not. An unfinished
// set-up is no error: a ring runs as soon as memory, size, addresses and a kick are there.
#include "link/vhost_user_impl.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

#define MESSAGES_PER_READ 32

#define FEATURES                                                                                   \
    (VIRTIO_NET_CSUM | VIRTIO_NET_GUEST_CSUM | VIRTIO_NET_MTU | VIRTIO_NET_GUEST_TSO4 |            \
     VIRTIO_NET_HOST_TSO4 | VIRTIO_NET_GUEST_TSO6 | VIRTIO_NET_HOST_TSO6 | VIRTIO_NET_MRG_RXBUF |  \
     VHOST_LOG_ALL | VIRTIO_ANY_LAYOUT | VIRTIO_INDIRECT_DESC | VIRTIO_EVENT_IDX |                 \
     VHOST_PROTOCOL_FEATURES | VIRTIO_VERSION_1 | VIRTIO_RING_PACKED)

#define PROTOCOL_FEATURES                                                                          \
    (VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_RARP | VHOST_PROTOCOL_REPLY_ACK |                   \
     VHOST_PROTOCOL_MTU | VHOST_PROTOCOL_RESET_DEVICE | VHOST_PROTOCOL_STATUS)

static void
reset(struct vhost_user *v)
{
    for (int i = 0; i < VHOST_RINGS; i++)
        vhost_ring_reset(v, &v->rings[i]);
    v->status = 0;
}

static int
on_get_features(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                struct error *err)
{
    vhost_put_u64(r, FEATURES);
    return 0;
}

static int
on_set_features(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                struct error *err)
{
    uint64_t features = vhost_get_u64(m, 0);
    if (features & ~FEATURES)
        return error_set(err, EINVAL, "features 0x%llx were not offered",
                         (unsigned long long)(features & ~FEATURES));
    v->features = features;
    v->memory.logging = features & VHOST_LOG_ALL;
    for (int i = 0; i < VHOST_RINGS; i++) {
        v->rings[i].queue.event_idx = features & VIRTIO_EVENT_IDX;
        v->rings[i].queue.indirect = features & VIRTIO_INDIRECT_DESC;
        v->rings[i].queue.packed = features & VIRTIO_RING_PACKED;
        if (!(features & VHOST_PROTOCOL_FEATURES))
            v->rings[i].enabled = true;
    }
    log_debug("link vhost-user: features 0x%llx", (unsigned long long)features);
    return 0;
}

static int
on_get_protocol_features(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                         struct error *err)
{
    vhost_put_u64(r, PROTOCOL_FEATURES);
    return 0;
}

static int
on_set_protocol_features(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                         struct error *err)
{
    uint64_t features = vhost_get_u64(m, 0);
    if (features & ~PROTOCOL_FEATURES)
        return error_set(err, EINVAL, "protocol features 0x%llx were not offered",
                         (unsigned long long)(features & ~PROTOCOL_FEATURES));
    v->protocol_features = features;
    return 0;
}

static int
on_nothing(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r, struct error *err)
{
    return 0;
}

static int
on_reset_owner(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
               struct error *err)
{
    for (int i = 0; i < VHOST_RINGS; i++)
        v->rings[i].enabled = false;
    return 0;
}

static int
on_reset_device(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                struct error *err)
{
    reset(v);
    return 0;
}

static int
on_set_mem_table(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                 struct error *err)
{
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
    uint32_t count = m->size >= 8 ? vhost_get_u32(m, 0) : 0;
    if (count == 0 || count > GUEST_MEMORY_REGIONS_MAX || m->size != 8 + count * 32 ||
        m->nfds != count)
        return error_set(err, EINVAL, "memory table of %u regions, %zu descriptors, %u bytes",
                         count, m->nfds, m->size);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = 8 + (size_t)i * 32;
        regions[i] = (struct guest_region){.guest_addr = vhost_get_u64(m, at),
                                           .size = vhost_get_u64(m, at + 8),
                                           .user_addr = vhost_get_u64(m, at + 16),
                                           .mmap_offset = vhost_get_u64(m, at + 24)};
    }
    int rc = guest_memory_map(&v->memory, regions, m->fds, count, err);
    if (rc < 0)
        return rc;
    // The pointers of all rings are void, also when one of them cannot be moved.
    for (int i = 0; i < VHOST_RINGS; i++) {
        int moved = vhost_ring_move(v, &v->rings[i], err);
        rc = moved < 0 ? moved : rc;
    }
    return rc;
}

static int
on_set_log_base(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                struct error *err)
{
    if (m->nfds != 1)
        return error_set(err, EINVAL, "log without a descriptor");
    return guest_memory_map_log(&v->memory, m->fds[0], vhost_get_u64(m, 0), vhost_get_u64(m, 8),
                                err);
}

static int
on_get_queue_num(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                 struct error *err)
{
    vhost_put_u64(r, 1);
    return 0;
}

static int
on_net_set_mtu(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
               struct error *err)
{
    uint64_t mtu = vhost_get_u64(m, 0);
    if (mtu < 68 || mtu > UINT16_MAX)
        return error_set(err, EINVAL, "MTU %llu", (unsigned long long)mtu);
    v->mtu = (uint16_t)mtu;
    return 0;
}

static int
on_set_status(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
              struct error *err)
{
    uint64_t status = vhost_get_u64(m, 0);
    if (status > UINT8_MAX)
        return error_set(err, EINVAL, "status 0x%llx", (unsigned long long)status);
    if (status == 0)
        reset(v);
    v->status = (uint8_t)status;
    return 0;
}

static int
on_get_status(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
              struct error *err)
{
    vhost_put_u64(r, v->status);
    return 0;
}

#define ANY_SIZE UINT32_MAX

struct rule {
    int (*handle)(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
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
    [VHOST_SET_VRING_NUM] = {vhost_ring_on_num, 8, 0, false, 0},
    [VHOST_SET_VRING_ADDR] = {vhost_ring_on_addr, 40, 0, false, 0},
    [VHOST_SET_VRING_BASE] = {vhost_ring_on_base, 8, 0, false, 0},
    [VHOST_GET_VRING_BASE] = {vhost_ring_on_get_base, 8, 0, true, 0},
    [VHOST_SET_VRING_KICK] = {vhost_ring_on_kick, 8, 1, false, 0},
    [VHOST_SET_VRING_CALL] = {vhost_ring_on_call, 8, 1, false, 0},
    [VHOST_SET_VRING_ERR] = {vhost_ring_on_err, 8, 1, false, 0},
    [VHOST_GET_PROTOCOL_FEATURES] = {on_get_protocol_features, 0, 0, true, 0},
    [VHOST_SET_PROTOCOL_FEATURES] = {on_set_protocol_features, 8, 0, false, 0},
    [VHOST_GET_QUEUE_NUM] = {on_get_queue_num, 0, 0, true, 0},
    [VHOST_SET_VRING_ENABLE] = {vhost_ring_on_enable, 8, 0, false, 0},
    // Nobody but us sees the guest's frames: there is no switch to tell where it is now.
    [VHOST_SEND_RARP] = {on_nothing, 8, 0, false, VHOST_PROTOCOL_RARP},
    [VHOST_NET_SET_MTU] = {on_net_set_mtu, 8, 0, false, VHOST_PROTOCOL_MTU},
    [VHOST_RESET_DEVICE] = {on_reset_device, 0, 0, false, VHOST_PROTOCOL_RESET_DEVICE},
    [VHOST_SET_STATUS] = {on_set_status, 8, 0, false, VHOST_PROTOCOL_STATUS},
    [VHOST_GET_STATUS] = {on_get_status, 0, 0, true, VHOST_PROTOCOL_STATUS},
};

static int
handle(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r, struct error *err)
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
    struct vhost_reply r = {.size = 0};
    if (m->request >= sizeof(rules) / sizeof(rules[0]) || !rules[m->request].handle)
        return error_set(err, EPROTO, "unknown request %u", m->request);
    bool has_reply = rules[m->request].has_reply;
    int rc = handle(v, m, &r, err);
    if (has_reply)
        return rc < 0 ? rc : vhost_reply(sock, m->request, r.payload, r.size, err);
    if (!m->need_reply || !(v->protocol_features & VHOST_PROTOCOL_REPLY_ACK))
        return rc;
    if (rc < 0)
        log_debug("link vhost-user: refused: %s", err->text);
    vhost_put_u64(&r, rc < 0);
    return vhost_reply(sock, m->request, r.payload, r.size, err);
}

void
vhost_user_init(struct vhost_user *v)
{
    memset(v, 0, sizeof(*v));
    for (int i = 0; i < VHOST_RINGS; i++)
        vhost_ring_init(&v->rings[i], &v->memory);
}

void
vhost_user_fini(struct vhost_user *v)
{
    for (int i = 0; i < VHOST_RINGS; i++)
        vhost_ring_fini(&v->rings[i]);
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
