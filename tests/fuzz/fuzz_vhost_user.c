// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user front-end that sends what it likes, with descriptors of every kind, and whose guest
// writes what it likes; in between, steps of a proper start, so that the rest gets somewhere.
// Whatever it did, the next front-end is served.
//
// Input: steps, see run_step.
#include "fuzz.h"

#include "link/vhost_guest.h"

#include <fcntl.h>
#include <sys/stat.h>

#define STEPS 120

static struct vhost_guest g;
static int odd[6]; // a folder, a pipe, /dev/zero, a tiny memfd, an eventfd, a socket

static void
set_up(void)
{
    int fds[2];
    g = vg_new();
    odd[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = pipe2(fds, O_CLOEXEC | O_NONBLOCK);
    odd[1] = fds[0];
    odd[2] = open("/dev/zero", O_RDWR | O_CLOEXEC);
    odd[3] = memfd_create("tiny", MFD_CLOEXEC);
    rc += ftruncate(odd[3], 4096);
    odd[4] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    odd[5] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(rc == 0);
}

// Replies are left in the socket, which goes with its front-end.
static void
turn(void)
{
    turns(g.loop, 1);
    g.r->count = g.r->used = 0;
}

static bool
is_up(void)
{
    return g.r->link;
}

static void
send_raw(const void *bytes, size_t len, const int *fds, size_t nfds)
{
    if (len > 0)
        fdpass_send(g.sock, bytes, len, fds, nfds);
    turn();
}

// A message: request, flags, what is said of its size, descriptors; then the payload.
static void
message(struct cursor *c)
{
    uint8_t bytes[12 + 300];
    int fds[10];
    uint8_t request = cursor_u8(c), flags = cursor_u8(c), lies = cursor_u8(c);
    size_t nfds = cursor_u8(c) % 11u;
    uint32_t size = cursor_u16(c) % 300u;
    size = size < c->left ? size : (uint32_t)c->left;
    uint32_t header[3] = {request, flags & 0x80 ? flags : 1u | (flags & 8u), size};
    if (lies & 1)
        header[2] = lies & 2 ? UINT32_MAX : size + lies;
    memcpy(bytes, header, 12);
    cursor_bytes(c, bytes + 12, size);
    for (size_t i = 0; i < nfds; i++) {
        uint8_t which = cursor_u8(c) % 9;
        fds[i] = which < 6 ? odd[which] : which == 6 ? g.mem_fd : g.kick[which - 7];
    }
    send_raw(bytes, 12 + size, fds, nfds);
}

// A memory table made of what nearly is one.
static void
memory_table(struct cursor *c)
{
    struct vg_table t = {.count = cursor_u8(c) % 10u};
    int fds[9];
    static const uint64_t sizes[] = {VG_BYTES, 0x1000, 0, UINT64_MAX, VG_BYTES + 1, 0x40000};
    for (uint32_t i = 0; i < t.count && i < 9; i++) {
        uint8_t b = cursor_u8(c);
        t.regions[i].guest = VG_GUEST + (uint64_t)(b & 3) * VG_BYTES;
        t.regions[i].size = sizes[(b >> 2 & 7) % 6];
        t.regions[i].user = VG_USER + (uint64_t)(b >> 5 & 1) * VG_BYTES;
        t.regions[i].offset = b >> 6 == 3 ? UINT64_MAX - 4095 : (uint64_t)(b >> 6) * 0x1000;
        fds[i] = b == 0xff ? odd[cursor_u8(c) % 6] : g.mem_fd;
    }
    uint32_t header[3] = {VHOST_SET_MEM_TABLE, 1, 8 + t.count * 32};
    uint8_t bytes[12 + sizeof(t)];
    memcpy(bytes, header, 12);
    memcpy(bytes + 12, &t, sizeof(t));
    send_raw(bytes, 12 + header[2], fds, t.count < 9 ? t.count : 9);
}

// Rings at addresses that may overlap, be misaligned, or outside.
static void
ring_address(struct cursor *c)
{
    struct {
        uint32_t header[3], index, flags;
        uint64_t at[4];
    } __attribute__((packed)) m = {.header = {VHOST_SET_VRING_ADDR, 1, 40}};
    m.index = cursor_u8(c) & 3;
    m.flags = cursor_u8(c) & 3;
    for (int i = 0; i < 4; i++)
        m.at[i] = VG_USER + (uint64_t)(int64_t)(int16_t)cursor_u16(c) * 0x111;
    send_raw(&m, sizeof(m), NULL, 0);
}

static void
guest_writes(struct cursor *c)
{
    uint8_t bytes[32];
    size_t len = cursor_u8(c) % 32u;
    uint32_t at = cursor_u32(c) % (VG_BYTES - 64);
    if (len % 2)
        at %= 0x20000; // the rings
    struct stat st;
    cursor_bytes(c, bytes, len);
    if (fstat(g.mem_fd, &st) == 0 && st.st_size == VG_BYTES)
        memcpy(g.mem + at, bytes, len);
}

static void
proper_step(struct cursor *c)
{
    uint8_t which = cursor_u8(c);
    switch (which & 7) {
    case 0:
        vg_send(&g, VHOST_SET_OWNER, 0, NULL, 0, NULL, 0);
        break;
    case 1:
        vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES,
               VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_MTU | VHOST_PROTOCOL_REPLY_ACK);
        break;
    case 2:
        vg_u64(&g, VHOST_SET_FEATURES,
               VG_FEATURES | (which & 8 ? VIRTIO_EVENT_IDX : 0) | (which & 16 ? VHOST_LOG_ALL : 0));
        break;
    case 3:
        vg_mem_table(&g);
        break;
    default:
        vg_state(&g, VHOST_SET_VRING_NUM, which & 1, VG_SIZE);
        turn();
        if (is_up())
            vg_addr(&g, which & 1, 0, 0);
        turn();
        if (is_up())
            vg_fd(&g, VHOST_SET_VRING_KICK, which & 1, g.kick[which & 1]);
        turn();
        if (is_up())
            vg_state(&g, VHOST_SET_VRING_ENABLE, which & 1, 1);
    }
    turn();
}

static void
traffic(struct cursor *c)
{
    static struct test_frame f;
    struct stat st;
    uint8_t what = cursor_u8(c);
    uint64_t one = 1;
    if (fstat(g.mem_fd, &st) < 0 || st.st_size != VG_BYTES)
        return;
    if (what & 1) {
        vg_desc(&g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + VG_DATA, VG_HDR + 60, 0, 0});
        vg_post(&g, FROM_GUEST, what & 2 ? what : 7);
    } else {
        vg_desc(&g, TO_GUEST, 3, (struct vg_desc){VG_GUEST + VG_DATA, 2000, VG_WRITE, 0});
        vg_post(&g, TO_GUEST, 3);
        link_send(g.r->link, frame_fill(&f, 1 + what * 9u, what));
        link_flush(g.r->link);
    }
    ssize_t n = write(g.kick[what & 1], &one, 8);
    assert(n == 8);
    turn();
}

static void
run_step(struct cursor *c)
{
    uint8_t step = cursor_u8(c), bytes[64];
    size_t len;
    switch (step & 15) {
    case 0:
    case 1:
    case 2:
        message(c);
        break;
    case 3:
        memory_table(c);
        break;
    case 4:
        ring_address(c);
        break;
    case 5: // a part of a message, or of none
        len = cursor_u8(c) % 64u;
        len = len < c->left ? len : c->left;
        cursor_bytes(c, bytes, len);
        send_raw(bytes, len, odd, step >> 4 & 1);
        break;
    case 6:
    case 7:
        guest_writes(c);
        break;
    case 8: // memory that shrinks and comes back
        if (ftruncate(g.mem_fd, step & 16 ? 0x1000 : VG_BYTES) < 0)
            abort();
        break;
    case 9:
    case 10:
    case 11:
        traffic(c);
        break;
    default:
        proper_step(c);
    }
}

static void
fresh_memory(void)
{
    int rc = ftruncate(g.mem_fd, 0) + ftruncate(g.mem_fd, VG_BYTES);
    assert(rc == 0);
}

static void
fresh_driver(void)
{
    memset(g.avail, 0, sizeof(g.avail));
    g.r->count = g.r->used = 0;
    for (int i = 0; i < 2; i++) {
        vg_events(g.kick[i]);
        vg_events(g.call[i]);
    }
    vg_events(odd[4]);
}

// The next front-end, in what memory there is: its rings begin anew.
static void
converse(void)
{
    int rc = ftruncate(g.mem_fd, VG_BYTES);
    assert(rc == 0);
    for (unsigned i = 0; i < 2; i++) {
        memset(g.mem + VG_RING(i) + VG_AVAIL, 0, 6 + 2 * VG_SIZE);
        memset(g.mem + VG_RING(i) + VG_USED, 0, 6 + 8 * VG_SIZE);
    }
    fresh_driver();
    vg_connect(&g);
    vg_set_up(&g, VG_FEATURES);
    vg_send_frame(&g, 100, 4);
    expect_last(&g, 100, 4);
    vg_disconnect(&g);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(data, size);
    if (!g.loop)
        set_up();
    fresh_memory();
    fresh_driver();
    vg_connect(&g);
    for (int i = 0; i < STEPS && c.left > 0 && is_up(); i++)
        run_step(&c);
    vg_disconnect(&g);
    converse();
    return 0;
}
