// SPDX-License-Identifier: BSD-3-Clause
// A guest with a CID of its own, as the host's kernel sees it: gives /dev/vhost-vsock two
// virtqueues, as a hypervisor does, and speaks virtio-vsock over them by itself (virtio 1.2, 5.10).
// One connection to a port of the host: sends a line, ends its sending, reads to the end.
//   vsockguest CID PORT LINE      one line of JSON: what came, and how it ended

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SIZE     16 // descriptors of a queue, and its buffers
#define BUF      4096
#define HOST_CID 2
#define MY_PORT  1024
#define IO_MS    10000

enum { RX, TX, QUEUES };

struct buffer {
    struct virtio_vsock_hdr hdr;
    char bytes[BUF - sizeof(struct virtio_vsock_hdr)];
};

// In the guest's memory: guest addresses are ours.
static struct queue {
    struct vring_desc desc[SIZE];
    struct {
        uint16_t flags, idx, ring[SIZE];
    } avail;
    struct {
        _Alignas(4) uint16_t flags;
        uint16_t idx;
        struct vring_used_elem ring[SIZE];
    } used;
    struct buffer buffers[SIZE];
} queues[QUEUES] __attribute__((aligned(4096)));

static int kicks[QUEUES], calls[QUEUES];
static uint64_t my_cid;
static uint32_t host_port, received;

static void
must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    perror(what);
    exit(1);
}

static void
set_up_queue(int vhost, unsigned i)
{
    struct queue *q = &queues[i];
    struct vhost_vring_state num = {i, SIZE}, base = {i, 0};
    struct vhost_vring_addr addr = {.index = i,
                                    .desc_user_addr = (uintptr_t)q->desc,
                                    .used_user_addr = (uintptr_t)&q->used,
                                    .avail_user_addr = (uintptr_t)&q->avail};
    kicks[i] = eventfd(0, EFD_CLOEXEC);
    calls[i] = eventfd(0, EFD_CLOEXEC);
    struct vhost_vring_file kick = {i, kicks[i]}, call = {i, calls[i]};
    must(ioctl(vhost, VHOST_SET_VRING_NUM, &num), "VHOST_SET_VRING_NUM");
    must(ioctl(vhost, VHOST_SET_VRING_BASE, &base), "VHOST_SET_VRING_BASE");
    must(ioctl(vhost, VHOST_SET_VRING_ADDR, &addr), "VHOST_SET_VRING_ADDR");
    must(ioctl(vhost, VHOST_SET_VRING_KICK, &kick), "VHOST_SET_VRING_KICK");
    must(ioctl(vhost, VHOST_SET_VRING_CALL, &call), "VHOST_SET_VRING_CALL");
}

static void
set_up(void)
{
    struct {
        struct vhost_memory head;
        struct vhost_memory_region region;
    } memory = {.head = {.nregions = 1},
                .region = {.guest_phys_addr = (uintptr_t)queues,
                           .memory_size = sizeof(queues),
                           .userspace_addr = (uintptr_t)queues}};
    uint64_t features = UINT64_C(1) << VIRTIO_F_VERSION_1;
    int vhost = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
    int on = 1;

    must(vhost, "/dev/vhost-vsock");
    must(ioctl(vhost, VHOST_SET_OWNER), "VHOST_SET_OWNER");
    must(ioctl(vhost, VHOST_SET_FEATURES, &features), "VHOST_SET_FEATURES");
    must(ioctl(vhost, VHOST_SET_MEM_TABLE, &memory), "VHOST_SET_MEM_TABLE");
    for (unsigned i = 0; i < QUEUES; i++)
        set_up_queue(vhost, i);
    must(ioctl(vhost, VHOST_VSOCK_SET_GUEST_CID, &my_cid), "VHOST_VSOCK_SET_GUEST_CID");
    must(ioctl(vhost, VHOST_VSOCK_SET_RUNNING, &on), "VHOST_VSOCK_SET_RUNNING");
}

// Hands buffer i of a queue to the host.
static void
give(unsigned queue, uint16_t i, uint32_t len)
{
    struct queue *q = &queues[queue];
    uint16_t at = q->avail.idx;
    q->desc[i] = (struct vring_desc){.addr = (uintptr_t)&q->buffers[i],
                                     .len = len,
                                     .flags = queue == RX ? VRING_DESC_F_WRITE : 0};
    q->avail.ring[at % SIZE] = i;
    __atomic_store_n(&q->avail.idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
    must((int)write(kicks[queue], &(uint64_t){1}, 8), "kick");
}

// At most SIZE in the life of the program, so that no buffer is used twice.
static void
put(uint16_t op, uint32_t flags, const char *bytes)
{
    static uint16_t next;
    uint32_t len = (uint32_t)strlen(bytes);
    struct buffer *b = &queues[TX].buffers[next];
    if (next == SIZE || len > sizeof(b->bytes))
        exit(2);
    b->hdr = (struct virtio_vsock_hdr){.src_cid = my_cid,
                                       .dst_cid = HOST_CID,
                                       .src_port = MY_PORT,
                                       .dst_port = host_port,
                                       .len = len,
                                       .type = VIRTIO_VSOCK_TYPE_STREAM,
                                       .op = op,
                                       .flags = flags,
                                       .buf_alloc = SIZE * sizeof(b->bytes),
                                       .fwd_cnt = received};
    memcpy(b->bytes, bytes, len);
    give(TX, next++, (uint32_t)sizeof(b->hdr) + len);
}

// The next packet's buffer, or -1 when none comes.
static int
get(void)
{
    static uint16_t seen;
    struct queue *q = &queues[RX];
    struct pollfd p = {.fd = calls[RX], .events = POLLIN};
    uint64_t count;

    while (__atomic_load_n(&q->used.idx, __ATOMIC_ACQUIRE) == seen) {
        if (poll(&p, 1, IO_MS) < 1)
            return -1;
        must((int)read(calls[RX], &count, sizeof(count)), "call");
    }
    return (int)q->used.ring[seen++ % SIZE].id;
}

static void
print_bytes(const struct buffer *b)
{
    for (uint32_t i = 0; i < b->hdr.len; i++)
        printf(b->bytes[i] == '\n' ? "\\n" : "%c", b->bytes[i]);
}

// How it ended.
static const char *
converse(const char *line)
{
    int i;
    put(VIRTIO_VSOCK_OP_REQUEST, 0, "");
    while ((i = get()) >= 0) {
        struct buffer *b = &queues[RX].buffers[i];
        switch (b->hdr.op) {
        case VIRTIO_VSOCK_OP_RESPONSE:
            put(VIRTIO_VSOCK_OP_RW, 0, line);
            put(VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND, "");
            break;
        case VIRTIO_VSOCK_OP_RW:
            print_bytes(b);
            received += b->hdr.len;
            break;
        case VIRTIO_VSOCK_OP_SHUTDOWN:
            put(VIRTIO_VSOCK_OP_RST, 0, "");
            return "shutdown";
        case VIRTIO_VSOCK_OP_RST:
            return "reset";
        default: // credit
            break;
        }
        give(RX, (uint16_t)i, sizeof(*b));
    }
    return "silence";
}

int
main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: vsockguest CID PORT LINE\n");
        return 2;
    }
    my_cid = strtoull(argv[1], NULL, 10);
    host_port = (uint32_t)strtoul(argv[2], NULL, 10);
    set_up();
    for (uint16_t i = 0; i < SIZE; i++)
        give(RX, i, sizeof(struct buffer));
    printf("{\"got\": \"");
    const char *end = converse(argv[3]);
    printf("\", \"end\": \"%s\"}\n", end);
    return 0;
}
