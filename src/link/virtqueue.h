// SPDX-License-Identifier: BSD-3-Clause
// The device's side of a virtqueue in guest memory, split or packed (virtio 1.2, 2.7 and 2.8). Each
// descriptor is read once, into a copy; what cannot be breaks the queue: from then on it gives
// nothing, until it is started anew. Whether a queue may run, and who is notified how, is
// vhost_user's.
#pragma once

#include "link/guest_memory.h"

#include <stdbool.h>
#include <stdint.h>

#define VIRTQUEUE_SIZE_MAX  32768
#define VIRTQUEUE_CHAIN_MAX 1024 // pieces of one chain; QEMU's largest queue

// Where the parts are, in the front-end's addresses.
struct virtqueue_addr {
    uint64_t desc;
    uint64_t avail;    // packed: what the driver says of its notifications
    uint64_t used;     // packed: what we say of ours
    uint64_t used_log; // split: guest address that writes to the used ring are logged as
    bool log_used;
};

struct virtqueue {
    struct guest_memory *memory;
    uint32_t size;        // entries; 0: not told
    uint8_t *desc;        // NULL when stopped
    const uint8_t *avail; // as in struct virtqueue_addr
    uint8_t *used;        // likewise
    uint64_t used_log;    // likewise
    bool log_used;
    bool event_idx, indirect; // negotiated; may be set at any time
    bool packed;              // negotiated; counts from the next start on
    bool is_packed;           // how the ring that runs, or ran last, looks
    bool is_fresh;            // nothing was published since the start
    bool asks_kick;           // the driver was asked to kick, or may think so
    bool avail_wrap;          // packed: the wrap counters that belong to the indexes
    bool seen_wrap, used_wrap, published_wrap;
    uint16_t next_avail;     // first entry not taken yet
    uint16_t seen_avail;     // first entry that was not available when last looked at
    uint16_t next_used;      // where the next completed chain goes
    uint16_t published_used; // up to where the driver sees them
    uint16_t first_flags;    // packed: of the entry at published_used, to be published last
    uint32_t in_flight;      // packed: entries taken and not completed
    char broken[80];         // why; "": it is not
};

// What names a chain when it is given back.
struct virtqueue_head {
    uint16_t id;
    uint16_t
        entries; // of the ring that it takes up; a split ring's available ring has one for each
};

struct virtqueue_chain {
    struct virtqueue_head head;
    int iovcnt; // pieces put to where the caller said
    uint64_t len;
};

// Where a ring goes on, as vhost-user has it: the next index; of a packed ring with the wrap
// counter in bit 15, and in the upper half the same of the used descriptors. To be set while
// stopped.
uint32_t virtqueue_base(const struct virtqueue *q);
// False: no place in a ring of that format.
bool virtqueue_set_base(struct virtqueue *q, uint32_t base);
void virtqueue_set_base_to_start(struct virtqueue *q);

// Resolves the addresses and starts at the base; the size is set. 0, or -errno with err filled: a
// size that the format does not have, not in memory, misaligned; the queue is stopped then.
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
// The last chains, of so many entries together, were not taken.
void virtqueue_untake(struct virtqueue *q, uint16_t entries);
// A chain is done, with len bytes written to it. Seen by the driver with virtqueue_publish.
void virtqueue_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len);
// True when the driver wants to be notified of what is published.
bool virtqueue_publish(struct virtqueue *q);

// Asks for a kick when the driver adds a chain to those seen. True when it has by now, and no kick
// may come: look again.
bool virtqueue_want_kick(struct virtqueue *q);
void virtqueue_no_kick(struct virtqueue *q);
