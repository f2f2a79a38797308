// SPDX-License-Identifier: BSD-3-Clause
// Many stream connections at once, each sending seeded random bytes in random write sizes while it
// receives, with a hash of either direction. Both ends of a test (guestprobe.c in the guest,
// hostpeer.c on the host) run this same engine, so that their hashes can be compared.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transfer_conn {
    int fd;           // connected, non-blocking; closed by transfer_run
    uint32_t id;      // the same number at both ends
    uint64_t rng;     // state of the generator, not zero
    uint64_t to_send; // bytes still to be sent; then SHUT_WR

    uint64_t sent, received;
    uint64_t sent_hash, received_hash; // FNV-1a 64
    bool sent_all, got_eof;
    int error; // errno of the first failure, 0 for none
};

void transfer_init(struct transfer_conn *c, int fd, uint32_t id, uint64_t seed, uint64_t bytes);
// Runs all connections until each has sent everything and seen the end of the other direction, or
// failed. Gives false if timeout_ms passed without any progress at all.
bool transfer_run(struct transfer_conn *conns, size_t count, int timeout_ms);
// {"connections": [...]} as one line on stdout.
void transfer_print(const struct transfer_conn *conns, size_t count, bool finished);
