// SPDX-License-Identifier: BSD-3-Clause
// The hub: the port table, the link, the opener's answers, and the end of the turn where everything
// meets. Bytes are relay.c's, accepted sockets are socket_link.c's.
#include "channel/internal.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAULT_BURST       8
#define FAULT_INTERVAL_US UINT64_C(10000000)
#define SECOND_US         UINT64_C(1000000)

// --- sessions ------------------------------------------------------------------------------------

// Looked for as seldom as is right to a quarter of the least idle=, and only while there are
// sessions: traffic costs a note of the time, and no timer.
static void
watch_idle(struct hub *hub)
{
    if (hub->idle_armed || hub->idle_min_s == 0)
        return;
    hub->idle_armed = true;
    loop_timer_set(hub->loop, hub->idle_timer,
                   loop_now_us(hub->loop) + hub->idle_min_s * (SECOND_US / 4));
}

static void
on_idle_timer(void *ctx)
{
    struct hub *hub = ctx;
    hub->idle_armed = false;
    relay_reset_idle(hub);
    socket_reset_idle(hub);
    if (hub->session_count > 0)
        watch_idle(hub);
}

bool
hub_is_idle(const struct hub *hub, uint16_t channel, uint64_t moved_us)
{
    uint32_t idle_s = hub->channels[channel].config.idle_s;
    return idle_s && loop_now_us(hub->loop) - moved_us >= idle_s * SECOND_US;
}

bool
hub_session_begin(struct hub *hub, uint16_t channel)
{
    struct channel *ch = &hub->channels[channel];
    uint32_t left_out;
    if (ch->config.max && ch->sessions >= ch->config.max) {
        if (!ch->full_told && log_limit_pass(&ch->log_limit, loop_now_us(hub->loop), &left_out))
            log_warn("%s: channel %s: refused, it has %u connections, as many as it may",
                     hub->guest, channel_port_text(ch->config.port).text, ch->sessions);
        ch->full_told = true;
        ch->counters->refused++;
        return false;
    }
    ch->full_told = false;
    if (ch->config.conn_rate && !bucket_take(&ch->conn_rate, loop_now_us(hub->loop))) {
        if (!ch->conn_rate_told &&
            log_limit_pass(&ch->log_limit, loop_now_us(hub->loop), &left_out))
            log_warn("%s: channel %s: refused, more than %u connections per second", hub->guest,
                     channel_port_text(ch->config.port).text, ch->config.conn_rate);
        ch->conn_rate_told = true;
        ch->counters->refused++;
        return false;
    }
    ch->conn_rate_told = false;
    ch->counters->connections = ++ch->sessions;
    hub->session_count++;
    watch_idle(hub);
    return true;
}

void
hub_session_end(struct hub *hub, uint16_t channel)
{
    struct channel *ch = &hub->channels[channel];
    ch->counters->connections = --ch->sessions;
    hub->session_count--;
}

void
hub_log_fault(struct hub *hub, uint16_t channel, const char *what, int errnum)
{
    struct channel *ch = &hub->channels[channel];
    uint32_t left_out;
    if (!log_limit_pass(&ch->log_limit, loop_now_us(hub->loop), &left_out))
        return;
    char more[48] = "";
    if (left_out > 0)
        snprintf(more, sizeof more, " (%u lines left out)", left_out);
    log_warn("%s: channel %s: %s: %s: %s%s", hub->guest, channel_port_text(ch->config.port).text,
             ch->config.text ? ch->config.text : "host end", what, strerrordesc_np(errnum), more);
}

void
hub_opened(struct hub *hub, uint64_t session, const int *fds, size_t nfds)
{
    uint32_t index = session & SESSION_INDEX_MASK;
    uint32_t generation = (uint32_t)(session >> SESSION_INDEX_BITS);
    if (index < hub->max_conns)
        relay_opened(hub, index, generation, fds, nfds);
    else if (index < 2 * hub->max_conns)
        socket_opened(hub, index - hub->max_conns, generation, fds, nfds);
    else
        inward_opened(hub, index - 2 * hub->max_conns, generation, fds, nfds);
}

void
hub_refused(struct hub *hub, uint64_t session, int why)
{
    uint32_t index = session & SESSION_INDEX_MASK;
    uint32_t generation = (uint32_t)(session >> SESSION_INDEX_BITS);
    log_debug("%s: session %" PRIu64 ": refused: %s", hub->guest, session, strerrordesc_np(-why));
    if (index < hub->max_conns)
        relay_refused(hub, index, generation);
    else if (index < 2 * hub->max_conns)
        socket_refused(hub, index - hub->max_conns, generation);
    else
        inward_refused(hub, index - 2 * hub->max_conns, generation);
}

// --- the turn ------------------------------------------------------------------------------------

// The link's queue refers to ring memory, which the next ACK may free: so the two are flushed in
// one go, always.
void
hub_flush(struct hub *hub)
{
    stack_flush(hub->stack, loop_now_us(hub->loop));
    if (hub->link)
        link_flush(hub->link);
}

// The stack lives as long as the hub, a link does not: what it had counted is in `before` by then.
static void
publish_counters(struct hub *hub)
{
    static const struct link_stats none;
    const struct link_stats *link = hub->link ? link_stats_of(hub->link) : &none;
    const struct stack_stats *stack = stack_stats_of(hub->stack);
    const struct link_counters *before = &hub->before;
    hub->counters->link = (struct link_counters){
        .up = hub->link != NULL,
        .frames_in = before->frames_in + link->frames_in,
        .frames_out = before->frames_out + link->frames_out,
        .bytes_in = before->bytes_in + link->bytes_in,
        .bytes_out = before->bytes_out + link->bytes_out,
        .dropped_in = before->dropped_in + link->dropped_in,
        .dropped_out = before->dropped_out + link->dropped_out,
        .bad_checksum = before->bad_checksum + stack->dropped_checksum,
        .malformed = before->malformed + stack->dropped_malformed,
        .not_for_us = before->not_for_us + stack->dropped_not_for_us,
        .no_memory = before->no_memory + stack->dropped_no_ring,
        .retransmits = before->retransmits + stack->retransmits,
        .timeouts = before->timeouts + stack->timeouts,
        .resets_sent = before->resets_sent + stack->resets_sent,
    };
}

static void
forget_link(struct hub *hub)
{
    const struct link_stats *s = link_stats_of(hub->link);
    hub->before.frames_in += s->frames_in;
    hub->before.frames_out += s->frames_out;
    hub->before.bytes_in += s->bytes_in;
    hub->before.bytes_out += s->bytes_out;
    hub->before.dropped_in += s->dropped_in;
    hub->before.dropped_out += s->dropped_out;
    link_free(hub->link);
    hub->link = NULL;
}

static void
on_turn_end(void *ctx)
{
    struct hub *hub = ctx;
    if (hub->inward_due)
        inward_ask(hub);
    relay_pump_ready(hub);
    hub_flush(hub);
    publish_counters(hub);

    uint64_t deadline = stack_next_deadline(hub->stack);
    if (hub->ready_first || hub->inward_due)
        deadline = loop_now_us(hub->loop); // somebody has more to do: another turn at once
    if (deadline == UINT64_MAX)
        loop_timer_clear(hub->loop, hub->timer);
    else
        loop_timer_set(hub->loop, hub->timer, deadline);
}

static void
on_timer(void *ctx)
{
    struct hub *hub = ctx;
    stack_timers(hub->stack, loop_now_us(hub->loop));
}

// --- the link ------------------------------------------------------------------------------------

static void
on_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct hub *hub = ctx;
    uint64_t now_us = loop_now_us(hub->loop);
    for (size_t i = 0; i < count; i++) {
        if (hub->captures.count > 0)
            captures_take(&hub->captures, &frames[i], false);
        stack_input(hub->stack, &frames[i], now_us);
    }
    hub_flush(hub); // the frames are only valid here
}

static void
take_caps(struct hub *hub)
{
    const struct link_caps *caps = link_caps_of(hub->link);
    uint16_t mtu = hub->mtu < caps->mtu_max ? hub->mtu : caps->mtu_max;
    stack_set_link(hub->stack, mtu, caps->csum_offload, caps->tso, caps->tso6);
}

static void
on_link_writable(void *ctx)
{
    struct hub *hub = ctx;
    take_caps(hub);
    stack_unblock(hub->stack);
}

static void
on_link_down(void *ctx, const char *why)
{
    struct hub *hub = ctx;
    uint32_t left_out;
    // Who is behind the link may come and go as fast as he likes.
    if (log_limit_pass(&hub->link_limit, loop_now_us(hub->loop), &left_out))
        log_info("%s: link: %s; %u connections closed", hub->guest, why, hub->session_count);
    forget_link(hub);
    stack_link_down(hub->stack);
    inward_link_down(hub);
    if (hub->on_down)
        hub->on_down(hub->on_down_ctx);
}

const struct link_events *
hub_link_events(void)
{
    static const struct link_events events = {
        .on_frames = on_frames,
        .on_writable = on_link_writable,
        .on_down = on_link_down,
    };
    return &events;
}

void
hub_attach_link(struct hub *hub, struct link *link)
{
    if (hub->link) {
        forget_link(hub);
        stack_link_down(hub->stack);
    }
    hub->link = link;
    hub->inward_due = hub->inward_count > 0;
    take_caps(hub);
}

void
hub_on_link_down(struct hub *hub, void (*on_down)(void *ctx), void *ctx)
{
    hub->on_down = on_down;
    hub->on_down_ctx = ctx;
}

// --- making --------------------------------------------------------------------------------------

int
hub_put_channel(struct hub *hub, uint16_t index, const struct hub_channel *channel)
{
    assert(index < HUB_CHANNELS_MAX && !hub->channels[index].used);
    assert(channel->port != 0 || channel->inward);
    if (!channel->inward && hub->port_channel[channel->port])
        return -EEXIST;
    struct limit *limit = NULL;
    if (channel->rate && !(limit = limit_new(hub->loop, channel->rate, channel->burst)))
        return -ENOMEM;
    struct channel_counters *counters = &hub->counters->channels[index];
    counters->connections = 0;
    hub->channels[index] = (struct channel){
        .config = *channel,
        .used = true,
        .counters = counters,
        .limit = limit,
        .log_fd = -1,
        .log_limit =
            {
                .burst = FAULT_BURST,
                .interval_us = FAULT_INTERVAL_US,
                .tokens = FAULT_BURST,
                .refilled_us = loop_now_us(hub->loop),
            },
    };
    if (channel->conn_rate)
        bucket_init(&hub->channels[index].conn_rate, channel->conn_rate, channel->conn_rate,
                    loop_now_us(hub->loop));
    if (channel->idle_s && (hub->idle_min_s == 0 || channel->idle_s < hub->idle_min_s))
        hub->idle_min_s = channel->idle_s;
    if (index >= hub->channel_count)
        hub->channel_count = index + 1u;
    if (channel->inward)
        return inward_add(hub, index);
    hub->port_channel[channel->port] = (uint16_t)(index + 1);
    return 0;
}

int
hub_add_channel(struct hub *hub, const struct hub_channel *channel)
{
    uint16_t index = 0;
    while (index < HUB_CHANNELS_MAX && hub->channels[index].used)
        index++;
    if (index == HUB_CHANNELS_MAX)
        return -ENOSPC;
    int rc = hub_put_channel(hub, index, channel);
    return rc < 0 ? rc : index;
}

// Who lingers has no use for the log any more.
void
hub_remove_channel(struct hub *hub, uint16_t index)
{
    assert(index < HUB_CHANNELS_MAX);
    struct channel *ch = &hub->channels[index];
    if (!ch->used)
        return;
    assert(!ch->config.inward);
    hub->port_channel[ch->config.port] = 0;
    relay_reset_channel(hub, index);
    socket_reset_channel(hub, index);
    assert(ch->sessions == 0);
    limit_free(ch->limit);
    if (ch->log_fd >= 0)
        close(ch->log_fd);
    *ch = (struct channel){.log_fd = -1};
}

void
hub_set_log(struct hub *hub, uint16_t channel, int fd)
{
    assert(channel < HUB_CHANNELS_MAX);
    struct channel *ch = &hub->channels[channel];
    if (!ch->used || ch->log_fd >= 0)
        close(fd); // its connections borrow the one that is there
    else
        ch->log_fd = fd;
}

void
hub_capture(struct hub *hub, int fd, uint32_t snaplen)
{
    captures_add(&hub->captures, fd, snaplen);
}

struct hub *
hub_new(struct loop *loop, const struct hub_config *config)
{
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    uint32_t n = config->stack.max_conns;
    assert(n <= (SESSION_INDEX_MASK - HUB_CHANNELS_MAX) / 2);
    hub->loop = loop;
    hub->lingering.loop = loop;
    captures_init(&hub->captures, loop);
    hub->opener = config->opener;
    hub->max_conns = n;
    hub->mtu = config->stack.mtu;
    hub->guest_addr = config->stack.guest_addr;
    hub->inward_timer = -1;
    if (!config->counters)
        hub->own_counters = calloc(1, sizeof *hub->own_counters);
    hub->counters = config->counters ? config->counters : hub->own_counters;
    if (hub->counters)
        hub->before = hub->counters->link;
    strncpy(hub->guest, config->guest, sizeof hub->guest - 1);
    hub->link_limit = (struct log_limit){
        .burst = FAULT_BURST, .interval_us = FAULT_INTERVAL_US, .tokens = FAULT_BURST};
    hub->channels = calloc(HUB_CHANNELS_MAX, sizeof *hub->channels);
    hub->port_channel = calloc(65536, sizeof *hub->port_channel);
    hub->relays = calloc(n, sizeof *hub->relays);
    hub->sockets = calloc(n, sizeof *hub->sockets);
    hub->timer = loop_timer_new(loop, on_timer, hub);
    hub->idle_timer = loop_timer_new(loop, on_idle_timer, hub);
    hub->stack = stack_new(&config->stack, &relay_stack_ops, hub, loop_now_us(loop));
    if (!hub->counters || !hub->channels || !hub->port_channel || !hub->relays || !hub->sockets ||
        hub->timer < 0 || hub->idle_timer < 0 || !hub->stack ||
        ring_pool_init(&hub->kept, 2 * n, SPLICE_KEPT_BYTES) < 0) {
        hub_free(hub);
        return NULL;
    }
    loop_on_turn_end(loop, on_turn_end, hub);
    return hub;
}

void
hub_free(struct hub *hub)
{
    if (!hub)
        return;
    if (hub->link)
        link_free(hub->link);
    if (hub->relays)
        relay_close_all(hub);
    if (hub->sockets)
        socket_close_all(hub);
    inward_free(hub);
    linger_free_all(&hub->lingering);
    captures_fini(&hub->captures);
    for (size_t i = 0; hub->channels && i < hub->channel_count; i++) {
        limit_free(hub->channels[i].limit);
        if (hub->channels[i].used && hub->channels[i].log_fd >= 0)
            close(hub->channels[i].log_fd);
    }
    loop_timer_free(hub->loop, hub->timer);
    loop_timer_free(hub->loop, hub->idle_timer);
    stack_free(hub->stack);
    ring_pool_fini(&hub->kept);
    free(hub->sockets);
    free(hub->relays);
    free(hub->port_channel);
    free(hub->channels);
    free(hub->own_counters);
    free(hub);
}

void
hub_lift_rates(struct hub *hub)
{
    for (size_t i = 0; i < hub->channel_count; i++)
        if (hub->channels[i].limit)
            limit_lift(hub->channels[i].limit);
}

bool
hub_guest_has_finished(const struct hub *hub)
{
    return relay_guest_has_finished(hub) && socket_guest_has_finished(hub) && !hub->lingering.first;
}

const struct stack_stats *
hub_stack_stats(const struct hub *hub)
{
    return stack_stats_of(hub->stack);
}

uint32_t
hub_session_count(const struct hub *hub)
{
    return hub->session_count;
}
