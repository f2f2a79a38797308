// SPDX-License-Identifier: BSD-3-Clause
// Small sorted sets of sequence ranges: what the guest sent out of order, and what it SACKed.
// Bounded: a run that finds no place is refused, and its sender will send it again.
#include "stack/internal.h"

#include <string.h>

static void
remove_at(struct seq_ranges *r, unsigned i, unsigned n)
{
    memmove(&r->at[i], &r->at[i + n], (r->count - i - n) * sizeof r->at[0]);
    r->count = (uint8_t)(r->count - n);
}

bool
ranges_add(struct seq_ranges *r, uint32_t left, uint32_t right)
{
    unsigned i = 0;
    while (i < r->count && seq_lt(r->at[i].right, left))
        i++;

    unsigned touching = 0;
    while (i + touching < r->count && seq_le(r->at[i + touching].left, right)) {
        left = seq_min(left, r->at[i + touching].left);
        right = seq_max(right, r->at[i + touching].right);
        touching++;
    }
    if (touching > 0) {
        r->at[i] = (struct seq_range){left, right};
        remove_at(r, i + 1, touching - 1);
        return true;
    }
    if (r->count == TCP_RANGES_MAX)
        return false;
    memmove(&r->at[i + 1], &r->at[i], (r->count - i) * sizeof r->at[0]);
    r->at[i] = (struct seq_range){left, right};
    r->count++;
    return true;
}

void
ranges_trim_below(struct seq_ranges *r, uint32_t seq)
{
    unsigned gone = 0;
    while (gone < r->count && seq_le(r->at[gone].right, seq))
        gone++;
    remove_at(r, 0, gone);
    if (r->count > 0)
        r->at[0].left = seq_max(r->at[0].left, seq);
}

uint32_t
ranges_bytes(const struct seq_ranges *r, uint32_t left, uint32_t right)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < r->count; i++) {
        uint32_t a = seq_max(r->at[i].left, left);
        uint32_t b = seq_min(r->at[i].right, right);
        if (seq_lt(a, b))
            sum += b - a;
    }
    return sum;
}
