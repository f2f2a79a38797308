// SPDX-License-Identifier: BSD-3-Clause
// The tables of the numbers in control/types.h.
#include "control/types.h"

#include <assert.h>
#include <string.h>

#define ROW(type, field, gauge, text)                                                              \
    {                                                                                              \
        .name = #field, .help = text, .is_gauge = gauge, .offset = offsetof(struct type, field)    \
    }

const struct control_number control_channel_numbers[] = {
    ROW(control_channel, connections, true, "Connections now."),
    ROW(control_channel, opened, false, "Connections that reached the host."),
    ROW(control_channel, refused, false, "Connections that were refused."),
    ROW(control_channel, bytes_from_guest, false, "Bytes that the host took from the guest."),
    ROW(control_channel, bytes_to_guest, false, "Bytes that the host gave for the guest."),
};

const struct control_number control_link_numbers[] = {
    ROW(control_link, up, true, "Whether the guest's link is there."),
    ROW(control_link, frames_in, false, "Frames from the guest."),
    ROW(control_link, frames_out, false, "Frames to the guest."),
    ROW(control_link, bytes_in, false, "Bytes of frames from the guest."),
    ROW(control_link, bytes_out, false, "Bytes of frames to the guest."),
    ROW(control_link, dropped_in, false, "Frames from the guest that were none."),
    ROW(control_link, dropped_out, false, "Frames to the guest that the kernel did not take."),
    ROW(control_link, bad_checksum, false, "TCP segments with a wrong checksum."),
    ROW(control_link, malformed, false, "Frames with malformed headers."),
    ROW(control_link, not_for_us, false, "Frames for other addresses or of other protocols."),
    ROW(control_link, no_memory, false, "Segments for which no ring was left."),
    ROW(control_link, retransmits, false, "TCP segments sent again."),
    ROW(control_link, timeouts, false, "TCP retransmission timeouts."),
    ROW(control_link, resets_sent, false, "TCP resets sent."),
};

static_assert(sizeof(control_channel_numbers) / sizeof(control_channel_numbers[0]) ==
                  CONTROL_CHANNEL_NUMBERS,
              "the header says how many");
static_assert(sizeof(control_link_numbers) / sizeof(control_link_numbers[0]) ==
                  CONTROL_LINK_NUMBERS,
              "the header says how many");

uint64_t
control_number_get(const void *object, const struct control_number *number)
{
    uint64_t value;
    memcpy(&value, (const char *)object + number->offset, sizeof(value));
    return value;
}

void
control_number_set(void *object, const struct control_number *number, uint64_t value)
{
    memcpy((char *)object + number->offset, &value, sizeof(value));
}
