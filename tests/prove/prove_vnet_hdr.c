// SPDX-License-Identifier: BSD-3-Clause
// prove: vnet_hdr_parse parse_csum parse_gso get_u16 vnet_hdr_emit put_u16
// over: every header and every frame length to parse; both header lengths and any frame to write
#include "prove.h"

#include "link/vnet_hdr.c"

int
main(void)
{
    struct frame frame;
    uint8_t bytes[VNET_HDR_BYTES];
    uint8_t longer[VNET_HDR_V1_BYTES];

    ANY(bytes);
    ANY(frame);
    if (any_bool()) {
        vnet_hdr_parse(bytes, &frame);
    } else {
        frame.csum = (enum frame_csum)Frama_C_interval(0, 2);
        frame.gso = (enum frame_gso)Frama_C_interval(0, 2);
        vnet_hdr_emit(bytes, sizeof(bytes), &frame);
        vnet_hdr_emit(longer, sizeof(longer), &frame);
    }
    return 0;
}
