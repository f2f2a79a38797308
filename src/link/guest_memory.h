// SPDX-License-Identifier: BSD-3-Clause
// The memory of a vhost-user guest, and the log of what was written to it. The only place where an
// address that a guest or its hypervisor names becomes a pointer. The bytes behind the pointer may
// change at any time: what is checked must be a copy.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define GUEST_MEMORY_REGIONS_MAX 8

// A part of a file that another process shares with us.
struct guest_mapping {
    uint8_t *start; // page-aligned; NULL: none
    size_t len;
    uint8_t *data; // of what was asked for, within the mapping
    int guard;     // see guest_memory_guard.h
};

struct guest_region {
    uint64_t guest_addr; // as descriptors name it
    uint64_t size;
    uint64_t user_addr; // as the front-end names it, for the rings
    uint64_t mmap_offset;
    struct guest_mapping mapping; // filled by guest_memory_map
};

struct guest_memory {
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
    size_t count; // 0: no memory was told
    struct guest_mapping log;
    uint64_t log_bytes; // a bit for each page of LOG_PAGE bytes, from guest address 0 on
    bool logging;       // writes are to be logged
};

// Maps the regions of the descriptors, in place of those before. The fds stay the caller's. 0, or
// -errno with err filled, and all is as it was: not 1 to 8 regions, one of no size, one that wraps,
// overlaps another or is not all in its file, a descriptor that is not a file or memfd.
int guest_memory_map(struct guest_memory *m, const struct guest_region *regions, const int *fds,
                     size_t count, struct error *err);
// Maps the log in place of the one before. 0 or -errno with err filled.
int guest_memory_map_log(struct guest_memory *m, int fd, uint64_t size, uint64_t offset,
                         struct error *err);
void guest_memory_unmap(struct guest_memory *m); // regions and log; harmless when there are none

// A file was shortened: what is read is zero, what is written is lost, and the link is to end.
bool guest_memory_is_lost(const struct guest_memory *m);

// The pieces of [addr, addr + len) of the guest's memory, one for each region that it touches: how
// many were put to out, or -1: not all of it is memory, or it takes more than `room`.
int guest_memory_slice(const struct guest_memory *m, uint64_t addr, uint64_t len, struct iovec *out,
                       int room);
// Those len bytes in one piece, or NULL.
void *guest_memory_at(const struct guest_memory *m, uint64_t guest_addr, uint64_t len);
void *guest_memory_at_user(const struct guest_memory *m, uint64_t user_addr, uint64_t len);

// To be called after writing, while logging: by our pointer, or by the address to be logged.
void guest_memory_dirty(struct guest_memory *m, const void *at, size_t len);
void guest_memory_dirty_addr(struct guest_memory *m, uint64_t addr, uint64_t len);
