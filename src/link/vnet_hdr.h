// SPDX-License-Identifier: BSD-3-Clause
// virtio_net_hdr (virtio 1.2, 5.1.6) in the host's byte order, as tap and AF_PACKET speak it: bytes
// to and from the offload fields of struct frame. Pure.
#pragma once

#include "base/frame.h"

#include <stdbool.h>
#include <stdint.h>

#define VNET_HDR_BYTES    10 // AF_PACKET
#define VNET_HDR_V1_BYTES 12 // tap: num_buffers follows, zero and ignored

// Fills csum, gso, gso_size (and for PARTIAL the offsets) of a frame whose len is set. False for
// what cannot be: a checksum field that is not within the frame behind its Ethernet header, a GSO
// type that was not offered, no segment size.
bool vnet_hdr_parse(const uint8_t *hdr, struct frame *frame);
// Writes len (VNET_HDR_BYTES or VNET_HDR_V1_BYTES) bytes.
void vnet_hdr_emit(uint8_t *hdr, size_t len, const struct frame *frame);
