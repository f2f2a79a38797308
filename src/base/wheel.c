// SPDX-License-Identifier: BSD-3-Clause
// The timer wheel. An entry stands at the lowest level at which its tick and now_tick have all
// higher digits (of 6 bits) in common, in the slot of its own digit there; so the first non-empty
// slot of the lowest non-empty level holds what is due first. The top level is a circle: what lies
// beyond it waits in its farthest slot and is placed anew when that slot's turn comes. Within the
// current tick, entries are told apart by their deadlines. Sleeping is the caller's.
#include "base/wheel.h"

#include <assert.h>
#include <stdbool.h>

#define TICK_SHIFT   10 // 1024 us
#define DIGIT_BITS   6
#define TOP_LEVEL    3
#define TOP_SHIFT    (TOP_LEVEL * DIGIT_BITS)
#define EXPIRED_SLOT (1 + 4 * 64) // wheel_entry.slot of the expired list
#define NEXT_LOOK_AT 8            // entries wheel_next looks at for an exact answer

static uint32_t *
list_head(struct wheel *wheel, uint16_t slot)
{
    return slot == EXPIRED_SLOT ? &wheel->expired : &wheel->heads[slot - 1];
}

static void
list_insert(struct wheel *wheel, uint32_t i, uint16_t slot)
{
    struct wheel_entry *entry = &wheel->entries[i];
    uint32_t *head = list_head(wheel, slot);

    entry->slot = slot;
    entry->prev = WHEEL_NONE;
    entry->next = *head;
    if (*head != WHEEL_NONE)
        wheel->entries[*head].prev = i;
    *head = i;
    if (slot != EXPIRED_SLOT)
        wheel->occupied[(slot - 1) / 64] |= 1ULL << ((slot - 1) % 64);
}

static void
list_remove(struct wheel *wheel, uint32_t i)
{
    struct wheel_entry *entry = &wheel->entries[i];
    uint32_t *head = list_head(wheel, entry->slot);

    if (entry->prev == WHEEL_NONE)
        *head = entry->next;
    else
        wheel->entries[entry->prev].next = entry->next;
    if (entry->next != WHEEL_NONE)
        wheel->entries[entry->next].prev = entry->prev;
    if (*head == WHEEL_NONE && entry->slot != EXPIRED_SLOT)
        wheel->occupied[(entry->slot - 1) / 64] &= ~(1ULL << ((entry->slot - 1) % 64));
    entry->slot = 0;
}

// The slot for a tick that is not before now_tick.
static uint16_t
slot_of(const struct wheel *wheel, uint64_t tick)
{
    for (unsigned level = 0; level < TOP_LEVEL; level++) {
        unsigned shift = level * DIGIT_BITS;
        if (tick >> (shift + DIGIT_BITS) == wheel->now_tick >> (shift + DIGIT_BITS))
            return (uint16_t)(1 + level * 64 + (tick >> shift & 63));
    }
    uint64_t top = tick >> TOP_SHIFT;
    uint64_t farthest = (wheel->now_tick >> TOP_SHIFT) + 63;
    if (top > farthest)
        top = farthest;
    return (uint16_t)(1 + TOP_LEVEL * 64 + (top & 63));
}

static void
place(struct wheel *wheel, uint32_t i)
{
    uint64_t deadline_us = wheel->entries[i].deadline_us;
    uint64_t tick = deadline_us >> TICK_SHIFT;

    if (tick < wheel->now_tick) {
        list_insert(wheel, i, EXPIRED_SLOT);
        return;
    }
    if (tick == wheel->now_tick && deadline_us < wheel->soonest_us)
        wheel->soonest_us = deadline_us;
    list_insert(wheel, i, slot_of(wheel, tick));
}

// The slot that is due first and the tick at which it begins. False when nothing is set.
static bool
first_slot(const struct wheel *wheel, uint16_t *slot, uint64_t *begin_tick)
{
    for (unsigned level = 0; level < TOP_LEVEL; level++) {
        if (wheel->occupied[level] == 0)
            continue;
        unsigned shift = level * DIGIT_BITS;
        unsigned digit = (unsigned)__builtin_ctzll(wheel->occupied[level]);
        uint64_t above = wheel->now_tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        *slot = (uint16_t)(1 + level * 64 + digit);
        *begin_tick = above + ((uint64_t)digit << shift);
        return true;
    }

    uint64_t bits = wheel->occupied[TOP_LEVEL];
    if (bits == 0)
        return false;
    uint64_t top = wheel->now_tick >> TOP_SHIFT;
    unsigned turn = top & 63;
    if (turn != 0)
        bits = bits >> turn | bits << (64 - turn);
    top += (unsigned)__builtin_ctzll(bits);
    *slot = (uint16_t)(1 + TOP_LEVEL * 64 + (top & 63));
    *begin_tick = top << TOP_SHIFT;
    return true;
}

// Empties a slot whose time has come: at level 0 its entries are due, from higher levels they move
// down.
static void
turn_slot(struct wheel *wheel, uint16_t slot)
{
    uint32_t *head = list_head(wheel, slot);

    while (*head != WHEEL_NONE) {
        uint32_t i = *head;
        list_remove(wheel, i);
        if (slot <= 64)
            list_insert(wheel, i, EXPIRED_SLOT);
        else
            place(wheel, i);
    }
}

// Of the current tick's entries, takes those that are due and finds the soonest of the others.
static void
collect_due(struct wheel *wheel, uint64_t now_us)
{
    uint32_t next;

    wheel->soonest_us = WHEEL_NEVER;
    for (uint32_t i = wheel->heads[wheel->now_tick & 63]; i != WHEEL_NONE; i = next) {
        uint64_t deadline_us = wheel->entries[i].deadline_us;
        next = wheel->entries[i].next;
        if (deadline_us <= now_us) {
            list_remove(wheel, i);
            list_insert(wheel, i, EXPIRED_SLOT);
        } else if (deadline_us < wheel->soonest_us) {
            wheel->soonest_us = deadline_us;
        }
    }
}

static void
advance(struct wheel *wheel, uint64_t now_us)
{
    uint64_t target = now_us >> TICK_SHIFT;
    uint64_t begin_tick;
    uint16_t slot;

    while (first_slot(wheel, &slot, &begin_tick) && begin_tick <= target) {
        if (slot <= 64 && begin_tick == target)
            break;
        wheel->now_tick = begin_tick;
        turn_slot(wheel, slot);
    }
    if (wheel->now_tick < target) {
        wheel->now_tick = target;
        wheel->soonest_us = 0; // not known yet
    }
    if (wheel->soonest_us <= now_us)
        collect_due(wheel, now_us);
}

void
wheel_init(struct wheel *wheel, struct wheel_entry *entries, uint32_t count, uint64_t now_us)
{
    *wheel = (struct wheel){
        .entries = entries,
        .count = count,
        .now_tick = now_us >> TICK_SHIFT,
        .expired = WHEEL_NONE,
        .soonest_us = WHEEL_NEVER,
    };
    for (size_t i = 0; i < sizeof(wheel->heads) / sizeof(wheel->heads[0]); i++)
        wheel->heads[i] = WHEEL_NONE;
}

void
wheel_grow(struct wheel *wheel, struct wheel_entry *entries, uint32_t count)
{
    assert(count >= wheel->count);
    wheel->entries = entries;
    wheel->count = count;
}

void
wheel_set(struct wheel *wheel, uint32_t i, uint64_t deadline_us)
{
    wheel_clear(wheel, i);
    if (deadline_us == WHEEL_NEVER)
        return;
    wheel->entries[i].deadline_us = deadline_us;
    place(wheel, i);
}

void
wheel_clear(struct wheel *wheel, uint32_t i)
{
    assert(i < wheel->count);
    if (wheel->entries[i].slot != 0)
        list_remove(wheel, i);
}

uint64_t
wheel_deadline(const struct wheel *wheel, uint32_t i)
{
    assert(i < wheel->count);
    return wheel->entries[i].slot != 0 ? wheel->entries[i].deadline_us : WHEEL_NEVER;
}

uint32_t
wheel_pop(struct wheel *wheel, uint64_t now_us)
{
    if (wheel->expired == WHEEL_NONE)
        advance(wheel, now_us);

    uint32_t i = wheel->expired;
    if (i != WHEEL_NONE)
        list_remove(wheel, i);
    return i;
}

uint64_t
wheel_next(const struct wheel *wheel)
{
    uint64_t begin_tick;
    uint16_t slot;

    if (wheel->expired != WHEEL_NONE)
        return 0;
    if (!first_slot(wheel, &slot, &begin_tick))
        return WHEEL_NEVER;
    if (begin_tick == wheel->now_tick)
        return wheel->soonest_us;

    // A crowded slot is answered with its begin: too early, never too late. So is the top level,
    // where an entry from beyond the span may hide one that is due sooner in a later slot.
    uint64_t soonest_us = WHEEL_NEVER;
    uint32_t i = slot > TOP_LEVEL * 64 ? WHEEL_NONE : wheel->heads[slot - 1];
    for (int looked = 0; i != WHEEL_NONE && looked < NEXT_LOOK_AT; looked++) {
        if (wheel->entries[i].deadline_us < soonest_us)
            soonest_us = wheel->entries[i].deadline_us;
        i = wheel->entries[i].next;
    }
    if (i != WHEEL_NONE || soonest_us == WHEEL_NEVER)
        return begin_tick << TICK_SHIFT;
    return soonest_us;
}
