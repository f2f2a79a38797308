// SPDX-License-Identifier: BSD-3-Clause
// prove: tcp_parse parse_options parse_syn_option parse_sack
// unreached: parse_syn_option 1 behind a switch of which every case returns
// over: segments of every length and content, any length in the IP header, any header length;
// over: by way of cursor_model.c
// options: -eva-interprocedural-splits -eva-slevel-function parse_sack:10
#include "prove.h"

#include "cursor_model.c"
#include "wire/tcp.c"

int
main(void)
{
    struct cursor c = {.left = any_size(0, SIZE_MAX)};
    struct tcp_header h;

    if (tcp_parse(&c, any_u64(), &h)) {
        //@ assert 20 <= h.header_len <= 60;
        //@ assert h.sack_count <= 4;
        //@ assert -1 <= h.wscale <= 14;
    }
    return 0;
}
