// SPDX-License-Identifier: BSD-3-Clause
// rate= and burst= of a channel: how many bytes its connections may move, each direction by itself.
// Who moves bytes asks first and reports what it moved; who may not is called when it may. Those
// that wait are served in turn, each with an equal part of what has come together, so that the
// connections of a channel share it evenly. Nothing is read that may not be moved on: the source's
// own window or buffer fills, and no byte is dropped.
//
// A channel without a rate has no limit, and its connections no members: NULL everywhere.
#pragma once

#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct limit;
struct limit_member;

enum limit_way { LIMIT_TO_HOST, LIMIT_TO_GUEST };

// Both from 1 to BUCKET_MAX. NULL when out of memory.
struct limit *limit_new(struct loop *loop, uint64_t rate, uint64_t burst);
void limit_free(struct limit *limit); // has no members any more; NULL: nothing
void limit_lift(struct limit *limit); // from now on there is none, also for those that wait

// One connection. on_grant is called, from a timer, when one that had to wait may move bytes.
// NULL when out of memory.
struct limit_member *limit_join(struct limit *limit, void (*on_grant)(void *ctx), void *ctx);
void limit_leave(struct limit_member *m); // NULL: nothing

// Bytes that may be moved now; 0: the member waits for its turn, asking again changes nothing.
size_t limit_ask(struct limit_member *m, enum limit_way way);
// So many were moved. More than may be (a datagram is moved whole) is made up for by waiting.
void limit_moved(struct limit_member *m, enum limit_way way, size_t bytes);
// It has no more to move for now: what it does not use is the others'. To be called after each
// run of asking and moving.
void limit_rest(struct limit_member *m, enum limit_way way);
bool limit_is_waiting(const struct limit_member *m, enum limit_way way);
// That, or was served and has not yet said that it rests, in either direction. NULL: no.
bool limit_holds(const struct limit_member *m);
