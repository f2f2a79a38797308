// SPDX-License-Identifier: BSD-3-Clause
// UDP headers. Ports and payloads are the stack's business.
#include "wire/udp.h"

bool
udp_parse(struct cursor *c, size_t ip_payload, struct udp_header *out)
{
    out->src_port = cursor_u16(c);
    out->dst_port = cursor_u16(c);
    out->len = cursor_u16(c);
    out->checksum = cursor_u16(c);
    return !c->failed && out->len >= UDP_HEADER_LEN && out->len <= ip_payload;
}

void
udp_emit(struct writer *w, const struct udp_header *h)
{
    writer_u16(w, h->src_port);
    writer_u16(w, h->dst_port);
    writer_u16(w, h->len);
    writer_u16(w, h->checksum);
}
