// SPDX-License-Identifier: BSD-3-Clause
// prove: seq_lt seq_le seq_gt seq_ge seq_max seq_min remove_at ranges_add ranges_trim_below
// prove: ranges_bytes
// over: every pair of sequence numbers; sets of every size, of any ranges, in any order
// options: -eva-slevel-function ranges_add:2000,ranges_trim_below:200,ranges_bytes:200
#include "prove.h"

#include "stack/seq_ranges.c"

static void
change(struct seq_ranges *r)
{
    switch (Frama_C_interval(0, 2)) {
    case 0:
        ranges_add(r, any_u32(), any_u32());
        break;
    case 1:
        ranges_trim_below(r, any_u32());
        break;
    default:
        ranges_bytes(r, any_u32(), any_u32());
        break;
    }
    //@ assert r->count <= sizeof(r->at) / sizeof(r->at[0]);
}

int
main(void)
{
    struct seq_ranges r;
    uint32_t a = any_u32(), b = any_u32();

    ANY(r);
    r.count = (uint8_t)Frama_C_interval(0, TCP_RANGES_MAX);
    seq_gt(a, b);
    seq_ge(a, b);
    seq_max(a, b);
    seq_min(a, b);
    //@ split r.count;
    change(&r);
    return 0;
}
