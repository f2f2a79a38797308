// SPDX-License-Identifier: BSD-3-Clause
// The broker: brings the opener (host ends), the source of links and the worker process together.
// Starts them in the order that the security argument needs, runs until something is over.
#include "broker/internal.h"

#include "base/log.h"
#include "broker/sandbox_broker.h"
#include "broker/socket_listeners.h"
#include "lib/vmchannel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
link_exhausted(void *ctx)
{
    struct broker *b = ctx;
    if (b->exit_on_link_down)
        broker_finish(b, b->worker_died ? -EPIPE : 0);
}

static int
reopen_queue(void *ctx, struct error *err)
{
    struct broker *b = ctx;
    return starter_open_queue(&b->starter, err);
}

static const struct link_source_events source_events = {.on_link = broker_worker_link,
                                                        .on_exhausted = link_exhausted};
static const struct link_source_events locked_up_source_events = {
    .on_link = broker_worker_link, .on_exhausted = link_exhausted, .open_queue = reopen_queue};

static bool
is_to_be_locked_up(const struct broker_config *config)
{
    return config->lock_up && sandbox_broker_is_possible(config->guest);
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
    bool has_worker = b->worker.pid > 0 && b->worker.ready;
    if (b->drain_ms == 0 || !has_worker) {
        broker_finish(b, 0);
        return;
    }
    unwatch(b, &b->stop_io);
    broker_worker_drain(b);
}

// The guest's side.
static int
open_link(struct broker *b, const struct broker_config *config, struct error *err)
{
    if (b->is_socket_link && config->listeners)
        return 0; // inherited, and taken over already
    if (b->is_socket_link)
        return socket_listeners_open(b->guest, &config->link, b->listeners, &b->hybrid, err);
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
                               .uuid = b->guest->uuid,
                               .channel_addr6 = guest_config_channel_addr6(b->guest),
                               .channels = b->guest->channels,
                               .channel_count = b->guest->channel_count,
                               .channels_max = GUEST_CHANNELS_MAX,
                               .access = &b->guest->access,
                               .has_stdio = config->has_stdio,
                               .max_pending = b->guest->max_conns + inward,
                               .events = broker_worker_ends,
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

static void
close_given(const struct broker_config *config)
{
    for (size_t i = 0; config->listeners && i < config->guest->channel_count; i++) {
        struct link_listener given = config->listeners[i];
        link_listener_close(&given);
    }
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
    b->listeners = calloc(GUEST_CHANNELS_MAX, sizeof(*b->listeners));
    b->loop = loop_new();
    if (!b->counters || !b->own.channels || !b->listeners || !b->loop)
        return false;
    if (count > 0)
        memcpy(b->own.channels, config->guest->channels, count * sizeof(*b->own.channels));
    b->guest = &b->own;
    b->next_channel = count;
    for (size_t i = 0; i < GUEST_CHANNELS_MAX; i++)
        b->listeners[i] =
            config->listeners && i < count ? config->listeners[i] : LINK_LISTENER_NONE;
    return true;
}

static void
free_tables(struct broker *b)
{
    loop_free(b->loop);
    if (b->counters)
        munmap(b->counters, sizeof(*b->counters));
    free(b->listeners);
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
    b->listeners_inherited = config->listeners != NULL;
    b->link_spec = config->link;
    b->link_spec.fd = -1;
    b->stop_io = (struct loop_io){.fd = -1, .on_event = on_stop, .ctx = b};
    b->guest_io = (struct loop_io){
        .fd = config->guest_end_fd ? *config->guest_end_fd : -1, .on_event = on_stop, .ctx = b};
    broker_worker_init(b);
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
    if (open_all(b, config, err) < 0 || lock_up(b, config, err) < 0 ||
        broker_worker_start(b, err) < 0 || broker_worker_wait(b, err) < 0) {
        broker_free(b);
        return NULL;
    }
    return b;
}

void
broker_finish(struct broker *b, int result)
{
    if (b->finished)
        return;
    b->finished = true;
    b->result = result;
    loop_stop(b->loop);
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
    socket_listeners_close(b->listeners, b->hybrid, b->guest->channel_count);
    if (b->null_fd >= 0)
        close(b->null_fd);
    free_tables(b);
}

uint64_t
broker_memory_bound(const struct guest_config *guest)
{
    return vmc_memory_bound(guest->max_conns, guest->channels, guest->channel_count);
}
