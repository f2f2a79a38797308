// SPDX-License-Identifier: BSD-3-Clause
// Each connection's share of a link of small frames. Where a guest sends frames of 1 500 bytes, the
// windows of many connections together would overflow its transmit queue, which drops what does not
// fit, and whoever is hit falls behind the others. So they share what the queue holds. Counted in
// epochs: who moves more than a little in one counts in the next, also after a short silence.
#include "stack/internal.h"

static void
epoch_begin(struct stack *s)
{
    uint32_t epoch = (uint32_t)(s->now_us >> EPOCH_SHIFT);
    if (epoch == s->epoch)
        return;
    s->bulk_before = epoch - s->epoch <= EPOCHS_KEPT ? s->bulk_now : 0;
    s->bulk_now = 0;
    s->epoch = epoch;
}

void
share_note(struct stack *s, struct conn *c, uint32_t bytes)
{
    epoch_begin(s);
    if (c->epoch != s->epoch) {
        c->epoch = s->epoch;
        c->epoch_bytes = 0;
    }
    bool counted = c->epoch_bytes >= BULK_BYTES;
    c->epoch_bytes = bytes < BULK_BYTES ? c->epoch_bytes + bytes : BULK_BYTES;
    if (counted)
        c->epoch_bytes = BULK_BYTES;
    else if (c->epoch_bytes >= BULK_BYTES)
        s->bulk_now++;
}

uint32_t
share_of(struct stack *s)
{
    epoch_begin(s);
    uint32_t count = s->bulk_now > s->bulk_before ? s->bulk_now : s->bulk_before;
    if (s->config.tso || count <= 1)
        return UINT32_MAX;
    uint32_t share = SHARED_BYTES / count, frames = SHARE_MIN_FRAMES * s->config.mtu;
    uint32_t least = frames > SHARE_MIN_BYTES ? frames : SHARE_MIN_BYTES;
    return share > least ? share : least;
}
