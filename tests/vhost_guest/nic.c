// SPDX-License-Identifier: BSD-3-Clause
// With mergeable buffers a frame takes as many of them as it needs; without, each buffer has room
// for the largest, in pieces of a page as a kernel would have it.
#include "nic.h"

#include "link/vnet_hdr.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define PAGE         4096
#define HEADER_BYTES 256 // virtio_net_hdr, Ethernet, IPv4, TCP with options
#define LARGEST      (VNET_HDR_V1_BYTES + FRAME_MAX)
#define HELD_MAX     1024

static size_t
align(size_t n)
{
    return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static size_t
buffer_bytes(const struct nic_options *o)
{
    return o->front.mergeable ? o->buffer_bytes : align(LARGEST);
}

size_t
nic_bytes(const struct nic_options *o)
{
    size_t size = o->front.ring_size;
    return FRONT_RINGS * align(driver_ring_bytes(o->front.ring_size)) +
           align(size * buffer_bytes(o)) + align(size * HEADER_BYTES);
}

static bool
start_ring(struct nic *n, int i, uint8_t *memory)
{
    const struct front_options *o = &n->options.front;
    struct driver_ring *r = &n->rings[i];
    const struct driver_ring_config config = {.size = o->ring_size,
                                              .packed = o->packed,
                                              .indirect = o->indirect,
                                              .event_idx = o->event_idx,
                                              .memory = memory,
                                              .base = n->front->memory,
                                              .kick_fd = n->front->kick[i]};
    if (!driver_ring_init(r, &config))
        return false;
    const uint64_t parts[3] = {(uint64_t)(r->desc - n->front->memory),
                               (uint64_t)(r->driver - n->front->memory),
                               (uint64_t)(r->device - n->front->memory)};
    return front_end_start_ring(n->front, i, o->ring_size, driver_ring_base(r), parts);
}

static void
post(struct nic *n, uint16_t token)
{
    struct iovec iov[DRIVER_RING_PIECES_MAX];
    size_t bytes = buffer_bytes(&n->options), each = n->pieces > 1 ? PAGE : bytes;
    uint8_t *at = n->buffers + token * bytes;
    for (int i = 0; i < n->pieces; i++)
        iov[i] = (struct iovec){at + (size_t)i * each, each};
    driver_ring_add(&n->rings[FRONT_TO_GUEST], iov, n->pieces, true);
}

static void
post_all(struct nic *n)
{
    struct driver_ring *r = &n->rings[FRONT_TO_GUEST];
    int token;
    while ((token = driver_ring_next_token(r, n->pieces)) >= 0)
        post(n, (uint16_t)token);
}

bool
nic_init(struct nic *n, const struct nic_options *options, struct front_end *front, uint8_t *memory)
{
    size_t ring = align(driver_ring_bytes(options->front.ring_size));
    memset(n, 0, sizeof(*n));
    n->options = *options;
    n->front = front;
    n->pieces = options->front.mergeable ? 1 : (int)(align(LARGEST) / PAGE);
    assert(n->pieces <= DRIVER_RING_PIECES_MAX && options->front.ring_size <= HELD_MAX);
    n->buffers = memory + FRONT_RINGS * ring;
    n->headers = n->buffers + align(options->front.ring_size * buffer_bytes(options));
    for (int i = 0; i < FRONT_RINGS; i++) {
        if (!start_ring(n, i, memory + (size_t)i * ring))
            return false;
    }
    post_all(n);
    driver_ring_kick(&n->rings[FRONT_TO_GUEST]);
    return true;
}

void
nic_fini(struct nic *n)
{
    for (int i = 0; i < FRONT_RINGS; i++)
        driver_ring_fini(&n->rings[i]);
}

// --- receiving -----------------------------------------------------------------------------------

static bool
take_buffer(struct nic *n)
{
    uint32_t len;
    if (n->held_count == HELD_MAX)
        return false;
    int token = driver_ring_take(&n->rings[FRONT_TO_GUEST], &len);
    if (token < 0)
        return false;
    n->lens[n->held_count] = len;
    n->held[n->held_count++] = (uint16_t)token;
    return true;
}

// The frame in the buffers from `first` on, `count` of them. False: it is none.
static bool
make_frame(struct nic *n, uint16_t first, uint16_t count, struct iovec *iov, struct frame *out)
{
    size_t bytes = buffer_bytes(&n->options), len = 0;
    uint8_t *start = n->buffers + n->held[first] * bytes;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t at = (uint16_t)(first + i);
        size_t skip = i == 0 ? VNET_HDR_V1_BYTES : 0;
        if (n->lens[at] <= skip || n->lens[at] > bytes)
            return false;
        iov[i] = (struct iovec){n->buffers + n->held[at] * bytes + skip, n->lens[at] - skip};
        len += iov[i].iov_len;
    }
    *out = (struct frame){.iov = iov, .iovcnt = count, .len = len};
    return vnet_hdr_parse(start, out);
}

size_t
nic_receive(struct nic *n)
{
    size_t count = 0;
    uint16_t at = 0;
    struct iovec *iov = n->iov;
    n->held_count = 0;
    while (count < NIC_BATCH && take_buffer(n)) {
        uint16_t le, buffers = 1;
        memcpy(&le, n->buffers + n->held[at] * buffer_bytes(&n->options) + 10, sizeof(le));
        if (n->options.front.mergeable)
            buffers = le16toh(le);
        bool whole = buffers > 0 && buffers <= 64;
        for (uint16_t i = 1; i < buffers && whole; i++)
            whole = take_buffer(n); // Linux gives up here, too
        if (whole && make_frame(n, at, buffers, iov, &n->frames[count])) {
            iov += buffers;
            count++;
        } else {
            n->bad++;
        }
        at = n->held_count;
        if (HELD_MAX - n->held_count < 64)
            break;
    }
    n->frames_in += count;
    return count;
}

void
nic_release(struct nic *n)
{
    if (n->held_count > 0)
        post_all(n);
    n->held_count = 0;
}

// --- sending -------------------------------------------------------------------------------------

static void
reclaim(struct nic *n)
{
    uint32_t len;
    while (driver_ring_take(&n->rings[FRONT_FROM_GUEST], &len) >= 0)
        n->bad += len != 0;
}

bool
nic_send(struct nic *n, const struct frame *frame)
{
    struct driver_ring *r = &n->rings[FRONT_FROM_GUEST];
    struct iovec iov[1 + FRAME_IOV_MAX];
    int pieces = frame->iovcnt;
    assert(pieces <= FRAME_IOV_MAX);
    int token = driver_ring_next_token(r, pieces);
    if (token < 0) {
        reclaim(n);
        token = driver_ring_next_token(r, pieces);
    }
    if (token < 0)
        return false;
    uint8_t *header = n->headers + (size_t)token * HEADER_BYTES;
    assert(VNET_HDR_V1_BYTES + frame->iov[0].iov_len <= HEADER_BYTES);
    vnet_hdr_emit(header, VNET_HDR_V1_BYTES, frame);
    memcpy(header + VNET_HDR_V1_BYTES, frame->iov[0].iov_base, frame->iov[0].iov_len);
    iov[0] = (struct iovec){header, VNET_HDR_V1_BYTES + frame->iov[0].iov_len};
    for (int i = 1; i < pieces; i++)
        iov[i] = frame->iov[i];
    driver_ring_add(r, iov, pieces, false);
    n->frames_out++;
    return true;
}

void
nic_kick(struct nic *n)
{
    for (int i = 0; i < FRONT_RINGS; i++)
        driver_ring_kick(&n->rings[i]);
}

bool
nic_want_calls(struct nic *n, bool room)
{
    bool received = driver_ring_want_call(&n->rings[FRONT_TO_GUEST]);
    return (room && driver_ring_want_call(&n->rings[FRONT_FROM_GUEST])) || received;
}

void
nic_no_calls(struct nic *n)
{
    for (int i = 0; i < FRONT_RINGS; i++)
        driver_ring_no_call(&n->rings[i]);
}
