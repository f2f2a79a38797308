// SPDX-License-Identifier: BSD-3-Clause
// The device's side of a split virtqueue (virtio 1.2, 2.7) in guest memory. Each descriptor is read
// once, into a copy; what cannot be breaks the queue: from then on it gives nothing, until it is
// started anew. Whether a queue may run, and who is notified how, is vhost_user's.
#pragma once

#include "link/guest_memory.h"

#include <stdbool.h>
#include <stdint.h>

#define VIRTQUEUE_SIZE_MAX  32768
#define VIRTQUEUE_CHAIN_MAX 1024 // pieces of one chain; QEMU's largest queue

// Where the rings are, in the front-end's addresses.
struct virtqueue_addr {
    uint64_t desc, avail, used;
    uint64_t used_log; // guest address that writes to the used ring are logged as
    bool log_used;
};

struct virtqueue {
    struct guest_memory *memory;
    uint32_t size;               // entries, a power of two; 0: not told
    const uint8_t *desc, *avail; // NULL when stopped
    uint8_t *used;
    uint64_t used_log;
    bool log_used;
    bool event_idx, indirect; // negotiated; may be set at any time
    uint16_t next_avail;      // first entry of the available ring not taken yet
    uint16_t seen_avail;      // the driver's index when it was last looked at
    uint16_t next_used;       // where the next completed chain goes
    uint16_t published_used;  // the index that the driver sees
    bool is_fresh;            // nothing was published since the start
    bool asks_kick;           // the driver was asked to kick, or may think so
    char broken[80];          // why; "": it is not
};

struct virtqueue_chain {
    uint16_t head;
    int iovcnt; // pieces put to where the caller said
    uint64_t len;
};

// Resolves the addresses and starts at next_avail, as the caller set it. 0, or -errno with err
// filled: no size, not in memory, misaligned; the queue is stopped then.
int virtqueue_start(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err);
void virtqueue_stop(struct virtqueue *q);
// The same queue again, after the memory was mapped anew or for another log: nothing is lost. As
// virtqueue_start.
int virtqueue_move(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err);
bool virtqueue_is_running(const struct virtqueue *q); // started and not broken
void
virtqueue_break(struct virtqueue *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Takes the next chain; its pieces go to iov (room for VIRTQUEUE_CHAIN_MAX), all to be read by us
// or, with `writable`, all to be written. False when there is none or the queue is broken.
bool
virtqueue_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out, struct iovec *iov);
// The last `count` chains were not taken.
void virtqueue_untake(struct virtqueue *q, uint16_t count);
// Chain `head` is done, with len bytes written to it. Seen by the driver with virtqueue_publish.
void virtqueue_complete(struct virtqueue *q, uint16_t head, uint32_t len);
// True when the driver wants to be notified of what is published.
bool virtqueue_publish(struct virtqueue *q);

// Asks for a kick when the driver adds a chain to those seen. True when it has by now, and no kick
// may come: look again.
bool virtqueue_want_kick(struct virtqueue *q);
void virtqueue_no_kick(struct virtqueue *q);
