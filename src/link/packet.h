// SPDX-License-Identifier: BSD-3-Clause
// Inside src/link only: what an AF_PACKET socket needs before its first frame. netns does it before
// it binds, where it may have the privilege for large buffers; link_new_packet once more, for a
// socket that was handed to us.
#pragma once

// Sets PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, PACKET_AUXDATA; grows the buffers as far as
// allowed. 0 or -errno.
int packet_prepare(int fd);
