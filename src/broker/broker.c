// SPDX-License-Identifier: BSD-3-Clause
// The broker: brings the opener (host ends), the source of links and the worker process together.
// Everything the worker says has been validated by the courier; what is left to check here is what
// depends on state: a session asked for twice, a link that is not the current one.
#include "broker/internal.h"

#include "base/log.h"
#include "broker/sandbox_broker.h"
#include "broker/socket_listeners.h"
#include "lib/vmchannel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define READY_TIMEOUT_US (10 * 1000000)
#define GARBAGE_MAX      16 // messages of one worker, before it is replaced
#define GARBAGE_LOG_US   1000000
#define PEER_TEXT        (INET6_ADDRSTRLEN + 8) // with brackets and port
#define RESPAWN_MIN_US   20000
#define RESPAWN_MAX_US   5000000
#define LIVED_WELL_US    10000000 // a worker that lived so long is replaced without delay

static void
finish(struct broker *b, int result)
{
    if (b->finished)
        return;
    b->finished = true;
    b->result = result;
    loop_stop(b->loop);
}

static void
end_opened(void *ctx, uint32_t session, const int *fds, size_t nfds)
{
    struct broker *b = ctx;
    courier_send_fds(
        &b->worker.courier,
        &(struct message){.type = MESSAGE_OPENED, .session = session, .fds = (uint32_t)nfds}, fds,
        nfds);
}

static void
end_refused(void *ctx, uint32_t session, int why)
{
    struct broker *b = ctx;
    courier_send(&b->worker.courier,
                 &(struct message){.type = MESSAGE_REFUSED, .session = session, .why = why}, -1);
}

static void
link_opened(void *ctx, int fd)
{
    struct broker *b = ctx;
    b->link = ++b->links;
    courier_send(&b->worker.courier,
                 &(struct message){.type = MESSAGE_LINK,
                                   .link = b->link,
                                   .link_kind = b->link_spec.kind,
                                   .link_offload = b->link_spec.offload},
                 fd);
}

static void
link_exhausted(void *ctx)
{
    struct broker *b = ctx;
    if (b->exit_on_link_down)
        finish(b, b->worker_died ? -EPIPE : 0);
}

static int
reopen_queue(void *ctx, struct error *err)
{
    struct broker *b = ctx;
    return starter_open_queue(&b->starter, err);
}

static const struct link_source_events source_events = {.on_link = link_opened,
                                                        .on_exhausted = link_exhausted};
static const struct link_source_events locked_up_source_events = {
    .on_link = link_opened, .on_exhausted = link_exhausted, .open_queue = reopen_queue};

static bool
is_to_be_locked_up(const struct broker_config *config)
{
    return config->lock_up && sandbox_broker_is_possible(config->guest);
}

static void
on_garbage(void *ctx)
{
    struct broker *b = ctx;
    uint32_t left_out;
    b->garbage++;
    if (log_limit_pass(&b->garbage_limit, loop_clock_us(), &left_out))
        log_error("%s: worker: malformed message number %u dropped", b->guest->name, b->garbage);
    if (b->garbage == GARBAGE_MAX) {
        log_error("%s: worker: too many malformed messages, ended", b->guest->name);
        worker_process_kill(&b->worker);
    }
}

// A duplicate of what stays the broker's, with a message about m->channel.
static void
send_copy(struct broker *b, const struct message *m, int fd, const char *what)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0)
        courier_send(&b->worker.courier, m, copy);
    else
        log_error("%s: channel %u: %s: %s", b->guest->name, b->guest->channels[m->channel].port,
                  what, strerror(errno));
}

void
broker_send_listener(struct broker *b, uint16_t channel)
{
    struct message m = {
        .type = MESSAGE_LISTENER, .channel = channel, .guest_cid = b->link_spec.cid};
    if (b->listener_fds[channel] >= 0)
        send_copy(b, &m, b->listener_fds[channel], "listener");
}

void
broker_send_log(struct broker *b, uint16_t channel)
{
    struct message m = {.type = MESSAGE_LOG, .channel = channel};
    int fd = opener_log_fd(b->opener, channel);
    if (fd >= 0)
        send_copy(b, &m, fd, "logfile");
}

// Logs first: they must be there before the first guest byte.
static void
on_ready(struct broker *b, uint32_t changes)
{
    b->worker.ready = b->served = true;
    broker_control_worker_ready(b, changes);
    for (size_t i = 0; i < b->guest->channel_count; i++)
        broker_send_log(b, (uint16_t)i);
    log_debug("%s: worker %d ready", b->guest->name, (int)b->worker.pid);
    for (size_t i = 0; i < b->guest->channel_count; i++)
        broker_send_listener(b, (uint16_t)i);
    if (!b->is_socket_link)
        link_source_next(b->source);
}

static const char *
peer_text(const struct message *m, char out[PEER_TEXT])
{
    const struct in_addr addr = {.s_addr = htonl(m->guest_addr)};
    char text[INET6_ADDRSTRLEN];
    if (ipv6_addr_is_none(&m->guest_addr6))
        snprintf(out, PEER_TEXT, "%s:%u", inet_ntop(AF_INET, &addr, text, sizeof(text)),
                 m->guest_port);
    else
        snprintf(out, PEER_TEXT, "[%s]:%u",
                 inet_ntop(AF_INET6, &m->guest_addr6, text, sizeof(text)), m->guest_port);
    return out;
}

static void
on_open(struct broker *b, const struct message *m)
{
    if (!channel_spec_is_used(&b->guest->channels[m->channel])) { // removed while the worker asked
        end_refused(b, m->session, -ECONNREFUSED);
        return;
    }
    char text[PEER_TEXT];
    log_debug("%s: channel %u: session %u: open for %s", b->guest->name,
              b->guest->channels[m->channel].port, m->session, peer_text(m, text));
    const struct proxy_peer guest = {
        .addr = m->guest_addr, .port = (uint16_t)m->guest_port, .addr6 = m->guest_addr6};
    if (!opener_open(b->opener, m->session, (uint16_t)m->channel, &guest))
        on_garbage(b);
}

static void
on_link_down(struct broker *b, uint32_t link)
{
    if (link != b->link || !b->source) {
        on_garbage(b);
        return;
    }
    b->link = 0;
    log_info("%s: link: down", b->guest->name);
    link_source_broken(b->source);
    if (b->exit_on_link_down)
        finish(b, 0);
    else
        link_source_next(b->source);
}

static void
on_closed(struct broker *b, uint32_t session)
{
    if (opener_closed(b->opener, session))
        return;
    if (b->closes_expected > 0)
        b->closes_expected--;
    else
        on_garbage(b);
}

static void
on_message(void *ctx, const struct message *m, const int *fds, size_t nfds)
{
    struct broker *b = ctx;
    // Ended, but its last words may still be in the socket.
    if (b->garbage >= GARBAGE_MAX)
        return;
    // A worker says that it is ready first, and once.
    if ((m->type == MESSAGE_READY) == b->worker.ready) {
        on_garbage(b);
        return;
    }
    switch ((enum message_type)m->type) {
    case MESSAGE_READY:
        on_ready(b, m->session);
        break;
    case MESSAGE_OPEN:
        on_open(b, m);
        break;
    case MESSAGE_CANCEL:
        opener_cancel(b->opener, m->session);
        break;
    case MESSAGE_LINK_DOWN:
        on_link_down(b, m->link);
        break;
    case MESSAGE_CLOSED:
        on_closed(b, m->session);
        break;
    case MESSAGE_SYNCED:
        if (m->session == 0 || m->session > b->sync)
            on_garbage(b);
        else
            control_server_release(b->control, m->session);
        break;
    case MESSAGE_OPENED:
    case MESSAGE_REFUSED:
    case MESSAGE_LINK:
    case MESSAGE_DRAIN:
    case MESSAGE_LISTENER:
    case MESSAGE_LOG:
    case MESSAGE_CHANNEL:
    case MESSAGE_REMOVE:
    case MESSAGE_SYNC:
    case MESSAGE_CAPTURE:
        break; // not from a worker: the courier lets none through
    }
}

static void
on_worker_gone(void *ctx)
{
    struct broker *b = ctx;
    worker_process_kill(&b->worker); // a process that closed its socket is of no use
}

static const struct courier_events worker_events = {
    .on_message = on_message, .on_garbage = on_garbage, .on_gone = on_worker_gone};

static void
respawn_later(struct broker *b)
{
    loop_timer_set(b->loop, b->respawn_timer, loop_clock_us() + b->respawn_us);
    b->respawn_us = b->respawn_us < RESPAWN_MAX_US / 2 ? b->respawn_us * 2 : RESPAWN_MAX_US;
}

// A first worker that never got ready is a failure to start; later ones are replaced, at once after
// a long life and ever more slowly after short ones.
static void
on_worker_exit(void *ctx, const char *cause)
{
    struct broker *b = ctx;
    if (b->draining) {
        finish(b, 0);
        return;
    }
    b->worker_died = true;
    b->link = 0;
    broker_control_worker_gone(b);
    opener_cancel_all(b->opener);
    if (b->source)
        link_source_pause(b->source);
    log_error("%s: worker: ended by %s, its connections are lost", b->guest->name, cause);
    if (!b->worker.ready && !b->served) {
        finish(b, -EPIPE);
        return;
    }
    if (loop_clock_us() - b->worker.started_us >= LIVED_WELL_US)
        b->respawn_us = RESPAWN_MIN_US;
    respawn_later(b);
}

static int
start_worker(struct broker *b, struct error *err)
{
    b->garbage = 0;
    b->links = 0;
    return worker_process_start(&b->worker, b->loop, b->guest, b->counters,
                                b->starter.pid > 0 ? &b->starter : NULL, b->null_fd, &worker_events,
                                on_worker_exit, b, err);
}

static void
on_respawn(void *ctx)
{
    struct broker *b = ctx;
    struct error err;
    if (b->draining) { // long enough
        finish(b, 0);
        return;
    }
    b->restarts++;
    int rc = start_worker(b, &err);
    if (rc == 0)
        return;
    log_error("%s: %s", b->guest->name, err.text);
    if (rc == -EPIPE) // no starter
        finish(b, -EPIPE);
    else
        respawn_later(b);
}

static int
watch(struct broker *b, struct loop_io *io)
{
    return io->fd < 0 ? 0 : loop_add(b->loop, io, LOOP_READ);
}

static void
unwatch(struct broker *b, struct loop_io *io)
{
    if (io->fd >= 0)
        loop_remove(b->loop, io);
    io->fd = -1;
}

static void
on_stop(void *ctx, unsigned events)
{
    struct broker *b = ctx;
    if (b->drain_ms == 0 || !b->worker.ready || b->worker_died) {
        finish(b, 0);
        return;
    }
    unwatch(b, &b->stop_io);
    b->draining = true;
    courier_send(&b->worker.courier, &(struct message){.type = MESSAGE_DRAIN}, -1);
    loop_timer_set(b->loop, b->respawn_timer, loop_clock_us() + b->drain_ms * UINT64_C(1000));
}

// The guest's side.
static int
open_link(struct broker *b, const struct broker_config *config, struct error *err)
{
    if (b->is_socket_link && config->listener_fds)
        return 0; // inherited, and taken over already
    if (b->is_socket_link)
        return socket_listeners_open(b->guest, &config->link, b->listener_fds, &b->hybrid, err);
    b->source = link_source_new(
        b->loop, b->guest->name, &config->link,
        is_to_be_locked_up(config) ? &locked_up_source_events : &source_events, b, err);
    return b->source ? 0 : -EINVAL;
}

// A link's Unix sockets belong to the user that the hypervisor is to find behind them.
static int
share_link(struct broker *b, const struct broker_config *config, struct error *err)
{
    struct unix_access access = b->guest->access;
    int rc = 0;
    if (config->user && access.gid == (gid_t)-1)
        access.gid = config->user->gid;
    if (config->user)
        access.uid = config->user->uid;
    if (b->source)
        rc = link_source_share(b->source, &access, err);
    for (size_t i = 0; rc == 0 && b->hybrid && i < b->guest->channel_count; i++)
        rc = unix_listener_share(&b->hybrid[i], &access, err);
    return rc;
}

static int
open_all(struct broker *b, const struct broker_config *config, struct error *err)
{
    // Each inward channel waits for its next client, always.
    uint32_t inward = channel_specs_inward(b->guest->channels, b->guest->channel_count);
    struct opener_config oc = {.loop = b->loop,
                               .guest = b->guest->name,
                               .channel_addr = b->guest->channel_addr,
                               .channel_addr6 = guest_config_channel_addr6(b->guest),
                               .channels = b->guest->channels,
                               .channel_count = b->guest->channel_count,
                               .channels_max = GUEST_CHANNELS_MAX,
                               .access = &b->guest->access,
                               .has_stdio = config->has_stdio,
                               .max_pending = b->guest->max_conns + inward,
                               .events = {.on_opened = end_opened, .on_refused = end_refused},
                               .ctx = b};
    int rc = open_link(b, config, err);
    if (rc == 0)
        rc = share_link(b, config, err);
    if (rc == 0)
        rc = broker_control_open(b, config, err);
    if (rc == 0 && config->user)
        rc = run_as_become(config->user, err);
    if (rc < 0)
        return rc;
    b->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (b->null_fd < 0)
        return error_set(err, errno, "/dev/null");
    b->opener = opener_new(&oc, err);
    return b->opener ? 0 : -EINVAL;
}

// The starter first: it is what we are not to be any more.
static int
lock_up(struct broker *b, const struct broker_config *config, struct error *err)
{
    if (!is_to_be_locked_up(config)) {
        if (config->lock_up)
            log_info("%s: broker: not in a sandbox, which the programs of cmd: would be in too",
                     b->guest->name);
        return 0;
    }
    int rc = starter_start(&b->starter, b->guest, b->counters, &config->link, b->null_fd, err);
    // What was made by name has a path now; what could not be made needs nothing.
    struct broker_config is = *config;
    if (!is.control_path && b->control)
        is.control_path = b->control_path;
    is.control_by_name = b->control_path[0] != '\0';
    return rc == 0 ? sandbox_broker(&is, err) : rc;
}

static int
wait_until_ready(struct broker *b, struct error *err)
{
    uint64_t deadline = loop_clock_us() + READY_TIMEOUT_US;
    while (!b->worker.ready && !b->finished && loop_clock_us() < deadline)
        if (loop_turn(b->loop, 100) < 0)
            break;
    return b->worker.ready ? 0 : error_set(err, 0, "worker: did not get ready");
}

static void
close_given(const struct broker_config *config)
{
    for (size_t i = 0; config->listener_fds && i < config->guest->channel_count; i++)
        close(config->listener_fds[i]);
    if (config->link.fd >= 0)
        close(config->link.fd);
}

// What the worker shares, and tables with room for channels to come: pages that nobody touches cost
// nothing.
static bool
make_tables(struct broker *b, const struct broker_config *config)
{
    size_t count = config->guest->channel_count;
    void *shared =
        mmap(NULL, sizeof(*b->counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    b->counters = shared == MAP_FAILED ? NULL : shared;
    b->own = *config->guest;
    b->own.chardevs = NULL;
    b->own.chardev_count = 0;
    b->own.channels = calloc(GUEST_CHANNELS_MAX, sizeof(*b->own.channels));
    b->listener_fds = calloc(GUEST_CHANNELS_MAX, sizeof(*b->listener_fds));
    b->loop = loop_new();
    if (!b->counters || !b->own.channels || !b->listener_fds || !b->loop)
        return false;
    if (count > 0)
        memcpy(b->own.channels, config->guest->channels, count * sizeof(*b->own.channels));
    b->guest = &b->own;
    b->next_channel = count;
    for (size_t i = 0; i < GUEST_CHANNELS_MAX; i++)
        b->listener_fds[i] = config->listener_fds && i < count ? config->listener_fds[i] : -1;
    return true;
}

static void
free_tables(struct broker *b)
{
    loop_free(b->loop);
    if (b->counters)
        munmap(b->counters, sizeof(*b->counters));
    free(b->listener_fds);
    free(b->own.channels);
    free(b);
}

// An empty broker that owns config's descriptors; NULL when out of memory, then they are closed.
static struct broker *
broker_new(const struct broker_config *config)
{
    struct broker *b = calloc(1, sizeof(*b));
    if (!b || !make_tables(b, config)) {
        close_given(config);
        if (b)
            free_tables(b);
        return NULL;
    }
    b->started_us = loop_clock_us();
    b->exit_on_link_down = config->exit_on_link_down;
    b->drain_ms = config->drain_ms;
    b->null_fd = -1;
    b->is_socket_link = !link_kind_is_frames(config->link.kind);
    b->listeners_inherited = config->listener_fds != NULL;
    b->link_spec = config->link;
    b->link_spec.fd = -1;
    b->garbage_limit = (struct log_limit){.burst = 4, .interval_us = GARBAGE_LOG_US, .tokens = 4};
    b->respawn_timer = loop_timer_new(b->loop, on_respawn, b);
    b->respawn_us = RESPAWN_MIN_US;
    b->stop_io = (struct loop_io){.fd = -1, .on_event = on_stop, .ctx = b};
    b->guest_io = (struct loop_io){
        .fd = config->guest_pidfd ? *config->guest_pidfd : -1, .on_event = on_stop, .ctx = b};
    return b;
}

struct broker *
broker_start(const struct broker_config *config, struct error *err)
{
    struct broker *b = broker_new(config);
    if (!b) {
        error_set(err, ENOMEM, "broker");
        return NULL;
    }
    if (config->guest->sandbox_off)
        log_warn("%s: --sandbox=off: what the guest sends is not read in a sandbox",
                 config->guest->name);
    if (open_all(b, config, err) < 0 || lock_up(b, config, err) < 0 || start_worker(b, err) < 0 ||
        wait_until_ready(b, err) < 0) {
        broker_free(b);
        return NULL;
    }
    return b;
}

int
broker_run(struct broker *b, int stop_fd)
{
    b->stop_io.fd = stop_fd;
    int rc = watch(b, &b->stop_io);
    if (rc == 0 && (rc = watch(b, &b->guest_io)) < 0)
        unwatch(b, &b->stop_io);
    if (rc < 0)
        return rc;
    while (rc == 0 && !b->finished)
        rc = loop_turn(b->loop, -1);
    unwatch(b, &b->stop_io);
    unwatch(b, &b->guest_io);
    return rc < 0 ? rc : b->result;
}

void
broker_free(struct broker *b)
{
    if (!b)
        return;
    broker_control_close(b);
    worker_process_stop(&b->worker);
    starter_stop(&b->starter);
    link_source_free(b->source);
    opener_free(b->opener);
    socket_listeners_close(b->listener_fds, b->hybrid, b->guest->channel_count);
    if (b->null_fd >= 0)
        close(b->null_fd);
    free_tables(b);
}

uint64_t
broker_memory_bound(const struct guest_config *guest)
{
    return vmc_memory_bound(guest->max_conns, guest->channels, guest->channel_count);
}
