// SPDX-License-Identifier: BSD-3-Clause
// Guest memory: regions are checked before anything is mapped, addresses are compared before they
// are added. That a file shrinks later is guest_memory_guard's. Used by virtqueue and vhost_user.
#include "link/guest_memory.h"

#include "link/guest_memory_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_PAGE 4096 // VHOST_LOG_PAGE

static bool
wraps(uint64_t start, uint64_t size)
{
    return size > UINT64_MAX - start;
}

static bool
overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b ? b - a < a_size : a - b < b_size;
}

static void
unmap(struct guest_mapping *mapping)
{
    if (!mapping->start)
        return;
    guard_remove(mapping->guard);
    munmap(mapping->start, mapping->len);
    *mapping = (struct guest_mapping){.guard = -1};
}

// Maps [offset, offset + size) of the file. Whole blocks, since a hugetlbfs file takes no less.
static int
map(struct guest_mapping *out, int fd, uint64_t offset, uint64_t size, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, errno, "memory");
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "memory: not a file or memfd (mode %o)", st.st_mode);
    if (st.st_size < 0 || offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
        return error_set(err, EINVAL,
                         "memory: %" PRIu64 " bytes at %" PRIu64 " of a file of %lld bytes", size,
                         offset, (long long)st.st_size);
    uint64_t block = (uint64_t)sysconf(_SC_PAGESIZE);
    if ((uint64_t)st.st_blksize > block && (st.st_blksize & (st.st_blksize - 1)) == 0)
        block = (uint64_t)st.st_blksize;
    uint64_t skip = offset & (block - 1);
    if (size > SIZE_MAX / 2) // rounded up below
        return error_set(err, EINVAL, "memory: %" PRIu64 " bytes", size);
    size_t len = (size_t)((skip + size + block - 1) & ~(block - 1));
    void *start = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(offset - skip));
    if (start == MAP_FAILED)
        return error_set(err, errno, "memory: cannot map %zu bytes", len);
    int guard = guard_add(start, len);
    if (guard < 0) {
        munmap(start, len);
        return error_set(err, EMFILE, "memory: too many mappings");
    }
    *out = (struct guest_mapping){
        .start = start, .len = len, .data = (uint8_t *)start + skip, .guard = guard};
    return 0;
}

static int
check_region(const struct guest_region *regions, size_t i, struct error *err)
{
    const struct guest_region *r = &regions[i];
    if (r->size == 0)
        return error_set(err, EINVAL, "memory region %zu: no size", i);
    if (wraps(r->guest_addr, r->size) || wraps(r->user_addr, r->size) ||
        wraps(r->mmap_offset, r->size) || r->mmap_offset > INT64_MAX)
        return error_set(err, EINVAL, "memory region %zu: wraps", i);
    for (size_t j = 0; j < i; j++) {
        const struct guest_region *o = &regions[j];
        if (overlap(r->guest_addr, r->size, o->guest_addr, o->size) ||
            overlap(r->user_addr, r->size, o->user_addr, o->size))
            return error_set(err, EINVAL, "memory regions %zu and %zu overlap", j, i);
    }
    return 0;
}

static void
unmap_regions(struct guest_memory *m)
{
    for (size_t i = 0; i < m->count; i++)
        unmap(&m->regions[i].mapping);
    m->count = 0;
}

int
guest_memory_map(struct guest_memory *m, const struct guest_region *regions, const int *fds,
                 size_t count, struct error *err)
{
    struct guest_memory fresh = {.count = 0};
    if (count == 0 || count > GUEST_MEMORY_REGIONS_MAX)
        return error_set(err, EINVAL, "memory: %zu regions (accepted: 1 to %d)", count,
                         GUEST_MEMORY_REGIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        int rc = check_region(regions, i, err);
        if (rc == 0) {
            fresh.regions[i] = regions[i];
            rc = map(&fresh.regions[i].mapping, fds[i], regions[i].mmap_offset, regions[i].size,
                     err);
        }
        if (rc < 0) {
            unmap_regions(&fresh);
            return rc;
        }
        fresh.count++;
    }
    unmap_regions(m);
    for (size_t i = 0; i < count; i++)
        m->regions[i] = fresh.regions[i];
    m->count = count;
    return 0;
}

int
guest_memory_map_log(struct guest_memory *m, int fd, uint64_t size, uint64_t offset,
                     struct error *err)
{
    struct guest_mapping fresh;
    if (size == 0 || offset > INT64_MAX)
        return error_set(err, EINVAL, "log: %" PRIu64 " bytes at %" PRIu64, size, offset);
    int rc = map(&fresh, fd, offset, size, err);
    if (rc < 0)
        return rc;
    unmap(&m->log);
    m->log = fresh;
    m->log_bytes = size;
    return 0;
}

void
guest_memory_unmap(struct guest_memory *m)
{
    unmap_regions(m);
    unmap(&m->log);
    m->log_bytes = 0;
    m->logging = false;
}

bool
guest_memory_is_lost(const struct guest_memory *m)
{
    bool lost = m->log.start && guard_is_lost(m->log.guard);
    for (size_t i = 0; i < m->count; i++)
        lost = lost || guard_is_lost(m->regions[i].mapping.guard);
    return lost;
}

int
guest_memory_slice(const struct guest_memory *m, uint64_t addr, uint64_t len, struct iovec *out,
                   int room)
{
    int count = 0;
    while (len > 0) {
        const struct guest_region *r = m->regions, *end = m->regions + m->count;
        while (r < end && (addr < r->guest_addr || addr - r->guest_addr >= r->size))
            r++;
        if (r == end || count == room)
            return -1;
        uint64_t at = addr - r->guest_addr;
        uint64_t n = len < r->size - at ? len : r->size - at;
        out[count++] = (struct iovec){r->mapping.data + at, (size_t)n};
        len -= n;
        addr += n; // no region wraps
    }
    return count;
}

void *
guest_memory_at(const struct guest_memory *m, uint64_t guest_addr, uint64_t len)
{
    struct iovec piece;
    return guest_memory_slice(m, guest_addr, len, &piece, 1) == 1 ? piece.iov_base : NULL;
}

void *
guest_memory_at_user(const struct guest_memory *m, uint64_t user_addr, uint64_t len)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct guest_region *r = &m->regions[i];
        if (user_addr < r->user_addr || user_addr - r->user_addr >= r->size)
            continue;
        uint64_t at = user_addr - r->user_addr;
        return len <= r->size - at ? r->mapping.data + at : NULL;
    }
    return NULL;
}

void
guest_memory_dirty_addr(struct guest_memory *m, uint64_t addr, uint64_t len)
{
    if (!m->logging || !m->log.start || len == 0 || wraps(addr, len))
        return;
    uint64_t last = (addr + (len - 1)) / LOG_PAGE;
    for (uint64_t page = addr / LOG_PAGE; page <= last && page / 8 < m->log_bytes; page++) {
        // The front-end takes bits away while we add some.
        __atomic_fetch_or(m->log.data + page / 8, (uint8_t)(1u << (page % 8)), __ATOMIC_SEQ_CST);
    }
}

void
guest_memory_dirty(struct guest_memory *m, const void *at, size_t len)
{
    if (!m->logging)
        return;
    uintptr_t p = (uintptr_t)at;
    for (size_t i = 0; i < m->count; i++) {
        const struct guest_region *r = &m->regions[i];
        uintptr_t data = (uintptr_t)r->mapping.data;
        if (p >= data && p - data < r->size) {
            guest_memory_dirty_addr(m, r->guest_addr + (p - data), len);
            return;
        }
    }
}
