// SPDX-License-Identifier: BSD-3-Clause
// prove: ipv6_parse skip_extensions has_length is_skippable options_may_be_ignored ipv6_emit
// prove: ipv6_addr_is_multicast ipv6_addr_is_solicited
// over: packets of every length and content, with extension headers of any number and length, any
// over: length in the frame; room of every length, any header to write; any two addresses; by way
// over: of cursor_model.c
#include "prove.h"

#include "cursor_model.c"
#include "wire/ipv6.c"

static void
parse(struct cursor c)
{
    struct ipv6_header h;

    if (ipv6_parse(&c, any_u64(), &h)) {
        //@ assert 40 <= h.header_len <= 104;
    }
}

static void
emit(struct writer w)
{
    struct ipv6_header h;

    ANY(h);
    ipv6_emit(&w, &h);
}

int
main(void)
{
    struct ipv6_addr a, b;

    ANY(a);
    ANY(b);
    switch (Frama_C_interval(0, 2)) {
    case 0:
        parse((struct cursor){.left = any_size(0, SIZE_MAX)});
        break;
    case 1:
        emit((struct writer){.left = any_size(0, SIZE_MAX)});
        break;
    default:
        ipv6_addr_is_multicast(&a);
        ipv6_addr_is_solicited(&a, &b);
        break;
    }
    return 0;
}
