// SPDX-License-Identifier: BSD-3-Clause
// ARP (RFC 826): answers for the channel address and for no other, and remembers who the guest is
// so that the host can begin a connection. A handful of entries, the oldest gives way.
#include "stack/internal.h"

#include "wire/arp.h"

const struct mac *
neighbour_find(const struct stack *s, uint32_t addr)
{
    for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
        if (s->neighbours[i].addr == addr)
            return &s->neighbours[i].mac;
    }
    return NULL;
}

void
neighbour_learn(struct stack *s, uint32_t addr, const struct mac *mac)
{
    if (addr == 0 || addr == s->config.addr || mac_is_group(mac) || mac_eq(mac, &s->config.mac))
        return;
    for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
        if (s->neighbours[i].addr == addr) {
            s->neighbours[i].mac = *mac;
            return;
        }
    }
    s->neighbours[s->neighbour_next] = (struct neighbour){.addr = addr, .mac = *mac};
    s->neighbour_next = (s->neighbour_next + 1) % NEIGHBOURS_MAX;
}

void
neighbour_forget(struct stack *s, uint32_t addr)
{
    for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
        if (s->neighbours[i].addr == addr)
            s->neighbours[i].addr = 0;
    }
}

// The guest's MAC is known now: SYNs that waited for it go out.
static void
send_held_syns(struct stack *s, uint32_t addr)
{
    for (uint32_t i = 0; i < s->conns_touched; i++) {
        struct conn *c = &s->conns[i];
        if (c->state == TCP_SYN_SENT && c->unresolved && c->peer.addr == addr)
            tcp_send_first_syn(s, c);
    }
}

void
arp_input(struct stack *s, struct cursor *c)
{
    struct arp_packet p;
    if (!arp_parse(c, &p)) {
        s->stats.dropped_malformed++;
        return;
    }
    neighbour_learn(s, p.sender_ip, &p.sender_mac);
    if (s->unresolved > 0)
        send_held_syns(s, p.sender_ip);
    if (p.op != ARP_REQUEST || p.target_ip != s->config.addr || p.sender_ip == s->config.addr ||
        mac_is_group(&p.sender_mac)) {
        s->stats.dropped_not_for_us++;
        return;
    }
    output_arp(s, &p.sender_mac, ARP_REPLY, &p.sender_mac, p.sender_ip);
}
