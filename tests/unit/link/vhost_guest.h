// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user front-end and its guest's driver, for tests: memory in a memfd, two split rings, and
// the requests that set them up, well or badly. One thread: requests are sent, then the link's loop
// is turned.
#pragma once

#include "link/vhost_user_wire.h"

#include "frames.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"

#define VG_SIZE     256 // entries of a ring
#define VG_BYTES    (4u << 20)
#define VG_GUEST    0x100000000ull // guest address of the memory
#define VG_USER     0x7f1200000000ull
#define VG_RING(i)  ((uint64_t)(i)*0x10000)
#define VG_AVAIL    0x4000
#define VG_USED     0x8000
#define VG_DATA     0x40000ull // buffers from here on
#define VG_NEXT     1
#define VG_WRITE    2
#define VG_INDIRECT 4
#define VG_HDR      12
#define VG_FEATURES                                                                                \
    (VIRTIO_VERSION_1 | VHOST_PROTOCOL_FEATURES | VIRTIO_NET_MRG_RXBUF | VIRTIO_NET_CSUM |         \
     VIRTIO_NET_GUEST_CSUM | VIRTIO_NET_GUEST_TSO4 | VIRTIO_NET_HOST_TSO4 |                        \
     VIRTIO_NET_GUEST_TSO6 | VIRTIO_NET_HOST_TSO6 | VIRTIO_INDIRECT_DESC)
#define TO_GUEST   0
#define FROM_GUEST 1

struct vhost_guest {
    struct loop *loop;
    struct receiver *r;
    int sock, mem_fd;
    int kick[2], call[2], err[2];
    uint8_t *mem;
    uint32_t entries;  // of a ring
    uint16_t avail[2]; // the driver's indexes
    uint32_t base[2];  // of a packed ring, where it is to go on
    bool packed;
};

static inline void
vg_turns(struct vhost_guest *g)
{
    turns(g->loop, 4);
}

static inline ssize_t
vg_send(struct vhost_guest *g, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
        const int *fds, size_t nfds)
{
    uint8_t bytes[12 + 512];
    uint32_t header[3] = {request, 1 | flags, size};
    assert_true(size <= 512);
    memcpy(bytes, header, 12);
    if (size)
        memcpy(bytes + 12, payload, size);
    return fdpass_send(g->sock, bytes, 12 + size, fds, nfds);
}

static inline void
vg_u64(struct vhost_guest *g, uint32_t request, uint64_t value)
{
    assert_true(vg_send(g, request, 0, &value, 8, NULL, 0) > 0);
}

static inline void
vg_state(struct vhost_guest *g, uint32_t request, uint32_t index, uint32_t num)
{
    uint32_t state[2] = {index, num};
    assert_true(vg_send(g, request, 0, state, 8, NULL, 0) > 0);
}

static inline void
vg_fd(struct vhost_guest *g, uint32_t request, uint64_t value, int fd)
{
    assert_true(vg_send(g, request, 0, &value, 8, &fd, 1) > 0);
}

// Turns until a reply of that request is there; gives its payload's first 8 bytes.
static inline uint64_t
vg_reply(struct vhost_guest *g, uint32_t request)
{
    uint8_t bytes[128];
    uint32_t header[3];
    uint64_t value = 0;
    vg_turns(g);
    ssize_t n = recv(g->sock, bytes, 12, MSG_DONTWAIT);
    assert_int_equal(n, 12);
    memcpy(header, bytes, 12);
    assert_int_equal(header[0], request);
    assert_int_equal(header[1], 1 | 4);
    assert_true(header[2] <= 64);
    if (header[2])
        assert_int_equal(recv(g->sock, bytes, header[2], MSG_DONTWAIT), header[2]);
    memcpy(&value, bytes, header[2] < 8 ? header[2] : 8);
    return header[2] ? value : 0;
}

static inline uint64_t
vg_ask(struct vhost_guest *g, uint32_t request)
{
    assert_true(vg_send(g, request, 0, NULL, 0, NULL, 0) > 0);
    return vg_reply(g, request);
}

struct vg_table {
    uint32_t count, padding;
    struct {
        uint64_t guest, size, user, offset;
    } regions[9];
};

static inline void
vg_mem_table(struct vhost_guest *g)
{
    struct vg_table t = {.count = 1, .regions = {{VG_GUEST, VG_BYTES, VG_USER, 0}}};
    assert_true(vg_send(g, VHOST_SET_MEM_TABLE, 0, &t, 40, &g->mem_fd, 1) > 0);
}

static inline void
vg_addr(struct vhost_guest *g, uint32_t i, uint32_t flags, uint64_t log)
{
    struct {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
    } a = {i,
           flags,
           VG_USER + VG_RING(i),
           VG_USER + VG_RING(i) + VG_USED,
           VG_USER + VG_RING(i) + VG_AVAIL,
           log};
    assert_true(vg_send(g, VHOST_SET_VRING_ADDR, 0, &a, 40, NULL, 0) > 0);
}

static inline void
vg_ring(struct vhost_guest *g, uint32_t i)
{
    vg_state(g, VHOST_SET_VRING_NUM, i, g->entries);
    vg_state(g, VHOST_SET_VRING_BASE, i, g->packed ? g->base[i] : g->avail[i]);
    vg_addr(g, i, 0, 0);
    vg_fd(g, VHOST_SET_VRING_KICK, i, g->kick[i]);
    vg_fd(g, VHOST_SET_VRING_CALL, i, g->call[i]);
    vg_fd(g, VHOST_SET_VRING_ERR, i, g->err[i]);
    vg_state(g, VHOST_SET_VRING_ENABLE, i, 1);
}

static inline uint64_t
vg_events(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, 8) == 8 ? n : 0;
}

// A link and its front-end, connected, nothing negotiated.
static inline void
vg_connect(struct vhost_guest *g)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    g->sock = fds[1];
    g->r->down = 0;
    g->r->link = link_new_vhost_user(g->loop, fds[0], &receiver_events, g->r);
    assert_non_null(g->r->link);
}

static inline struct vhost_guest
vg_new(void)
{
    struct vhost_guest g = {
        .loop = loop_new(), .r = receiver_new(), .sock = -1, .entries = VG_SIZE};
    g.mem_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(g.mem_fd, VG_BYTES), 0);
    g.mem = mmap(NULL, VG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, g.mem_fd, 0);
    assert_true(g.mem != MAP_FAILED);
    for (int i = 0; i < 2; i++) {
        g.kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        g.call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        g.err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    return g;
}

// All negotiated, both rings running.
static inline void
vg_set_up(struct vhost_guest *g, uint64_t features)
{
    vg_send(g, VHOST_SET_OWNER, 0, NULL, 0, NULL, 0);
    vg_u64(g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_MTU);
    vg_u64(g, VHOST_SET_FEATURES, features);
    vg_mem_table(g);
    vg_ring(g, TO_GUEST);
    vg_ring(g, FROM_GUEST);
    vg_turns(g);
    assert_int_equal(g->r->down, 0);
    for (int i = 0; i < 2; i++)
        vg_events(g->call[i]);
}

static inline struct vhost_guest
vg_start(uint64_t features)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    vg_set_up(&g, features);
    return g;
}

static inline void
vg_disconnect(struct vhost_guest *g)
{
    if (g->r->link)
        link_free(g->r->link);
    g->r->link = NULL;
    if (g->sock >= 0)
        close(g->sock);
    g->sock = -1;
    turns(g->loop, 1);
}

static inline void
vg_free(struct vhost_guest *g)
{
    vg_disconnect(g);
    for (int i = 0; i < 2; i++) {
        close(g->kick[i]);
        close(g->call[i]);
        close(g->err[i]);
    }
    munmap(g->mem, VG_BYTES);
    close(g->mem_fd);
    loop_free(g->loop);
    free(g->r);
}

// --- the driver ----------------------------------------------------------------------------------

struct vg_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

static inline void
vg_desc_at(struct vhost_guest *g, uint64_t at, struct vg_desc d)
{
    memcpy(g->mem + at, &d, 16);
}

static inline void
vg_desc(struct vhost_guest *g, int ring, uint16_t i, struct vg_desc d)
{
    vg_desc_at(g, VG_RING(ring) + (uint64_t)i * 16, d);
}

static inline _Atomic uint16_t *
vg_u16(struct vhost_guest *g, uint64_t at)
{
    return (_Atomic uint16_t *)(void *)(g->mem + at);
}

// Makes chain `head` available, without a kick.
static inline void
vg_post(struct vhost_guest *g, int ring, uint16_t head)
{
    uint64_t avail = VG_RING(ring) + VG_AVAIL;
    atomic_store(vg_u16(g, avail + 4 + 2 * (g->avail[ring] % VG_SIZE)), head);
    atomic_store(vg_u16(g, avail + 2), ++g->avail[ring]);
}

static inline void
vg_kick(struct vhost_guest *g, int ring)
{
    uint64_t one = 1;
    assert_int_equal(write(g->kick[ring], &one, 8), 8);
    vg_turns(g);
}

static inline uint16_t
vg_used_idx(struct vhost_guest *g, int ring)
{
    return atomic_load(vg_u16(g, VG_RING(ring) + VG_USED + 2));
}

// The length of the n-th used element of the ring.
static inline uint32_t
vg_used_len(struct vhost_guest *g, int ring, uint16_t n, uint32_t *head)
{
    uint32_t e[2];
    memcpy(e, g->mem + VG_RING(ring) + VG_USED + 4 + 8 * (n % VG_SIZE), 8);
    *head = e[0];
    return e[1];
}

// A frame of len bytes (filled from seed) at VG_DATA + slot * 128 KiB behind a header of zeros.
static inline uint64_t
vg_frame(struct vhost_guest *g, uint32_t slot, size_t len, unsigned seed)
{
    static struct test_frame f;
    uint64_t at = VG_DATA + (uint64_t)slot * 0x20000;
    frame_fill(&f, len, seed);
    memset(g->mem + at, 0, VG_HDR);
    memcpy(g->mem + at + VG_HDR, f.bytes, len);
    return at;
}

// Posts one frame in one descriptor and kicks.
static inline void
vg_send_frame(struct vhost_guest *g, size_t len, unsigned seed)
{
    uint64_t at = vg_frame(g, 0, len, seed);
    vg_desc(g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + at, (uint32_t)(VG_HDR + len), 0, 0});
    vg_post(g, FROM_GUEST, 7);
    vg_kick(g, FROM_GUEST);
}

// Posts `count` buffers of len bytes for the host to fill: descriptors 0 to count - 1.
static inline void
vg_buffers(struct vhost_guest *g, uint16_t count, uint32_t len)
{
    for (uint16_t i = 0; i < count; i++) {
        uint64_t at = VG_DATA + 0x200000 + (uint64_t)i * len;
        vg_desc(g, TO_GUEST, i, (struct vg_desc){VG_GUEST + at, len, VG_WRITE, 0});
        vg_post(g, TO_GUEST, i);
    }
}

static inline void
expect_last(struct vhost_guest *g, size_t len, unsigned seed)
{
    static struct test_frame f;
    frame_fill(&f, len, seed);
    assert_true(g->r->count > 0);
    assert_int_equal(g->r->lens[g->r->count - 1], len);
    assert_memory_equal(g->r->bytes + g->r->used - len, f.bytes, len);
}
