// SPDX-License-Identifier: BSD-3-Clause
// An IPv6 address, as every layer hands it on.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ipv6_addr {
    uint8_t octet[16]; // as on the wire
};

static inline bool
ipv6_addr_eq(const struct ipv6_addr *a, const struct ipv6_addr *b)
{
    return memcmp(a->octet, b->octet, sizeof(a->octet)) == 0;
}

// ::, which says that there is none.
static inline bool
ipv6_addr_is_none(const struct ipv6_addr *a)
{
    return ipv6_addr_eq(a, &(struct ipv6_addr){{0}});
}
