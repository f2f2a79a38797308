// SPDX-License-Identifier: BSD-3-Clause
// Requests for host ends wait in one queue per channel, in a table bounded at start; what waits is
// served from the front: a client channel connects, a server channel accepts. The kernel's backlog
// is the queue of host clients: none is accepted before a request waits for it. A reason to refuse
// is logged once per channel until it changes or is gone.
#include "host/opener.h"

#include "base/log.h"
#include "base/unix_listener.h"
#include "host/unix_end.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE         UINT32_MAX
#define PUMP_MAX     64       // requests served for one channel before others get their turn
#define LOG_BURST    8        // lines per channel, then one per interval
#define LOG_INTERVAL 10000000 // us
#define RETRY_NOW_US 1000     // to go on with a queue that PUMP_MAX cut short

struct request {
    uint32_t session;
    uint32_t channel;    // index; NONE: this entry is free
    uint32_t next, prev; // in the channel's queue; next alone in the free list
    uint32_t chain;      // next in the same hash bucket
};

struct channel {
    struct opener *opener;
    const struct channel_spec *spec;
    uint32_t first, last;          // queue of requests
    struct unix_listener listener; // server=on
    struct loop_io io;             // the listener's, watched only while a request waits
    bool watched;
    int timer; // reconnect=S, or to go on after PUMP_MAX; -1: none
    bool timer_armed;
    uint64_t made; // connections so far: the <n> of the identity
    int failing;   // errno of the last failure, 0 after a success
    struct log_limit limit;
};

struct opener {
    struct loop *loop;
    char guest[64];
    struct opener_events events;
    void *ctx;
    struct channel *channels;
    size_t channel_count;
    struct request *requests; // max_pending entries
    uint32_t *buckets;        // by session, a power of two
    uint32_t bucket_mask;
    uint32_t free; // first free request
    uint32_t pending;
};

static uint32_t
find(const struct opener *o, uint32_t session)
{
    uint32_t i = o->buckets[session & o->bucket_mask];
    while (i != NONE && o->requests[i].session != session)
        i = o->requests[i].chain;
    return i;
}

static void
enqueue(struct opener *o, uint32_t session, struct channel *ch)
{
    uint32_t i = o->free;
    struct request *r = &o->requests[i];
    o->free = r->next;
    *r = (struct request){.session = session,
                          .channel = (uint32_t)(ch - o->channels),
                          .next = NONE,
                          .prev = ch->last,
                          .chain = o->buckets[session & o->bucket_mask]};
    o->buckets[session & o->bucket_mask] = i;
    if (ch->last != NONE)
        o->requests[ch->last].next = i;
    else
        ch->first = i;
    ch->last = i;
    o->pending++;
}

static void
release(struct opener *o, uint32_t i)
{
    struct request *r = &o->requests[i];
    struct channel *ch = &o->channels[r->channel];
    if (r->prev != NONE)
        o->requests[r->prev].next = r->next;
    else
        ch->first = r->next;
    if (r->next != NONE)
        o->requests[r->next].prev = r->prev;
    else
        ch->last = r->prev;
    uint32_t *link = &o->buckets[r->session & o->bucket_mask];
    while (*link != i)
        link = &o->requests[*link].chain;
    *link = r->chain;
    r->channel = NONE;
    r->next = o->free;
    o->free = i;
    o->pending--;
}

// Whether a failure leaves the request waiting: for a host client, or for the next retry.
static bool
is_worth_waiting(const struct channel *ch, int why)
{
    if (ch->spec->device.server)
        return why == -EAGAIN;
    return ch->spec->device.reconnect_s > 0;
}

// Once per distinct reason in a row, and never more than the limit allows: a guest can make a
// service's state flap.
static void
note_failure(struct channel *ch, int why, const char *text)
{
    if (ch->failing == why)
        return;
    ch->failing = why;
    uint32_t left_out;
    if (!log_limit_pass(&ch->limit, loop_now_us(ch->opener->loop), &left_out))
        return;
    char more[96] = "";
    size_t len = 0;
    if (is_worth_waiting(ch, -why))
        len = (size_t)snprintf(more, sizeof(more), ", trying again every %u s",
                               ch->spec->device.reconnect_s);
    if (left_out > 0)
        snprintf(more + len, sizeof(more) - len, " (%u lines left out)", left_out);
    log_warn("%s: channel %u: %s%s", ch->opener->guest, ch->spec->port, text, more);
}

static void
note_success(struct channel *ch)
{
    if (ch->failing == 0)
        return;
    ch->failing = 0;
    uint32_t left_out;
    if (log_limit_pass(&ch->limit, loop_now_us(ch->opener->loop), &left_out))
        log_info("%s: channel %u: %s: answers again", ch->opener->guest, ch->spec->port,
                 ch->spec->text);
}

// One host end, or -errno: -EAGAIN of a server means that no host client waits.
static int
try_open(struct channel *ch)
{
    struct opener *o = ch->opener;
    struct error err = {{0}};
    int fd;
    if (ch->spec->device.server) {
        fd = unix_end_accept(&ch->listener);
        if (fd < 0 && fd != -EAGAIN)
            error_set(&err, -fd, "%s: cannot accept", ch->spec->text);
    } else {
        char identity[128];
        snprintf(identity, sizeof(identity), "vmchannel/%s/%u/%llu", o->guest, ch->spec->port,
                 (unsigned long long)++ch->made);
        fd = unix_end_connect(&ch->spec->device, identity, &err);
    }
    if (fd >= 0)
        note_success(ch);
    else if (err.text[0] != '\0')
        note_failure(ch, -fd, err.text);
    return fd;
}

static void
arm_timer(struct channel *ch, uint64_t delay_us)
{
    ch->timer_armed = true;
    loop_timer_set(ch->opener->loop, ch->timer, loop_clock_us() + delay_us);
}

static void
watch(struct channel *ch, bool on)
{
    if (ch->watched == on)
        return;
    ch->watched = on;
    loop_modify(ch->opener->loop, &ch->io, on ? LOOP_READ : 0);
}

// What the channel waits for once pump() could do no more.
static void
wait_for_more(struct channel *ch)
{
    if (ch->spec->device.server)
        watch(ch, ch->first != NONE);
    else if (ch->first != NONE && !ch->timer_armed)
        arm_timer(ch, (uint64_t)ch->spec->device.reconnect_s * 1000000);
}

// Serves the queue from its front until the host gives no more.
static void
pump(struct channel *ch)
{
    struct opener *o = ch->opener;
    for (int i = 0; i < PUMP_MAX && ch->first != NONE; i++) {
        uint32_t first = ch->first;
        uint32_t session = o->requests[first].session;
        int fd = try_open(ch);
        if (fd < 0 && is_worth_waiting(ch, fd)) {
            wait_for_more(ch);
            return;
        }
        release(o, first);
        if (fd >= 0)
            o->events.on_opened(o->ctx, session, fd);
        else
            o->events.on_refused(o->ctx, session, fd);
    }
    if (ch->first != NONE && !ch->spec->device.server)
        arm_timer(ch, RETRY_NOW_US);
    else
        wait_for_more(ch);
}

static void
on_listener(void *ctx, unsigned events)
{
    pump(ctx);
}

static void
on_timer(void *ctx)
{
    struct channel *ch = ctx;
    ch->timer_armed = false;
    pump(ch);
}

static int
channel_start(struct channel *ch, struct error *err)
{
    struct opener *o = ch->opener;
    const struct device *dev = &ch->spec->device;
    int rc;
    if (!dev->server) {
        ch->timer = loop_timer_new(o->loop, on_timer, ch);
        return ch->timer < 0 ? error_set(err, ENOMEM, "channel %u", ch->spec->port) : 0;
    }
    rc = unix_listener_open(&ch->listener, dev->path, dev->abstract, dev->tight, err);
    if (rc == 0) {
        ch->io = (struct loop_io){.fd = ch->listener.fd, .on_event = on_listener, .ctx = ch};
        rc = loop_add(o->loop, &ch->io, 0);
        if (rc == 0)
            return 0;
        unix_listener_close(&ch->listener);
        error_set(err, -rc, "unix:%s: cannot watch", dev->path);
    }
    error_prefix(err, "channel %u", ch->spec->port);
    return rc;
}

static void
channel_stop(struct channel *ch)
{
    if (ch->timer >= 0)
        loop_timer_free(ch->opener->loop, ch->timer);
    if (ch->listener.fd >= 0) {
        loop_remove(ch->opener->loop, &ch->io);
        unix_listener_close(&ch->listener);
    }
}

// The tables, empty. False when out of memory.
static bool
opener_init(struct opener *o, const struct opener_config *config)
{
    uint32_t buckets = 16;
    while (buckets < config->max_pending && buckets < UINT32_C(1) << 20)
        buckets *= 2;
    o->bucket_mask = buckets - 1;
    o->channels = calloc(config->channel_count + 1, sizeof(*o->channels));
    o->requests = calloc((size_t)config->max_pending + 1, sizeof(*o->requests));
    o->buckets = calloc(buckets, sizeof(*o->buckets));
    if (!o->channels || !o->requests || !o->buckets)
        return false;
    for (uint32_t i = 0; i < buckets; i++)
        o->buckets[i] = NONE;
    for (uint32_t i = 0; i < config->max_pending; i++) {
        o->requests[i].channel = NONE;
        o->requests[i].next = i + 1 < config->max_pending ? i + 1 : NONE;
    }
    o->free = config->max_pending > 0 ? 0 : NONE;
    return true;
}

struct opener *
opener_new(const struct opener_config *config, struct error *err)
{
    struct opener *o = calloc(1, sizeof(*o));
    if (!o || !opener_init(o, config)) {
        opener_free(o);
        error_set(err, ENOMEM, "host ends");
        return NULL;
    }
    o->loop = config->loop;
    o->events = config->events;
    o->ctx = config->ctx;
    snprintf(o->guest, sizeof(o->guest), "%s", config->guest);
    for (size_t i = 0; i < config->channel_count; i++) {
        struct channel *ch = &o->channels[i];
        *ch = (struct channel){.opener = o,
                               .spec = &config->channels[i],
                               .first = NONE,
                               .last = NONE,
                               .listener = {.fd = -1, .lock_fd = -1},
                               .timer = -1,
                               .limit = {.burst = LOG_BURST,
                                         .interval_us = LOG_INTERVAL,
                                         .tokens = LOG_BURST,
                                         .refilled_us = loop_now_us(o->loop)}};
        o->channel_count++;
        if (channel_start(ch, err) < 0) {
            opener_free(o);
            return NULL;
        }
    }
    return o;
}

void
opener_free(struct opener *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->channel_count; i++)
        channel_stop(&o->channels[i]);
    free(o->channels);
    free(o->requests);
    free(o->buckets);
    free(o);
}

bool
opener_open(struct opener *o, uint32_t session, uint16_t channel)
{
    assert(channel < o->channel_count);
    if (find(o, session) != NONE)
        return false;
    struct channel *ch = &o->channels[channel];
    if (o->free == NONE) {
        note_failure(ch, ENOSPC, "too many host ends are being opened at once");
        o->events.on_refused(o->ctx, session, -ENOSPC);
        return true;
    }
    enqueue(o, session, ch);
    pump(ch);
    return true;
}

void
opener_cancel(struct opener *o, uint32_t session)
{
    uint32_t i = find(o, session);
    if (i == NONE)
        return;
    struct channel *ch = &o->channels[o->requests[i].channel];
    release(o, i);
    if (ch->first != NONE)
        return;
    if (ch->watched)
        watch(ch, false);
    if (ch->timer_armed) {
        ch->timer_armed = false;
        loop_timer_clear(o->loop, ch->timer);
    }
}

void
opener_cancel_all(struct opener *o)
{
    for (size_t i = 0; i < o->channel_count; i++)
        while (o->channels[i].first != NONE)
            opener_cancel(o, o->requests[o->channels[i].first].session);
}

uint32_t
opener_pending(const struct opener *o)
{
    return o->pending;
}
