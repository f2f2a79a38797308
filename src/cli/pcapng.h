// SPDX-License-Identifier: BSD-3-Clause
// Writes a pcapng file (draft-ietf-opsawg-pcapng) of one Ethernet interface, in host byte order.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct pcapng_packet {
    uint64_t time_us;  // since 1970
    bool to_guest;     // outbound, seen from the host
    uint64_t left_out; // packets lost between the one before and this one
    uint32_t len;      // on the link
    uint32_t have;     // bytes that there are
    const void *bytes;
};

// Each: false when the file could not be written (errno).
bool pcapng_begin(FILE *f, const char *interface, uint32_t snaplen);
bool pcapng_write(FILE *f, const struct pcapng_packet *p);
// The interface's statistics: packets written, and lost in all.
bool pcapng_end(FILE *f, uint64_t time_us, uint64_t taken, uint64_t left_out);
