// SPDX-License-Identifier: BSD-3-Clause
// prove: load64 add_carry native_sum checksum_add checksum_add_iov checksum_pseudo4
// prove: checksum_pseudo6 checksum_fold
// over: runs of every length from 0 to 72 bytes, which end with their memory, any content; two
// over: pieces of 0 to 4 bytes each with 0 to 9 to be skipped; any sum, address and protocol.
// over: A vector is one word here, as Eva knows none
// options: -eva-slevel-function native_sum:100,checksum_add_iov:100
#include "prove.h"

#include "wire/checksum.c"

#define LEN_MAX   72
#define PIECE_MAX 4

static uint8_t bytes[LEN_MAX], first[PIECE_MAX], second[PIECE_MAX];

static void
sum_pieces(size_t len1, size_t len2, size_t skip)
{
    struct iovec iov[2] = {{first + PIECE_MAX - len1, len1}, {second + PIECE_MAX - len2, len2}};
    checksum_add_iov(any_u64(), iov, 2, skip);
}

int
main(void)
{
    struct ipv6_addr src, dst;
    size_t len = any_size(0, LEN_MAX);
    size_t len1 = any_size(0, PIECE_MAX), len2 = any_size(0, PIECE_MAX), skip = any_size(0, 9);

    ANY(bytes);
    ANY(first);
    ANY(second);
    ANY(src);
    ANY(dst);
    switch (Frama_C_interval(0, 3)) {
    case 0:
        //@ split len;
        checksum_add(any_u64(), bytes + LEN_MAX - len, len);
        break;
    case 1:
        //@ split len1;
        //@ split len2;
        //@ split skip;
        sum_pieces(len1, len2, skip);
        break;
    case 2:
        checksum_fold(checksum_pseudo6(&src, &dst, any_u8(), any_u16()));
        break;
    default:
        checksum_fold(checksum_pseudo4(any_u32(), any_u32(), any_u8(), any_u16()));
        break;
    }
    return 0;
}
