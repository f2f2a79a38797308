// SPDX-License-Identifier: BSD-3-Clause
// prove: dhcp_parse parse_options parse_option parse_ip
// unreached: parse_option 1 behind a switch of which every case returns
// over: messages of every length and content; by way of cursor_model.c
// options: -eva-interprocedural-splits
#include "prove.h"

#include "cursor_model.c"
#include "wire/dhcp.c"

int
main(void)
{
    struct cursor c = {.left = any_size(0, SIZE_MAX)};
    struct dhcp_message m;

    dhcp_parse(&c, &m);
    return 0;
}
