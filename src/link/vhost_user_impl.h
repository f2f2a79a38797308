// SPDX-License-Identifier: BSD-3-Clause
// Between vhost_user.c and vhost_user_ring.c only: how a request's handler looks, and the rings'.
#pragma once

#include "link/vhost_user.h"

#include <string.h>

// A request's answer, for those that have one.
struct vhost_reply {
    uint8_t payload[8];
    uint32_t size;
};

static inline uint32_t
vhost_get_u32(const struct vhost_message *m, size_t at)
{
    uint32_t v;
    memcpy(&v, m->payload + at, sizeof(v));
    return v;
}

static inline uint64_t
vhost_get_u64(const struct vhost_message *m, size_t at)
{
    uint64_t v;
    memcpy(&v, m->payload + at, sizeof(v));
    return v;
}

static inline void
vhost_put_u64(struct vhost_reply *r, uint64_t v)
{
    memcpy(r->payload, &v, sizeof(v));
    r->size = sizeof(v);
}

void vhost_ring_init(struct vhost_ring *ring, struct guest_memory *memory);
void vhost_ring_fini(struct vhost_ring *ring); // closes its descriptors
// Stopped, disabled and without addresses; the descriptors to tell things by stay.
void vhost_ring_reset(struct vhost_user *v, struct vhost_ring *ring);
// After the memory was mapped anew: a ring that is not in it any more is stopped, and that is an
// error; one that waited for the memory starts. 0 or -errno with err filled.
int vhost_ring_move(struct vhost_user *v, struct vhost_ring *ring, struct error *err);

// SET_VRING_NUM and so on. m has the size and at most the descriptors that its rule allows. 0 with
// *r filled where the request has a reply, or -errno with err filled.
int vhost_ring_on_num(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                      struct error *err);
int vhost_ring_on_addr(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                       struct error *err);
int vhost_ring_on_base(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                       struct error *err);
int vhost_ring_on_get_base(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                           struct error *err);
int vhost_ring_on_kick(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                       struct error *err);
int vhost_ring_on_call(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                       struct error *err);
int vhost_ring_on_err(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                      struct error *err);
int vhost_ring_on_enable(struct vhost_user *v, struct vhost_message *m, struct vhost_reply *r,
                         struct error *err);
