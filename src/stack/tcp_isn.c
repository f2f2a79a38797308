// SPDX-License-Identifier: BSD-3-Clause
// Initial sequence numbers (RFC 6528): a 4 us clock plus a keyed hash of the connection's identity.
#include "stack/internal.h"

uint32_t
tcp_isn(const struct stack *s, const struct stack_peer *peer)
{
    const uint32_t id[] = {s->config.addr, peer->addr,
                           (uint32_t)peer->local_port << 16 | peer->port};
    const struct {
        struct ipv6_addr us;
        struct stack_peer guest;
    } id6 = {s->config.addr6, *peer};
    uint64_t hash = peer_is_ipv6(peer) ? siphash(&s->config.secret, &id6, sizeof id6)
                                       : siphash(&s->config.secret, id, sizeof id);
    return (uint32_t)(hash >> 32) + (uint32_t)(s->now_us / 4);
}
