// SPDX-License-Identifier: BSD-3-Clause
// Neighbour discovery messages. Who is answered, and whether the packet around a solicitation may
// be believed, is the stack's business.
#include "wire/ndp.h"

#include "wire/icmp6.h"
#include "wire/ipv6.h"

enum option_kind {
    OPTION_SOURCE_MAC = 1,
    OPTION_TARGET_MAC = 2,
    OPTION_PREFIX = 3,
    OPTION_MTU = 5,
};

#define FLAG_SOLICITED  0x40000000u
#define FLAG_OVERRIDE   0x20000000u
#define FLAG_ON_LINK    0x80
#define FLAG_AUTONOMOUS 0x40
#define PREFIX_BITS     64
#define HOP_LIMIT_TOLD  64

static bool
parse_options(struct cursor *c, struct ndp_solicit *out)
{
    while (c->left > 0) {
        uint8_t kind = cursor_u8(c);
        uint8_t units = cursor_u8(c); // of 8 bytes
        if (units == 0)
            return false;
        cursor_skip(c, units * 8u - 2u);
        if (kind == OPTION_SOURCE_MAC)
            out->has_source_mac = true;
    }
    return !c->failed;
}

bool
ndp_neighbour_solicit_parse(struct cursor *c, struct ndp_solicit *out)
{
    *out = (struct ndp_solicit){.has_source_mac = false};
    cursor_skip(c, 4);
    cursor_bytes(c, &out->target, sizeof(out->target));
    return !c->failed && !ipv6_addr_is_multicast(&out->target) && parse_options(c, out);
}

bool
ndp_router_solicit_parse(struct cursor *c, struct ndp_solicit *out)
{
    *out = (struct ndp_solicit){.has_source_mac = false};
    cursor_skip(c, 4);
    return !c->failed && parse_options(c, out);
}

static void
emit_mac(struct writer *w, enum option_kind kind, const struct mac *mac)
{
    writer_u8(w, (uint8_t)kind);
    writer_u8(w, 1);
    writer_bytes(w, mac, sizeof(*mac));
}

void
ndp_neighbour_advert_emit(struct writer *w, const struct ndp_neighbour_advert *a)
{
    icmp6_emit(w, &(struct icmp6_header){.type = NDP_NEIGHBOUR_ADVERT});
    writer_u32(w, FLAG_OVERRIDE | (a->solicited ? FLAG_SOLICITED : 0));
    writer_bytes(w, &a->target, sizeof(a->target));
    emit_mac(w, OPTION_TARGET_MAC, &a->target_mac);
}

void
ndp_router_advert_emit(struct writer *w, const struct ndp_router_advert *a)
{
    icmp6_emit(w, &(struct icmp6_header){.type = NDP_ROUTER_ADVERT});
    writer_u8(w, HOP_LIMIT_TOLD);
    writer_u8(w, 0);   // addresses are not had by DHCPv6, nor is anything else
    writer_u16(w, 0);  // router lifetime: no default route
    writer_zero(w, 8); // reachable and retransmission time: not told
    emit_mac(w, OPTION_SOURCE_MAC, &a->source_mac);
    writer_u8(w, OPTION_MTU);
    writer_u8(w, 1);
    writer_zero(w, 2);
    writer_u32(w, a->mtu);
    writer_u8(w, OPTION_PREFIX);
    writer_u8(w, 4);
    writer_u8(w, PREFIX_BITS);
    writer_u8(w, FLAG_ON_LINK | FLAG_AUTONOMOUS);
    writer_u32(w, NDP_FOREVER); // valid
    writer_u32(w, NDP_FOREVER); // preferred
    writer_zero(w, 4);
    writer_bytes(w, a->prefix.octet, PREFIX_BITS / 8);
    writer_zero(w, 16 - PREFIX_BITS / 8);
}
