// SPDX-License-Identifier: BSD-3-Clause
// ICMPv4 header (RFC 792): the 8 bytes of an echo. Checksums are the caller's, over the whole.
#pragma once

#include "base/cursor.h"

#define ICMP_HEADER_LEN   8
#define ICMP_ECHO_REPLY   0
#define ICMP_ECHO_REQUEST 8

struct icmp_header {
    uint8_t type, code;
    uint16_t checksum;
    uint16_t id, sequence;
};

bool icmp_parse(struct cursor *c, struct icmp_header *out);
void icmp_emit(struct writer *w, const struct icmp_header *h);
