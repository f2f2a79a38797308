// SPDX-License-Identifier: BSD-3-Clause
// The queue of one channel: what waits is served from the front by the back end of the channel's
// device (host/backend.h): a client connects, several at once where that takes time, a server
// accepts. The kernel's backlog is the queue of host clients: none is accepted before a request
// waits for it. A reason to refuse is logged once per channel until it changes or is gone.
#include "host/opener_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PUMP_MAX     64       // requests served for one channel before others get their turn
#define LOG_BURST    8        // lines per channel, then one per interval
#define LOG_INTERVAL 10000000 // us
#define RETRY_NOW_US 1000     // to go on with a queue that PUMP_MAX cut short

enum outcome {
    DONE,      // answered, or connecting
    MUST_WAIT, // for a host client, or the next retry
};

static struct request *
first_waiting(const struct opener_channel *ch)
{
    return opener_table_first(&ch->shared->table, &ch->lists[REQUEST_WAITING]);
}

// --- logging -------------------------------------------------------------------------------------

// Never more than the limit allows: a guest can make a service's state flap.
static void
log_limited(struct opener_channel *ch, enum log_level level, const char *text)
{
    uint32_t left_out;
    char more[48] = "";
    if (!log_limit_pass(&ch->limit, loop_now_us(ch->shared->loop), &left_out))
        return;
    if (left_out > 0)
        snprintf(more, sizeof(more), " (%u lines left out)", left_out);
    log_at(level, "%s: channel %s: %s%s", ch->shared->guest, channel_port_text(ch->spec->port).text,
           text, more);
}

// Once per distinct reason in a row.
static void
note_failure(struct opener_channel *ch, int why, const char *text)
{
    if (ch->failing == why)
        return;
    ch->failing = why;
    char line[sizeof(struct error) + 64];
    if (ch->spec->device.reconnect_s > 0)
        snprintf(line, sizeof(line), "%s, trying again every %u s", text,
                 ch->spec->device.reconnect_s);
    else
        snprintf(line, sizeof(line), "%s", text);
    log_limited(ch, LOG_WARN, line);
}

static void
note_success(struct opener_channel *ch)
{
    char text[300];
    if (ch->failing == 0)
        return;
    ch->failing = 0;
    snprintf(text, sizeof(text), "%s: answers again", ch->spec->text);
    log_limited(ch, LOG_INFO, text);
}

// --- answers -------------------------------------------------------------------------------------

// The request stands in its list as open before it is told, since the answer may bring its end.
static void
answer_opened(struct request *r, const struct end_fds *fds)
{
    struct opener_channel *ch = r->channel;
    struct opener_shared *o = ch->shared;
    uint64_t session = r->session;
    note_success(ch);
    if (opener_counts(&ch->spec->device))
        opener_table_move(&o->table, r, REQUEST_OPEN, ch->lists);
    else
        opener_table_remove(&o->table, r, ch->lists);
    o->events.on_opened(o->ctx, session, fds->fd, fds->count);
}

static void
answer_refused(struct request *r, int why)
{
    struct opener_channel *ch = r->channel;
    struct opener_shared *o = ch->shared;
    uint64_t session = r->session;
    opener_table_remove(&o->table, r, ch->lists);
    o->events.on_refused(o->ctx, session, why);
}

static enum outcome
answer_failed(struct request *r, int why, const struct error *err)
{
    struct opener_channel *ch = r->channel;
    if (ch->spec->device.server && why == -EAGAIN)
        return MUST_WAIT;
    note_failure(ch, -why, err->text);
    if (ch->spec->device.reconnect_s > 0) {
        r->way = 0;
        return MUST_WAIT;
    }
    answer_refused(r, why);
    return DONE;
}

// --- opening -------------------------------------------------------------------------------------

static void on_connect(void *ctx, unsigned events);

static int
start_connecting(struct request *r, int fd, struct error *err)
{
    struct opener_channel *ch = r->channel;
    r->io = (struct loop_io){.fd = fd, .on_event = on_connect, .ctx = r};
    int rc = loop_add(ch->shared->loop, &r->io, LOOP_WRITE);
    if (rc < 0) {
        close(fd);
        r->io.fd = -1;
        return error_set(err, -rc, "%s: cannot watch", ch->spec->text);
    }
    if (r->state != REQUEST_CONNECTING)
        opener_table_move(&ch->shared->table, r, REQUEST_CONNECTING, ch->lists);
    return 0;
}

static void
end_fds_close(const struct end_fds *fds)
{
    for (size_t i = 0; i < fds->count; i++)
        close(fds->fd[i]);
}

// What proxy=v2 puts in front of the guest's bytes. A fresh end has room for it.
static int
introduce(const struct request *r, const struct end_fds *fds, struct error *err)
{
    const struct opener_channel *ch = r->channel;
    char id[128];
    if (!ch->spec->device.proxy)
        return 0;
    snprintf(id, sizeof(id), "vmchannel/%s/%u/%llu", ch->shared->guest, ch->spec->port,
             (unsigned long long)r->number);
    struct proxy_peer channel = ch->shared->channel_addr;
    channel.port = ch->spec->port;
    const struct proxy_header h = {.guest = r->guest,
                                   .channel = channel,
                                   .id = id,
                                   .guest_name = ch->shared->guest,
                                   .guest_uuid = ch->shared->uuid,
                                   .channel_name = ch->spec->device.name};
    int rc = proxy_send(&h, fds->fd[fds->count - 1]);
    if (rc == 0)
        return 0;
    // A host client that has left already: the next one is as good.
    return ch->spec->device.server ? -EAGAIN : error_set(err, -rc, "%s", ch->spec->text);
}

// Tries what is left of the ways to an end. err: why the way before failed with `why`, if one did.
static enum outcome
try_ways(struct request *r, int why, struct error *err)
{
    struct opener_channel *ch = r->channel;
    uint32_t ways = ch->backend->ways ? ch->backend->ways(ch->state) : 1;
    for (; r->way < ways; r->way++) {
        struct end_fds fds = {{-1, -1}, 0};
        r->number = ++ch->made;
        struct backend_try t = {.session = r->session, .way = r->way, .number = r->number};
        why = ch->backend->open(ch->state, &t, &fds, err);
        if (why == 0 && (why = introduce(r, &fds, err)) < 0)
            end_fds_close(&fds);
        if (why == 0) {
            answer_opened(r, &fds);
            return DONE;
        }
        if (why == -EINPROGRESS) {
            why = start_connecting(r, fds.fd[0], err);
            if (why == 0)
                return DONE;
        }
    }
    return answer_failed(r, why, err);
}

static bool
is_taken(const struct opener_channel *ch)
{
    return device_is_exclusive(ch->spec->device.kind) &&
           ch->lists[REQUEST_OPEN].first != OPENER_NONE;
}

static enum outcome
try_open(struct request *r)
{
    struct error err = {{0}};
    struct opener_channel *ch = r->channel;
    if (is_taken(ch)) {
        if (!ch->busy_told)
            log_limited(ch, LOG_WARN, "refused, the device has a connection");
        ch->busy_told = true;
        answer_refused(r, -EBUSY);
        return DONE;
    }
    ch->busy_told = false;
    r->way = 0;
    return try_ways(r, 0, &err);
}

// --- the queue -----------------------------------------------------------------------------------

static void
arm_timer(struct opener_channel *ch, uint64_t delay_us)
{
    ch->timer_armed = true;
    loop_timer_set(ch->shared->loop, ch->timer, loop_clock_us() + delay_us);
}

static void
disarm_timer(struct opener_channel *ch)
{
    if (!ch->timer_armed)
        return;
    ch->timer_armed = false;
    loop_timer_clear(ch->shared->loop, ch->timer);
}

static void
watch(struct opener_channel *ch, bool on)
{
    if (ch->watched == on || !ch->backend->watch)
        return;
    ch->watched = on;
    ch->backend->watch(ch->state, on);
}

// What the channel waits for once pump() could do no more.
static void
wait_for_more(struct opener_channel *ch)
{
    bool waiting = first_waiting(ch) != NULL;
    if (ch->spec->device.server)
        watch(ch, waiting);
    else if (waiting && !ch->timer_armed)
        arm_timer(ch, (uint64_t)ch->spec->device.reconnect_s * 1000000);
}

// Serves the queue from its front until the host gives no more. While a retry is due later, only
// one request asks whether the host is there again.
static void
pump(struct opener_channel *ch)
{
    struct request *r;
    for (int i = 0; i < PUMP_MAX && (r = first_waiting(ch)); i++) {
        if (try_open(r) == MUST_WAIT ||
            (ch->timer_armed && ch->lists[REQUEST_CONNECTING].first != OPENER_NONE)) {
            wait_for_more(ch);
            return;
        }
    }
    if (first_waiting(ch) && !ch->spec->device.server)
        arm_timer(ch, RETRY_NOW_US);
    else
        wait_for_more(ch);
}

static void
on_connect(void *ctx, unsigned events)
{
    struct request *r = ctx;
    struct opener_channel *ch = r->channel;
    struct error err = {{0}};
    struct end_fds fds = {{r->io.fd, -1}, 1};
    struct backend_try t = {.session = r->session, .way = r->way, .number = r->number};
    loop_remove(ch->shared->loop, &r->io);
    r->io.fd = -1;
    int rc = ch->backend->connected(ch->state, fds.fd[0], &t, &err);
    if (rc == 0 && (rc = introduce(r, &fds, &err)) == 0) {
        disarm_timer(ch);
        answer_opened(r, &fds);
        pump(ch);
        return;
    }
    close(fds.fd[0]);
    r->way++;
    if (try_ways(r, rc, &err) == MUST_WAIT) {
        opener_table_move(&ch->shared->table, r, REQUEST_WAITING, ch->lists);
        wait_for_more(ch);
    }
}

static void
on_client(void *ctx)
{
    pump(ctx);
}

static void
on_timer(void *ctx)
{
    struct opener_channel *ch = ctx;
    ch->timer_armed = false;
    pump(ch);
}
// --- the channel ---------------------------------------------------------------------------------

// Appends, so that channels may share one. Never blocks, should it be a FIFO.
static int
open_log(struct opener_channel *ch, struct error *err)
{
    const struct device *dev = &ch->spec->device;
    if (dev->logfile[0] == '\0')
        return 0;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    ch->log_fd = open(dev->logfile, flags | (dev->logappend ? 0 : O_TRUNC), 0666);
    return ch->log_fd < 0 ? error_set(err, errno, "logfile %s", dev->logfile) : 0;
}

static void
init(struct opener_channel *ch, struct opener_shared *o, const struct channel_spec *spec)
{
    *ch = (struct opener_channel){.shared = o,
                                  .spec = spec,
                                  .env = {.loop = o->loop,
                                          .guest = o->guest,
                                          .spec = spec,
                                          .has_stdio = o->has_stdio,
                                          .access = o->access,
                                          .max_ends = o->table.size,
                                          .on_client = on_client,
                                          .ctx = ch},
                                  .backend = backend_of(&spec->device),
                                  .timer = -1,
                                  .limit = {.burst = LOG_BURST,
                                            .interval_us = LOG_INTERVAL,
                                            .tokens = LOG_BURST,
                                            .refilled_us = loop_now_us(o->loop)},
                                  .log_fd = -1};
    for (int i = 0; i < REQUEST_STATES; i++)
        request_list_init(&ch->lists[i]);
}

int
opener_channel_start(struct opener_channel *ch, struct opener_shared *shared,
                     const struct channel_spec *spec, struct error *err)
{
    init(ch, shared, spec);
    ch->timer = loop_timer_new(shared->loop, on_timer, ch);
    int rc = ch->timer < 0 ? error_set(err, ENOMEM, "timer") : open_log(ch, err);
    if (rc == 0)
        rc = ch->backend->start(&ch->env, &ch->state, err);
    ch->started = rc == 0;
    if (rc == 0)
        return 0;
    error_prefix(err, "channel %s", channel_port_text(spec->port).text);
    opener_channel_stop(ch);
    return rc;
}

void
opener_channel_stop(struct opener_channel *ch)
{
    struct request *r;
    while ((r = opener_table_first(&ch->shared->table, &ch->lists[REQUEST_CONNECTING])))
        opener_channel_forget(r);
    if (ch->started)
        ch->backend->stop(ch->state);
    if (ch->log_fd >= 0)
        close(ch->log_fd);
    if (ch->timer >= 0)
        loop_timer_free(ch->shared->loop, ch->timer);
    *ch = (struct opener_channel){.shared = NULL};
}

bool
opener_channel_is_idle(const struct opener_channel *ch)
{
    return !ch->backend->idle || ch->backend->idle(ch->state);
}

void
opener_channel_request(struct opener_channel *ch, uint64_t session, const struct proxy_peer *guest)
{
    struct opener_shared *o = ch->shared;
    struct request *r = opener_table_add(&o->table, session, ch, ch->lists);
    if (!r) {
        note_failure(ch, ENOSPC, "too many host ends are being opened at once");
        o->events.on_refused(o->ctx, session, -ENOSPC);
        return;
    }
    r->guest = guest ? *guest : (struct proxy_peer){0};
    pump(ch);
}

static void
close_open(struct request *r)
{
    struct opener_channel *ch = r->channel;
    uint64_t session = r->session;
    opener_table_remove(&ch->shared->table, r, ch->lists);
    if (ch->backend->closed)
        ch->backend->closed(ch->state, session);
}

void
opener_channel_forget(struct request *r)
{
    struct opener_channel *ch = r->channel;
    if (r->state == REQUEST_OPEN) {
        close_open(r);
        return;
    }
    if (r->io.fd >= 0) {
        loop_remove(ch->shared->loop, &r->io);
        close(r->io.fd);
    }
    opener_table_remove(&ch->shared->table, r, ch->lists);
    if (first_waiting(ch))
        return;
    watch(ch, false);
    disarm_timer(ch);
}

uint32_t
opener_channel_forget_all(struct opener_channel *ch)
{
    struct request *r;
    uint32_t open = 0;
    for (int state = 0; state < REQUEST_STATES; state++) {
        while ((r = opener_table_first(&ch->shared->table, &ch->lists[state]))) {
            open += r->state == REQUEST_OPEN;
            opener_channel_forget(r);
        }
    }
    return open;
}
