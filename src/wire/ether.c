// SPDX-License-Identifier: BSD-3-Clause
// Ethernet II headers. Which addresses and types are ours is the stack's business.
#include "wire/ether.h"

#include <string.h>

const struct mac mac_broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

bool
ether_parse(struct cursor *c, struct ether_header *out)
{
    cursor_bytes(c, &out->dst, sizeof(out->dst));
    cursor_bytes(c, &out->src, sizeof(out->src));
    out->type = cursor_u16(c);
    return !c->failed && !mac_is_group(&out->src);
}

void
ether_emit(struct writer *w, const struct ether_header *h)
{
    writer_bytes(w, &h->dst, sizeof(h->dst));
    writer_bytes(w, &h->src, sizeof(h->src));
    writer_u16(w, h->type);
}

bool
mac_eq(const struct mac *a, const struct mac *b)
{
    return memcmp(a->octet, b->octet, sizeof(a->octet)) == 0;
}

bool
mac_is_group(const struct mac *m)
{
    return (m->octet[0] & 1) != 0;
}
