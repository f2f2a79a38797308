// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6 (RFC 4443): a ping of the channel address is answered as in IPv4, solicitations go to
// ndp.c, everything else is ignored.
#include "stack/internal.h"

#include "wire/checksum.h"
#include "wire/icmp6.h"
#include "wire/ndp.h"

static void
echo(struct stack *s, const struct ether_header *eth, const struct ipv6_header *ip)
{
    size_t len = ip->payload_len;
    if (len < ICMP6_ECHO_LEN) {
        s->stats.dropped_malformed++;
        return;
    }
    if (!ipv6_addr_eq(&ip->dst, &s->config.addr6) || mac_is_group(&eth->dst) ||
        is_bad_source6(s, &ip->src) || IPV6_HEADER_LEN + len > s->config.mtu) {
        s->stats.dropped_not_for_us++;
        return;
    }
    struct writer w = writer_of(s->scratch, ICMP6_HEADER_LEN);
    icmp6_emit(&w, &(struct icmp6_header){.type = ICMP6_ECHO_REPLY});
    output_icmp6(s, &eth->src, &s->config.addr6, &ip->src, len);
}

void
icmp6_input(struct stack *s, const struct ether_header *eth, const struct ipv6_header *ip,
            const struct frame *frame, size_t offset)
{
    size_t len = ip->payload_len;
    if (scratch_is_full(s))
        return;
    if (len < ICMP6_HEADER_LEN || !frame_copy(frame, offset, s->scratch, len)) {
        s->stats.dropped_malformed++;
        return;
    }
    uint64_t sum = checksum_pseudo6(&ip->src, &ip->dst, IPV6_ICMP, ip->payload_len);
    if (checksum_fold(checksum_add(sum, s->scratch, len)) != 0xffff) {
        s->stats.dropped_checksum++;
        return;
    }
    struct cursor c = cursor_of(s->scratch, len);
    struct icmp6_header h;
    icmp6_parse(&c, &h);
    if (h.code != 0)
        s->stats.dropped_not_for_us++;
    else if (h.type == ICMP6_ECHO_REQUEST)
        echo(s, eth, ip);
    else if (h.type == NDP_NEIGHBOUR_SOLICIT)
        ndp_neighbour_solicited(s, eth, ip, &c);
    else if (h.type == NDP_ROUTER_SOLICIT)
        ndp_router_solicited(s, eth, ip, &c);
    else
        s->stats.dropped_not_for_us++;
}
