// SPDX-License-Identifier: BSD-3-Clause
// prove: ether_emit arp_emit icmp_emit udp_emit ipv4_emit tcp_emit emit_syn_options emit_sack
// prove: sack_blocks tcp_sack_bytes dhcp_emit emit_options emit_option_u32
// over: room of every length, headers of any content; by way of cursor_model.c
// options: -eva-slevel-function ipv4_emit:20,emit_sack:20
#include "prove.h"

#include "cursor_model.c"
#include "wire/arp.c"
#include "wire/checksum.c"
#include "wire/ether.c"
#include "wire/icmp.c"
#include "wire/ipv4.c"
#include "wire/udp.c"

#define OPTION_END tcp_option_end
#define parse_options tcp_parse_options
#include "wire/tcp.c"
#undef OPTION_END
#undef parse_options
#include "wire/dhcp.c"

static void
emit(struct writer w)
{
    struct ether_header ether;
    struct arp_packet arp;
    struct icmp_header icmp;
    struct udp_header udp;
    struct ipv4_header ipv4;
    struct tcp_header tcp;
    struct dhcp_reply dhcp;

    ANY(ether);
    ANY(arp);
    ANY(icmp);
    ANY(udp);
    ANY(ipv4);
    ipv4.dont_fragment = any_bool();
    ANY(tcp);
    tcp.sack_permitted = any_bool();
    ANY(dhcp);
    switch (Frama_C_interval(0, 6)) {
    case 0:
        ether_emit(&w, &ether);
        break;
    case 1:
        arp_emit(&w, &arp);
        break;
    case 2:
        icmp_emit(&w, &icmp);
        break;
    case 3:
        udp_emit(&w, &udp);
        break;
    case 4:
        ipv4_emit(&w, &ipv4);
        break;
    case 5:
        tcp_emit(&w, &tcp);
        break;
    default:
        dhcp_emit(&w, &dhcp);
        break;
    }
}

int
main(void)
{
    emit((struct writer){.left = any_size(0, SIZE_MAX)});
    return 0;
}
