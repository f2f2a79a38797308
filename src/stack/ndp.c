// SPDX-License-Identifier: BSD-3-Clause
// Neighbour discovery (RFC 4861), the side that is asked: says where the channel address is, to one
// who wants to take it too (RFC 4862 5.4), and which prefix a guest may make itself an address
// from. Nothing is remembered and nothing sent unasked: what is told holds for ever.
#include "stack/internal.h"

#include "wire/ndp.h"

static const struct ipv6_addr all_nodes = {{0xff, 2, [15] = 1}};
static const struct ipv6_addr all_routers = {{0xff, 2, [15] = 2}};
static const struct mac all_nodes_mac = {{0x33, 0x33, 0, 0, 0, 1}};

// Routers speak of themselves from such an address (RFC 4861 6.1.2): made from our MAC (RFC 4291,
// appendix A).
static struct ipv6_addr
link_local(const struct stack *s)
{
    const uint8_t *m = s->config.mac.octet;
    return (struct ipv6_addr){
        {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
}

// RFC 4861 6.1.1 and 7.1.1, as far as they are the same. What the message itself says was parsed.
static bool
may_be_believed(const struct ipv6_header *ip, bool parsed, const struct ndp_solicit *m)
{
    bool has_source = !ipv6_addr_is_none(&ip->src);
    return ip->hop_limit == NDP_HOP_LIMIT && parsed && (has_source || !m->has_source_mac);
}

// To who asked, or to everybody where that is nobody yet.
static void
answer(struct stack *s, const struct ether_header *eth, const struct ipv6_header *ip,
       const struct ipv6_addr *src, size_t len)
{
    if (ipv6_addr_is_none(&ip->src))
        output_icmp6(s, &all_nodes_mac, src, &all_nodes, len);
    else
        output_icmp6(s, &eth->src, src, &ip->src, len);
}

static bool
is_bad_asker(const struct stack *s, const struct ipv6_header *ip)
{
    return !ipv6_addr_is_none(&ip->src) && is_bad_source6(s, &ip->src);
}

void
ndp_neighbour_solicited(struct stack *s, const struct ether_header *eth,
                        const struct ipv6_header *ip, struct cursor *c)
{
    struct ndp_solicit m;
    bool parsed = ndp_neighbour_solicit_parse(c, &m);
    if (!may_be_believed(ip, parsed, &m)) {
        s->stats.dropped_malformed++;
        return;
    }
    const struct ipv6_addr local = link_local(s);
    bool ours = ipv6_addr_eq(&m.target, &s->config.addr6) || ipv6_addr_eq(&m.target, &local);
    bool probes = ipv6_addr_is_none(&ip->src);
    bool addressed = ipv6_addr_is_solicited(&ip->dst, &m.target) ||
                     (!probes && ipv6_addr_eq(&ip->dst, &m.target));
    if (!ours || !addressed || is_bad_asker(s, ip)) {
        s->stats.dropped_not_for_us++;
        return;
    }
    struct writer w = writer_of(s->scratch, NDP_NEIGHBOUR_ADVERT_LEN);
    ndp_neighbour_advert_emit(&w, &(struct ndp_neighbour_advert){.target = m.target,
                                                                 .target_mac = s->config.mac,
                                                                 .solicited = !probes});
    answer(s, eth, ip, &m.target, NDP_NEIGHBOUR_ADVERT_LEN);
}

void
ndp_router_solicited(struct stack *s, const struct ether_header *eth, const struct ipv6_header *ip,
                     struct cursor *c)
{
    struct ndp_solicit m;
    bool parsed = ndp_router_solicit_parse(c, &m);
    if (!may_be_believed(ip, parsed, &m)) {
        s->stats.dropped_malformed++;
        return;
    }
    const struct ipv6_addr local = link_local(s);
    if (is_bad_asker(s, ip) ||
        !(ipv6_addr_eq(&ip->dst, &all_routers) || ipv6_addr_eq(&ip->dst, &local))) {
        s->stats.dropped_not_for_us++;
        return;
    }
    struct writer w = writer_of(s->scratch, NDP_ROUTER_ADVERT_LEN);
    ndp_router_advert_emit(&w, &(struct ndp_router_advert){.source_mac = s->config.mac,
                                                           .mtu = s->config.mtu,
                                                           .prefix = s->config.addr6});
    answer(s, eth, ip, &local, NDP_ROUTER_ADVERT_LEN);
}
