// SPDX-License-Identifier: BSD-3-Clause
// ICMPv4 echo headers. What is answered is the stack's business.
#include "wire/icmp.h"

bool
icmp_parse(struct cursor *c, struct icmp_header *out)
{
    out->type = cursor_u8(c);
    out->code = cursor_u8(c);
    out->checksum = cursor_u16(c);
    out->id = cursor_u16(c);
    out->sequence = cursor_u16(c);
    return !c->failed;
}

void
icmp_emit(struct writer *w, const struct icmp_header *h)
{
    writer_u8(w, h->type);
    writer_u8(w, h->code);
    writer_u16(w, h->checksum);
    writer_u16(w, h->id);
    writer_u16(w, h->sequence);
}
