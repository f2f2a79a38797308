// SPDX-License-Identifier: BSD-3-Clause
// The wrapped allocators. Mutable globals on purpose: malloc has no context argument.

#include "guard.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

static bool inside;
static unsigned long count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

bool
guard_set(bool to)
{
    bool was = inside;

    inside = to;
    return was;
}

unsigned long
guard_count(void)
{
    return count;
}

void *
__wrap_malloc(size_t size)
{
    count += inside;
    return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
    count += inside;
    return __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
    count += inside;
    return __real_realloc(p, size);
}

void *
__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
    count += inside;
    return __real_mmap(addr, len, prot, flags, fd, offset);
}
