// SPDX-License-Identifier: BSD-3-Clause
// What the hub counts, as plain numbers that another process may read from memory that both have
// mapped: each is written by one process and stands alone. All but `connections` and `up` only
// grow.
#pragma once

#include <stdint.h>

#define COUNTED_CHANNELS_MAX 1024 // as many as the hub takes

struct channel_counters {
    uint64_t connections;      // now
    uint64_t opened;           // connections that got their host end
    uint64_t refused;          // connections that did not
    uint64_t bytes_from_guest; // taken by host ends
    uint64_t bytes_to_guest;   // given by host ends
};

// Of frame links; of a socket link all zero.
struct link_counters {
    uint64_t up; // 1: there is one
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t dropped_in;  // oversized, malformed framing, another sender
    uint64_t dropped_out; // the kernel took none of it
    uint64_t bad_checksum, malformed, not_for_us, no_memory; // frames dropped by the stack
    uint64_t retransmits, timeouts, resets_sent;
};

struct hub_counters {
    struct link_counters link;
    struct channel_counters channels[COUNTED_CHANNELS_MAX];
};
