// SPDX-License-Identifier: BSD-3-Clause
// The Internet checksum (RFC 1071), over iovecs of any alignment and odd lengths.
#pragma once

#include "base/ipv6_addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Adds len bytes to a running sum and returns it. Sums of pieces may be chained only when every
// piece but the last has even length. Sums are in host arithmetic over big-endian 16-bit words.
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);
// The same over iovecs, skipping the first `skip` bytes; pieces may have odd lengths.
uint64_t checksum_add_iov(uint64_t sum, const struct iovec *iov, int iovcnt, size_t skip);
// IPv4 pseudo-header (RFC 9293 3.1): addresses host order, len: L4 header and payload.
uint64_t checksum_pseudo4(uint32_t src, uint32_t dst, uint8_t protocol, uint16_t len);
// IPv6 pseudo-header (RFC 8200 8.1).
uint64_t checksum_pseudo6(const struct ipv6_addr *src, const struct ipv6_addr *dst,
                          uint8_t protocol, uint16_t len);
// Folds to 16 bits, not complemented. The checksum field's value is ~checksum_fold(sum); a packet
// with a right checksum folds to 0xffff.
uint16_t checksum_fold(uint64_t sum);
