// SPDX-License-Identifier: BSD-3-Clause
// What the proofs share: values that may be any, buffers of any length, and what Eva does not know
// of the compiler. A driver includes the source files under proof, so that it sees their static
// functions, and is never compiled to be run.
#pragma once

#include "__fc_builtin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Somebody else may write at any time: each load gives any value, but the address must be valid.
#define __atomic_load_n(p, order)        (*(volatile __typeof__(*(p)) *)(p))
#define __atomic_store_n(p, v, order)    (*(p) = (v))
#define __atomic_fetch_or(p, v, order)   (*(p) = (__typeof__(*(p)))(*(volatile uint8_t *)(p) | (v)))
#define __atomic_thread_fence(order)     ((void)0)
#define __builtin_add_overflow(a, b, to) (*(to) = (a) + (b), *(to) < (a))
#define __builtin_bswap16(v)             ((uint16_t)((v) >> 8 | (v) << 8))

// What its C library does not have.
#define be16toh(v)      __builtin_bswap16(v)
#define le16toh(v)      ((uint16_t)(v))
#define le32toh(v)      ((uint32_t)(v))
#define le64toh(v)      ((uint64_t)(v))
#define htole16(v)      ((uint16_t)(v))
#define htole32(v)      ((uint32_t)(v))
#define MAP_NORESERVE   0x4000
#define MADV_DONTNEED   4
#define MADV_NOHUGEPAGE 15

static inline int
madvise(void *start, size_t len, int advice)
{
    (void)start;
    (void)len;
    (void)advice;
    return Frama_C_interval(-1, 0);
}

static inline bool
any_bool(void)
{
    return Frama_C_interval(0, 1) != 0;
}

static inline uint8_t
any_u8(void)
{
    return (uint8_t)Frama_C_unsigned_int_interval(0, UINT8_MAX);
}

static inline uint16_t
any_u16(void)
{
    return (uint16_t)Frama_C_unsigned_int_interval(0, UINT16_MAX);
}

static inline uint32_t
any_u32(void)
{
    return Frama_C_unsigned_int_interval(0, UINT32_MAX);
}

static inline uint64_t
any_u64(void)
{
    return Frama_C_unsigned_long_interval(0, UINT64_MAX);
}

static inline size_t
any_size(size_t from, size_t to)
{
    return Frama_C_unsigned_long_interval(from, to);
}

// Any content for a whole object.
#define ANY(object) Frama_C_make_unknown((char *)&(object), sizeof(object))
