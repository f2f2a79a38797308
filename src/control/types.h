// SPDX-License-Identifier: BSD-3-Clause
// What is said over a control socket, as values: the same on both of its sides. The names of the
// numbers, on the wire and in metrics, are in tables.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control_info {
    char name[64];
    char version[32];
    uint32_t pid;      // of the broker
    uint32_t worker;   // its pid, 0: there is none now
    char link[512];    // as written behind --link
    uint64_t uptime_s; // of the broker
    uint64_t restarts; // of the worker
};

struct control_channel {
    uint16_t port;    // inward: of the guest's, 0: the one that each host client names
    bool inward;      // the host begins
    char device[256]; // as it was written, cut where longer
    char name[64];    // name=, "" without
    uint64_t connections, opened, refused, bytes_from_guest, bytes_to_guest;
};

struct control_link {
    uint64_t up; // 0 or 1
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t dropped_in, dropped_out;
    uint64_t bad_checksum, malformed, not_for_us, no_memory;
    uint64_t retransmits, timeouts, resets_sent;
};

struct control_number {
    const char *name;
    const char *help; // one line
    bool is_gauge;    // goes up and down; else it only grows
    size_t offset;    // of a uint64_t in its struct
};

#define CONTROL_CHANNEL_NUMBERS 5
#define CONTROL_LINK_NUMBERS    14

extern const struct control_number control_channel_numbers[CONTROL_CHANNEL_NUMBERS];
extern const struct control_number control_link_numbers[CONTROL_LINK_NUMBERS];

uint64_t control_number_get(const void *object, const struct control_number *number);
void control_number_set(void *object, const struct control_number *number, uint64_t value);
