// SPDX-License-Identifier: BSD-3-Clause
// One Ethernet frame between a link and the stack, in either direction, with what virtio_net_hdr
// (virtio 1.2, 5.1.6) would say about it. The bytes belong to whoever made the frame.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum frame_csum {
    FRAME_CSUM_NONE,    // checksums are on the wire and must be verified
    FRAME_CSUM_PARTIAL, // the L4 checksum field holds the pseudo-header sum only
    FRAME_CSUM_VALID,   // somebody trusted verified the L4 checksum already
};

enum frame_gso {
    FRAME_GSO_NONE,
    FRAME_GSO_TCP4, // one TCP/IPv4 super-segment, to be cut into gso_size bytes of payload each
    FRAME_GSO_TCP6,
};

#define FRAME_MAX     65550 // 64 KiB IP packet behind an Ethernet header
#define FRAME_MIN     60    // shorter frames are padded with zeros on the way out
#define FRAME_IOV_MAX 3     // of a frame made by the stack: headers, and up to two runs of payload

#define CACHE_LINE 64 // bytes; a CPU whose lines are longer has multiples of it

struct frame {
    const struct iovec *iov; // the frame from its destination MAC on, without FCS
    int iovcnt;
    size_t len; // sum of the iovecs
    enum frame_csum csum;
    enum frame_gso gso;
    uint16_t gso_size;    // payload bytes per segment; 0 without GSO
    uint16_t l4_offset;   // of the TCP/UDP header; meaningful when the stack sends PARTIAL
    uint16_t csum_offset; // of the checksum field within the L4 header; likewise
    uint16_t header_len;  // Ethernet to end of L4 header; likewise
};
