// SPDX-License-Identifier: BSD-3-Clause
// The Internet checksum. Sums are taken over native words and turned to network order at the end of
// a piece: one's complement addition does not care which byte comes first (RFC 1071 section 2 (B)).
#include "wire/checksum.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

// Two words at once, and two of those per turn, so that no carry holds up the next addition.
typedef uint64_t vec __attribute__((vector_size(16)));

static uint64_t
load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

// a + b with the carry put back in.
static uint64_t
add_carry(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? sum + 1 : sum;
}

// Each 64-bit lane of a vector is added as two 32-bit halves, so that no carry gets lost.
static uint64_t
native_sum(const uint8_t *p, size_t len)
{
    vec a, b, low = {0}, high = {0};
    uint64_t sum = 0;

    for (; len >= sizeof(a) + sizeof(b); p += sizeof(a) + sizeof(b), len -= sizeof(a) + sizeof(b)) {
        memcpy(&a, p, sizeof(a));
        memcpy(&b, p + sizeof(a), sizeof(b));
        low += a & 0xffffffff;
        high += a >> 32;
        low += b & 0xffffffff;
        high += b >> 32;
    }
    sum += low[0] + low[1] + high[0] + high[1];
    for (; len >= 8; p += 8, len -= 8)
        sum = add_carry(sum, load64(p));
    if (len > 0) {
        uint8_t tail[8] = {0};
        memcpy(tail, p, len);
        sum = add_carry(sum, load64(tail));
    }
    return sum;
}

uint64_t
checksum_add(uint64_t sum, const void *data, size_t len)
{
    return sum + be16toh(checksum_fold(native_sum(data, len)));
}

uint64_t
checksum_add_iov(uint64_t sum, const struct iovec *iov, int iovcnt, size_t skip)
{
    bool odd = false; // the next byte is the low half of a word

    for (int i = 0; i < iovcnt; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t len = iov[i].iov_len - skip;
        uint16_t part = (uint16_t)checksum_add(0, (const uint8_t *)iov[i].iov_base + skip, len);
        sum += odd ? __builtin_bswap16(part) : part;
        odd ^= len & 1;
        skip = 0;
    }
    return sum;
}

uint64_t
checksum_pseudo4(uint32_t src, uint32_t dst, uint8_t protocol, uint16_t len)
{
    return (uint64_t)src + dst + protocol + len;
}

uint64_t
checksum_pseudo6(const struct ipv6_addr *src, const struct ipv6_addr *dst, uint8_t protocol,
                 uint16_t len)
{
    uint64_t sum = checksum_add((uint64_t)protocol + len, src, sizeof(*src));
    return checksum_add(sum, dst, sizeof(*dst));
}

uint16_t
checksum_fold(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff); // of at most 33 bits
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)sum;
}
