// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6 headers. What is answered is the stack's business.
#include "wire/icmp6.h"

bool
icmp6_parse(struct cursor *c, struct icmp6_header *out)
{
    out->type = cursor_u8(c);
    out->code = cursor_u8(c);
    out->checksum = cursor_u16(c);
    return !c->failed;
}

void
icmp6_emit(struct writer *w, const struct icmp6_header *h)
{
    writer_u8(w, h->type);
    writer_u8(w, h->code);
    writer_u16(w, h->checksum);
}
