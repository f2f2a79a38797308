// SPDX-License-Identifier: BSD-3-Clause
// The tap link: a queue of a tap interface, opened by link/open.h or inherited. Frames come and go
// with a virtio_net_hdr, checksums left to the other side and TCP super-frames included.
#include "link/vnet_hdr.h"
#include "link/vnet_link.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static ssize_t
tap_read(int fd, void *buf, size_t size)
{
    ssize_t n = read(fd, buf, size);
    return n < 0 ? -errno : n;
}

static bool
is_gone_after_read(struct vnet_link *l, int errnum)
{
    // An interface that is merely down has nothing to read; EBADFD and EFAULT mean it was deleted.
    return true;
}

static bool
is_gone_after_write(struct vnet_link *l, int errnum)
{
    // EIO: the interface is down, which is the guest's business and may pass.
    return errnum == EBADFD || errnum == ENODEV || errnum == ENXIO;
}

static const struct link_ops tap_ops = {
    .send = vnet_link_send,
    .flush = vnet_link_flush,
    .free = free,
};

struct link *
link_new_tap(struct loop *loop, int fd, const struct link_events *events, void *ctx)
{
    int hdr_bytes = VNET_HDR_V1_BYTES;
    struct vnet_link *l = calloc(1, sizeof(*l));
    if (!l || ioctl(fd, TUNSETVNETHDRSZ, &hdr_bytes) < 0) {
        free(l);
        close(fd);
        return NULL;
    }
    // What we take. A kernel that refuses gives whole, summed frames and still takes ours.
    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6);
    l->base.ops = &tap_ops;
    l->base.caps =
        (struct link_caps){.mtu_max = 65520, .csum_offload = true, .tso = true, .tso6 = true};
    l->hdr_bytes = VNET_HDR_V1_BYTES;
    l->read_frame = tap_read;
    l->is_gone_after_read = is_gone_after_read;
    l->is_gone_after_write = is_gone_after_write;
    if (!link_init(&l->base, loop, fd, events, ctx, vnet_link_on_event))
        return NULL;
    return &l->base;
}
