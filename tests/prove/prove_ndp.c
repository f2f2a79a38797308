// SPDX-License-Identifier: BSD-3-Clause
// prove: ndp_neighbour_solicit_parse ndp_router_solicit_parse parse_options
// prove: ndp_neighbour_advert_emit ndp_router_advert_emit emit_mac icmp6_emit
// over: solicitations of every length and content, with options of any number and length; room of
// over: every length, any advertisement and ICMPv6 header to write; by way of cursor_model.c
#include "prove.h"

#include "cursor_model.c"
#include "wire/icmp6.c"
#include "wire/ipv6.c"
#include "wire/ndp.c"

static void
parse(struct cursor c)
{
    struct ndp_solicit neighbour, router;

    // All of it was written: an alarm says if not.
    if (any_bool()) {
        if (ndp_neighbour_solicit_parse(&c, &neighbour))
            neighbour.has_source_mac &= !ipv6_addr_is_none(&neighbour.target);
    } else {
        if (ndp_router_solicit_parse(&c, &router))
            router.has_source_mac &= !ipv6_addr_is_none(&router.target);
    }
}

static void
emit(struct writer w)
{
    struct icmp6_header icmp6;
    struct ndp_neighbour_advert neighbour;
    struct ndp_router_advert router;

    ANY(icmp6);
    ANY(neighbour);
    neighbour.solicited = any_bool();
    ANY(router);
    switch (Frama_C_interval(0, 2)) {
    case 0:
        icmp6_emit(&w, &icmp6);
        break;
    case 1:
        ndp_neighbour_advert_emit(&w, &neighbour);
        break;
    default:
        ndp_router_advert_emit(&w, &router);
        break;
    }
}

int
main(void)
{
    if (any_bool())
        parse((struct cursor){.left = any_size(0, SIZE_MAX)});
    else
        emit((struct writer){.left = any_size(0, SIZE_MAX)});
    return 0;
}
