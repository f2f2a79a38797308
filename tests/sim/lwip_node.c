// SPDX-License-Identifier: BSD-3-Clause
// lwIP as the guest: its raw API in this one thread, its clock and its sequence numbers ours. lwIP
// keeps its state in globals, so there is one such node in a process, once.

#include "node.h"
#include "world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// lwIP's headers do not compile without warnings.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#pragma GCC diagnostic pop

struct lwip_node {
    struct node node;
    struct netif netif;
    struct tcp_pcb *listener[PLAN_FLOWS_MAX];
    uint64_t deadline_us;
    uint32_t isn; // base of the sequence numbers to come
};

// The world that lwIP's clock belongs to; lwIP gives sys_now and tcp_next_iss no context.
static struct lwip_node *self;

// Both replace lwIP's own by symbol interposition.
uint32_t
sys_now(void)
{
    return self ? (uint32_t)(self->node.world->now_us / 1000) : 0;
}

uint32_t
tcp_next_iss(struct tcp_pcb *pcb)
{
    (void)pcb;
    return self->node.world->plan.wrap ? 0u - (uint32_t)rng_below(&self->node.rng, 65536)
                                       : (uint32_t)rng_next(&self->node.rng);
}

static struct lwip_node *
of(struct node *n)
{
    return (struct lwip_node *)n;
}

static void
detach(struct end *e)
{
    struct tcp_pcb *pcb = e->pcb;

    if (!pcb)
        return;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
    e->pcb = NULL;
}

static void
drop_held(struct end *e)
{
    if (e->held)
        pbuf_free(e->held);
    e->held = NULL;
    e->held_at = 0;
}

// lwIP 2.1.3 leaves a FIN on the first half of a segment that it splits to fit a small window
// (tcp_split_unsent_seg): a FIN before the last byte.
static void
watch_fin(struct lwip_node *n, const struct packet *p)
{
    struct tcp_view v;
    struct flow *f;
    struct end *e;

    if (!packet_tcp(p, &v) || !(v.flags & TCP_FIN))
        return;
    f = world_find_flow(n->node.world, v.dport, v.sport);
    e = f ? &f->end[GUEST] : NULL;
    if (e && e->isn_known && v.seq + (uint32_t)v.payload_len - e->isn - 1 != (uint32_t)e->sent)
        flow_peer_fault(f);
}

static void
note_isn(struct lwip_node *n, const struct packet *p)
{
    struct tcp_view v;
    struct flow *f;

    if (!packet_tcp(p, &v) || !(v.flags & TCP_SYN))
        return;
    f = world_find_flow(n->node.world, v.dport, v.sport);
    if (!f)
        return;
    f->end[GUEST].isn = v.seq;
    f->end[GUEST].isn_known = true;
}

// --- frames --------------------------------------------------------------------------------------

static err_t
link_output(struct netif *netif, struct pbuf *p)
{
    struct lwip_node *n = netif->state;
    struct packet *packet = packet_new(p->tot_len);

    pbuf_copy_partial(p, packet->data, p->tot_len, 0);
    note_isn(n, packet);
    watch_fin(n, packet);
    world_emit(n->node.world, GUEST, packet);
    return ERR_OK;
}

static void
input(struct node *node, struct packet **batch, int count)
{
    struct lwip_node *n = of(node);

    for (int i = 0; i < count; i++) {
        struct packet *packet = batch[i];
        struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)packet->len, PBUF_RAM);

        assert(p);
        pbuf_take(p, packet->data, (u16_t)packet->len);
        if (n->netif.input(p, &n->netif) != ERR_OK)
            pbuf_free(p);
        free(packet);
    }
}

// --- reading ------------------------------------------------------------------------------------

static bool
node_read(struct node *node, struct end *e)
{
    struct pbuf *p = e->held;
    size_t left = p ? p->len - e->held_at : 0, taken;

    if (!p) {
        if (e->fin_held)
            end_eof(e);
        return false;
    }
    node->world->progress++;
    taken = end_read_budget(e, left);
    end_bytes(e, (uint8_t *)p->payload + e->held_at, taken);
    e->held_at += taken;
    if (e->held_at == p->len) {
        e->held = p->next;
        e->held_at = 0;
        p->next = NULL;
        p->tot_len = p->len;
        pbuf_free(p);
    }
    // behind the FIN the window is of no interest
    if (e->pcb && !e->fin_held)
        tcp_recved(e->pcb, (u16_t)taken);
    end_read_done(e);
    return true;
}

// --- callbacks -----------------------------------------------------------------------------------

static err_t
on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct end *e = arg;

    (void)pcb;
    (void)err;
    if (!e) {
        if (p)
            pbuf_free(p);
        return ERR_OK;
    }
    if (!p)
        e->fin_held = true;
    else if (e->held)
        pbuf_cat(e->held, p);
    else
        e->held = p;
    end_readable(e);
    return ERR_OK;
}

static err_t
on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    (void)pcb;
    (void)len;
    if (arg)
        end_writable(arg);
    return ERR_OK;
}

static enum end_result
result_of(const struct end *e, err_t err)
{
    switch (err) {
    case ERR_CLSD:
        return END_CLEAN;
    case ERR_RST:
        return e->established || e->flow->plan->opener == HOST ? END_RESET : END_REFUSED;
    default:
        return END_TIMED_OUT;
    }
}

static void
on_err(void *arg, err_t err)
{
    struct end *e = arg;

    if (!e)
        return;
    e->pcb = NULL; // freed by lwIP
    // LAST-ACK was answered, but the application has not read to the end yet
    if (err == ERR_CLSD && !e->eof)
        return;
    while (e->held && e->plan->read_pause_ppm == 0 && node_read(e->node, e))
        e->next_read_us = PLAN_NEVER;
    drop_held(e);
    // lwIP counts LAST-ACK's patience from the last segment it got, which may be long ago
    if (err == ERR_ABRT && e->eof && e->fin_sent)
        flow_peer_fault(e->flow);
    if (e->result == END_RUNNING)
        end_closed(e, result_of(e, err));
}

static err_t
on_connected(void *arg, struct tcp_pcb *pcb, err_t err)
{
    (void)pcb;
    (void)err;
    if (arg)
        end_established(arg);
    return ERR_OK;
}

static void
attach(struct end *e, struct tcp_pcb *pcb)
{
    e->pcb = pcb;
    tcp_arg(pcb, e);
    tcp_recv(pcb, on_recv);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_err);
}

static err_t
on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    struct lwip_node *n = arg;
    struct flow *f;
    struct end *e;

    if (err != ERR_OK || !pcb)
        return ERR_VAL;
    f = world_find_flow(n->node.world, pcb->remote_port, pcb->local_port);
    if (!f)
        world_fail(n->node.world, "connection from port %u to the guest's %u, of no flow",
                   pcb->remote_port, pcb->local_port);
    e = &f->end[GUEST];
    if (e->established)
        world_fail(n->node.world, "flow %d: accepted twice", f->index);
    attach(e, pcb);
    end_opened(e);
    end_established(e);
    return ERR_OK;
}

// --- what the world asks -------------------------------------------------------------------------

static void
flush(struct node *node)
{
    struct lwip_node *n = of(node);
    uint32_t ms = sys_timeouts_sleeptime();
    uint64_t now_us = node->world->now_us;

    n->deadline_us = ms == UINT32_MAX ? PLAN_NEVER : (now_us / 1000 + ms) * 1000;
    if (ms == 0 && n->deadline_us < now_us)
        n->deadline_us = now_us;
}

static void
timers(struct node *node)
{
    (void)node;
    sys_check_timeouts();
}

static uint64_t
deadline(const struct node *node)
{
    return ((const struct lwip_node *)node)->deadline_us;
}

static void
unblock(struct node *node)
{
    (void)node; // lwIP's driver is never refused
}

static uint32_t
live(const struct node *node)
{
    (void)node; // its TIME-WAIT is its own affair
    return 0;
}

// An end that is through with both directions has no callback to tell it: it is in TIME-WAIT, or
// gone from LAST-ACK before it had read everything.
static void
poll(struct node *node)
{
    struct world *w = node->world;

    for (int i = 0; i < w->plan.flow_count; i++) {
        struct end *e = &w->flow[i].end[GUEST];
        struct tcp_pcb *pcb = e->pcb;

        if (!e->opened || e->result != END_RUNNING || !e->established)
            continue;
        // may vanish from now on, 2 MSL later
        if (pcb && pcb->state == TIME_WAIT)
            detach(e);
        if (!e->pcb && e->eof && e->fin_sent)
            end_closed(e, END_CLEAN);
    }
}

static void
link_down(struct node *node)
{
    (void)node;
}

static void
settle(struct node *node)
{
    (void)node;
}

static void
node_free(struct node *node)
{
    self = NULL;
    free(node);
}

// --- what ends ask -------------------------------------------------------------------------------

static void
open_active(struct node *node, struct end *e)
{
    struct flow *f = e->flow;
    struct tcp_pcb *pcb = tcp_new();
    ip_addr_t host;
    err_t err;

    assert(pcb);
    ip_addr_set_ip4_u32_val(host, lwip_htonl(PLAN_HOST_ADDR));
    attach(e, pcb);
    if (f->guest_port && tcp_bind(pcb, IP_ADDR_ANY, f->guest_port) != ERR_OK)
        world_fail(node->world, "lwIP cannot bind port %u", f->guest_port);
    err = tcp_connect(pcb, &host, f->host_port, on_connected);
    if (err == ERR_BUF) // its first ephemeral port may be 0
        err = tcp_connect(pcb, &host, f->host_port, on_connected);
    if (err != ERR_OK)
        world_fail(node->world, "lwIP cannot connect: %d", err);
    f->guest_port = pcb->local_port;
}

static void
answer(struct node *node, struct end *e, bool accept)
{
    (void)node;
    (void)e;
    (void)accept;
    assert(false && "lwIP accepts by itself");
}

static size_t
node_write(struct node *node, struct end *e, size_t len)
{
    struct tcp_pcb *pcb = e->pcb;
    uint8_t bytes[8192];
    size_t room = pcb ? tcp_sndbuf(pcb) : 0;
    err_t err;

    (void)node;
    if (len > room)
        len = room;
    if (len > sizeof(bytes))
        len = sizeof(bytes);
    if (len == 0)
        return 0;
    end_fill(e, e->sent, bytes, len);
    err = tcp_write(pcb, bytes, (u16_t)len, TCP_WRITE_FLAG_COPY);
    if (err != ERR_OK)
        return 0; // queue full: on_sent tells when to go on
    node->world->progress++;
    tcp_output(pcb);
    return len;
}

static void
node_shutdown(struct node *node, struct end *e)
{
    err_t err = e->pcb ? tcp_shutdown(e->pcb, 0, 1) : ERR_OK;

    if (err != ERR_OK)
        world_fail(node->world, "lwIP cannot shut down: %d", err);
}

static void
node_abort(struct node *node, struct end *e)
{
    struct tcp_pcb *pcb = e->pcb;

    (void)node;
    detach(e);
    drop_held(e);
    if (pcb)
        tcp_abort(pcb);
    end_closed(e, END_ABORTED);
}

static const struct node_ops ops = {
    .input = input,
    .timers = timers,
    .flush = flush,
    .deadline = deadline,
    .unblock = unblock,
    .live = live,
    .poll = poll,
    .link_down = link_down,
    .settle = settle,
    .free = node_free,
    .open = open_active,
    .answer = answer,
    .write = node_write,
    .read = node_read,
    .shutdown = node_shutdown,
    .abort = node_abort,
    .abort_after_send = NULL, // ours only
};

static err_t
netif_start(struct netif *netif)
{
    struct lwip_node *n = netif->state;

    netif->name[0] = 's';
    netif->name[1] = 'm';
    netif->mtu = n->node.plan->mtu;
    netif->hwaddr_len = 6;
    memcpy(netif->hwaddr, (const uint8_t[]){2, 0, 0, 0, 0, GUEST + 1}, 6);
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = link_output;
    return ERR_OK;
}

static void
listen_on(struct lwip_node *n, int i)
{
    const struct flow_plan *f = &n->node.world->plan.flow[i];
    struct tcp_pcb *pcb;

    if (f->opener != HOST || f->fate == FATE_CLOSED_PORT)
        return;
    pcb = tcp_new();
    assert(pcb && tcp_bind(pcb, IP_ADDR_ANY, f->guest_port) == ERR_OK);
    n->listener[i] = tcp_listen(pcb);
    assert(n->listener[i]);
    tcp_arg(n->listener[i], n);
    tcp_accept(n->listener[i], on_accept);
}

struct node *
lwip_node_new(struct world *w, enum side side)
{
    struct lwip_node *n = calloc(1, sizeof(*n));
    ip4_addr_t addr, mask, gateway = {0};

    assert(n && side == GUEST && !self);
    n->node = (struct node){.ops = &ops, .world = w, .side = side, .plan = &w->plan.node[side]};
    n->node.rng = rng_fork(w->plan.seed, 10 + (uint64_t)side);
    self = n;
    srand((unsigned)rng_next(&n->node.rng)); // LWIP_RAND
    lwip_init();
    addr.addr = lwip_htonl(PLAN_GUEST_ADDR);
    mask.addr = lwip_htonl(0xffffff00);
    netif_add(&n->netif, &addr, &mask, &gateway, n, netif_start, ethernet_input);
    netif_set_default(&n->netif);
    netif_set_up(&n->netif);
    for (int i = 0; i < w->plan.flow_count; i++)
        listen_on(n, i);
    flush(&n->node);
    return &n->node;
}
