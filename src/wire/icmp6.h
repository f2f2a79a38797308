// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6 header (RFC 4443 2.1): what all messages begin with. Checksums are the caller's, over the
// whole and the pseudo-header.
#pragma once

#include "base/cursor.h"

#define ICMP6_HEADER_LEN   4
#define ICMP6_ECHO_LEN     8 // of an echo without its data
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY   129

struct icmp6_header {
    uint8_t type, code;
    uint16_t checksum;
};

bool icmp6_parse(struct cursor *c, struct icmp6_header *out);
void icmp6_emit(struct writer *w, const struct icmp6_header *h);
