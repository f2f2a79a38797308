// SPDX-License-Identifier: BSD-3-Clause
// Hierarchical timer wheel over indices (not pointers): entry i of a fixed table has at most one
// deadline. Set and clear are O(1); time is an argument, in microseconds, and never runs backwards.
// An entry expires at its deadline or up to one tick (1024 us) after it, never before. Deadlines
// beyond the wheel's span (4 levels of 64 slots: about 4.7 h) are kept and wait their turn.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WHEEL_NONE  UINT32_MAX
#define WHEEL_NEVER UINT64_MAX

struct wheel_entry {
    uint64_t deadline_us; // meaningful while slot != 0
    uint32_t next, prev;  // indices in the slot's list
    uint16_t slot;        // 1 + level * 64 + slot; 0: in no list
};

struct wheel {
    struct wheel_entry *entries; // the caller's array, `count` long; may be zero pages, see init
    uint32_t count;
    uint64_t now_tick;      // everything before it has expired
    uint64_t occupied[4];   // bitmap of non-empty slots per level
    uint32_t heads[4 * 64]; // first index of each slot, WHEEL_NONE when empty
    uint32_t expired;       // list of entries due, drained by wheel_pop
    uint64_t soonest_us;    // at or before every deadline in the slot of now_tick
};

// entries: the caller's array. It must be zeroed, and an all-zero entry means "not set", so that a
// lazily mapped table costs nothing before use.
void wheel_init(struct wheel *wheel, struct wheel_entry *entries, uint32_t count, uint64_t now_us);
// Replaces the caller's array by a larger copy of it (count grows; new entries zeroed).
void wheel_grow(struct wheel *wheel, struct wheel_entry *entries, uint32_t count);
// Sets or moves entry i. A deadline in the past expires at the next wheel_pop; WHEEL_NEVER clears.
void wheel_set(struct wheel *wheel, uint32_t i, uint64_t deadline_us);
void wheel_clear(struct wheel *wheel, uint32_t i);
// The deadline of i, WHEEL_NEVER when not set.
uint64_t wheel_deadline(const struct wheel *wheel, uint32_t i);
// Next entry due at now_us, unset by this call; WHEEL_NONE when there is none left.
uint32_t wheel_pop(struct wheel *wheel, uint64_t now_us);
// A time at or before the earliest deadline (sleeping until then is never too long, and repeated
// sleeping reaches the deadline); WHEEL_NEVER when nothing is set.
uint64_t wheel_next(const struct wheel *wheel);
