// SPDX-License-Identifier: BSD-3-Clause
// The messages of the vhost-user protocol as bytes: numbers, the receiving of one request with its
// descriptors from a non-blocking socket, the reply. All values are in the host's byte order. What
// a request means is vhost_user.c's.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vhost_request {
    VHOST_GET_FEATURES = 1,
    VHOST_SET_FEATURES = 2,
    VHOST_SET_OWNER = 3,
    VHOST_RESET_OWNER = 4,
    VHOST_SET_MEM_TABLE = 5,
    VHOST_SET_LOG_BASE = 6,
    VHOST_SET_LOG_FD = 7,
    VHOST_SET_VRING_NUM = 8,
    VHOST_SET_VRING_ADDR = 9,
    VHOST_SET_VRING_BASE = 10,
    VHOST_GET_VRING_BASE = 11,
    VHOST_SET_VRING_KICK = 12,
    VHOST_SET_VRING_CALL = 13,
    VHOST_SET_VRING_ERR = 14,
    VHOST_GET_PROTOCOL_FEATURES = 15,
    VHOST_SET_PROTOCOL_FEATURES = 16,
    VHOST_GET_QUEUE_NUM = 17,
    VHOST_SET_VRING_ENABLE = 18,
    VHOST_SEND_RARP = 19,
    VHOST_NET_SET_MTU = 20,
    VHOST_RESET_DEVICE = 34,
    VHOST_SET_STATUS = 39,
    VHOST_GET_STATUS = 40,
};

#define BIT64(n) ((uint64_t)1 << (n))

// Feature bits (virtio 1.2, 5.1.3 and 6; vhost-user).
#define VIRTIO_NET_CSUM         BIT64(0)
#define VIRTIO_NET_GUEST_CSUM   BIT64(1)
#define VIRTIO_NET_MTU          BIT64(3)
#define VIRTIO_NET_GUEST_TSO4   BIT64(7)
#define VIRTIO_NET_GUEST_TSO6   BIT64(8)
#define VIRTIO_NET_HOST_TSO4    BIT64(11)
#define VIRTIO_NET_HOST_TSO6    BIT64(12)
#define VIRTIO_NET_MRG_RXBUF    BIT64(15)
#define VHOST_LOG_ALL           BIT64(26)
#define VIRTIO_ANY_LAYOUT       BIT64(27)
#define VIRTIO_INDIRECT_DESC    BIT64(28)
#define VIRTIO_EVENT_IDX        BIT64(29)
#define VHOST_PROTOCOL_FEATURES BIT64(30)
#define VIRTIO_VERSION_1        BIT64(32)
#define VIRTIO_RING_PACKED      BIT64(34)

#define VHOST_PROTOCOL_LOG_SHMFD    BIT64(1)
#define VHOST_PROTOCOL_RARP         BIT64(2)
#define VHOST_PROTOCOL_REPLY_ACK    BIT64(3)
#define VHOST_PROTOCOL_MTU          BIT64(4)
#define VHOST_PROTOCOL_RESET_DEVICE BIT64(13)
#define VHOST_PROTOCOL_STATUS       BIT64(16)

#define VHOST_PAYLOAD_MAX (8 + 8 * 32) // a memory table of eight regions
#define VHOST_FDS_MAX     8

struct vhost_message {
    uint32_t request;
    bool need_reply;
    uint32_t size; // of the payload
    uint8_t payload[VHOST_PAYLOAD_MAX];
    int fds[VHOST_FDS_MAX]; // the receiver's; -1 where it took one over
    size_t nfds;
};

// What has been read of a message; zeros at first.
struct vhost_inbox {
    uint8_t bytes[12 + VHOST_PAYLOAD_MAX];
    size_t used;
    int fds[VHOST_FDS_MAX];
    size_t nfds;
};

// 1: *out is a message; 0: there is no whole one yet; or -errno with err filled: the socket ended
// or failed, or what came is no message.
int vhost_receive(int sock, struct vhost_inbox *in, struct vhost_message *out, struct error *err);
void vhost_inbox_close(struct vhost_inbox *in);       // closes the descriptors of a message's start
void vhost_message_close(struct vhost_message *m);    // closes the descriptors that nobody took
int vhost_take_fd(struct vhost_message *m, size_t i); // the receiver's from now on; -1: none
// 0 or -errno with err filled; a socket that is full is an error, as replies are few and short.
int vhost_reply(int sock, uint32_t request, const void *payload, uint32_t size, struct error *err);
