// SPDX-License-Identifier: BSD-3-Clause
// ICMP echo (RFC 792): a ping of the channel address is answered when the answer fits one frame of
// the link's MTU. Everything else is ignored: there is no path MTU to learn on one hop.
#include "stack/internal.h"

#include "wire/checksum.h"
#include "wire/icmp.h"

void
icmp_input(struct stack *s, const struct ether_header *eth, const struct ipv4_header *ip,
           const struct frame *frame, size_t offset)
{
    size_t len = (size_t)ip->total_len - ip->header_len;
    struct cursor c = cursor_of(s->scratch, len);
    struct icmp_header h;
    if (scratch_is_full(s))
        return;
    if (!frame_copy(frame, offset, s->scratch, len) || !icmp_parse(&c, &h)) {
        s->stats.dropped_malformed++;
        return;
    }
    if (checksum_fold(checksum_add(0, s->scratch, len)) != 0xffff) {
        s->stats.dropped_checksum++;
        return;
    }
    if (h.type != ICMP_ECHO_REQUEST || h.code != 0 || IPV4_HEADER_LEN + len > s->config.mtu) {
        s->stats.dropped_not_for_us++;
        return;
    }

    h.type = ICMP_ECHO_REPLY;
    h.checksum = 0;
    struct writer w = writer_of(s->scratch, ICMP_HEADER_LEN);
    icmp_emit(&w, &h);
    h.checksum = (uint16_t)~checksum_fold(checksum_add(0, s->scratch, len));
    w = writer_of(s->scratch, ICMP_HEADER_LEN);
    icmp_emit(&w, &h);
    output_ipv4(s, &eth->src, ip->src, IPV4_ICMP, len);
}
