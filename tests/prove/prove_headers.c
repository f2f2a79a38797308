// SPDX-License-Identifier: BSD-3-Clause
// prove: ether_parse mac_is_group arp_parse icmp_parse icmp6_parse udp_parse ipv4_parse
// over: headers of every length from 0 to 60 bytes, which end with their memory, and frames of
// over: every length above, to 65550; any content; any length promised by the layer below
// options: -eva-slevel-function native_sum:100
#include "prove.h"

#include "base/cursor.c"
#include "wire/arp.c"
#include "wire/checksum.c"
#include "wire/ether.c"
#include "wire/icmp.c"
#include "wire/icmp6.c"
#include "wire/ipv4.c"
#include "wire/udp.c"

#define LEN_MAX   60
#define FRAME_MAX 65550

static uint8_t bytes[LEN_MAX], longs[FRAME_MAX];

static void
parse_ipv4(uint8_t *first, size_t len, int words)
{
    struct cursor c = cursor_of(first, len);
    struct ipv4_header ipv4;

    if (len > 0)
        *first = (uint8_t)(16 * Frama_C_interval(0, 15) + words);
    ipv4_parse(&c, any_u64(), &ipv4);
}

static void
parse_other(struct cursor c)
{
    struct ether_header ether;
    struct arp_packet arp;
    struct icmp_header icmp;
    struct icmp6_header icmp6;
    struct udp_header udp;

    switch (Frama_C_interval(0, 4)) {
    case 0:
        ether_parse(&c, &ether);
        break;
    case 1:
        arp_parse(&c, &arp);
        break;
    case 2:
        icmp_parse(&c, &icmp);
        break;
    case 3:
        icmp6_parse(&c, &icmp6);
        break;
    default:
        udp_parse(&c, any_u64(), &udp);
        break;
    }
}

// Each ends with its memory; it says that its header is as long as itself, or longer.
static void
parse_exact(size_t len)
{
    uint8_t *first = bytes + LEN_MAX - len;
    int words = (int)(len + 3) / 4, more = Frama_C_interval(words, 15);

    if (any_bool()) {
        parse_other(cursor_of(first, len));
    } else {
        //@ split more;
        parse_ipv4(first, len, more);
    }
}

int
main(void)
{
    size_t len = any_size(0, LEN_MAX);
    int words = Frama_C_interval(0, 15);

    ANY(bytes);
    ANY(longs);
    if (any_bool()) {
        //@ split len;
        parse_exact(len);
    } else if (any_bool()) {
        //@ split words;
        parse_ipv4(longs, any_size((size_t)words * 4, FRAME_MAX), words);
    } else {
        parse_other(cursor_of(longs, any_size(0, FRAME_MAX)));
    }
    return 0;
}
