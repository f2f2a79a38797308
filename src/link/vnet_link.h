// SPDX-License-Identifier: BSD-3-Clause
// What tap and packet share: one system call per frame, a virtio_net_hdr before each, batches in
// one buffer. The two differ in how a frame is read and in what their errors mean.
#pragma once

#include "link/link_impl.h"

#include <sys/types.h>

#define VNET_BATCH_FRAMES 64
#define VNET_BATCH_BYTES  (320 * 1024) // some full GSO frames; small enough for the CPU's cache

struct vnet_link {
    struct link base;
    size_t hdr_bytes; // VNET_HDR_BYTES or VNET_HDR_V1_BYTES
    bool refused;     // link_send gave false: on_writable is owed

    // One header and frame. Bytes read, 0 for one that was consumed but is of no use, or -errno.
    ssize_t (*read_frame)(int fd, void *buf, size_t size);
    // After a failed read or write: is the interface gone for good?
    bool (*is_gone_after_read)(struct vnet_link *l, int errnum);
    bool (*is_gone_after_write)(struct vnet_link *l, int errnum);

    struct frame frames[VNET_BATCH_FRAMES];
    struct iovec frame_iov[VNET_BATCH_FRAMES];
    uint8_t buf[VNET_BATCH_BYTES];
};

bool vnet_link_send(struct link *link, const struct frame *frame);
void vnet_link_flush(struct link *link);                  // nothing is ever queued
void vnet_link_on_event(void *ctx, unsigned loop_events); // for link_init
