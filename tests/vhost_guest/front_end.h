// SPDX-License-Identifier: BSD-3-Clause
// A vhost-user front-end: the guest's memory, and the requests that hand it and two rings over to a
// back-end that listens. What is in the rings is driver_ring.c's.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRONT_TO_GUEST, FRONT_FROM_GUEST, FRONT_RINGS };

// How the rings look: what a guest's driver and its hypervisor would settle on.
struct front_options {
    bool packed, indirect, mergeable, event_idx;
    uint16_t ring_size; // entries, a power of two
};

struct front_end {
    int sock, memory_fd;
    uint8_t *memory; // guest address 0
    size_t bytes;
    int kick[FRONT_RINGS], call[FRONT_RINGS]; // eventfds, non-blocking
    uint64_t features;
};

// Makes the memory: zeroed, of that size, and never touched unless used. False with a message.
bool front_end_init(struct front_end *f, size_t bytes);
void front_end_fini(struct front_end *f);
// Connects to the back-end's socket, within so many ms. False: nobody is there.
bool front_end_connect(struct front_end *f, const char *path, unsigned within_ms);
// Negotiates, and starts the ring at that place of the memory (its three parts as offsets).
bool front_end_negotiate(struct front_end *f, const struct front_options *options);
bool front_end_start_ring(struct front_end *f, int ring, uint16_t size, uint32_t base,
                          const uint64_t parts[3]);
// Stops a ring, and gives its base as the back-end says. False: it did not answer.
bool front_end_stop_ring(struct front_end *f, int ring, uint32_t *base);
