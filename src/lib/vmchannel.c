// SPDX-License-Identifier: BSD-3-Clause
// The embeddable library: owns a loop, a hub and, unless the caller brings its own, an opener;
// wires them together and adds nothing. What a connection does is channel/hub's.
#include "lib/vmchannel.h"

#include "base/log.h"
#include "host/end.h"
#include "host/opener.h"
#include "link/link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

// Of each direction of a connection. Kept under what a guest's transmit queue holds, else a large
// window costs more in drops than it gains.
#define RING_BYTES    (512 * 1024)
#define CONN_BYTES    1024 // of the tables, rounded up (design: an idle connection takes less)
#define HALF_OPEN_MAX 1024

struct vmc {
    struct loop *loop;
    struct hub *hub;
    struct opener *opener;         // in-process host ends; NULL with an opener of the caller's
    struct channel_spec *channels; // what the opener reads
    bool offload;                  // of the next link
    // vmc_fd(): a timerfd in the loop's epoll makes its deadlines visible from outside.
    struct loop_io timer_io;
    uint64_t timer_us; // what it is set to
};

static void
hub_wants_end(void *ctx, uint64_t session, uint16_t channel, const struct stack_peer *peer)
{
    struct vmc *v = ctx;
    const struct proxy_peer guest = {.addr = peer->addr, .port = peer->port, .addr6 = peer->addr6};
    opener_open(v->opener, session, channel, &guest);
}

static void
hub_wants_no_end(void *ctx, uint64_t session)
{
    struct vmc *v = ctx;
    opener_cancel(v->opener, session);
}

static void
hub_closed_end(void *ctx, uint64_t session, uint16_t channel)
{
    struct vmc *v = ctx;
    opener_closed(v->opener, session); // knows of counted devices alone
}

static void
end_opened(void *ctx, uint64_t session, const int *fds, size_t nfds)
{
    struct vmc *v = ctx;
    hub_opened(v->hub, session, fds, nfds);
}

static void
end_refused(void *ctx, uint64_t session, int why)
{
    struct vmc *v = ctx;
    hub_refused(v->hub, session, why);
}

static int
pass_log(struct vmc *v, uint16_t index, struct error *err)
{
    int log_fd = opener_log_fd(v->opener, index);
    if (log_fd < 0)
        return 0;
    int fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "channel %s: logfile",
                         channel_port_text(v->channels[index].port).text);
    hub_set_log(v->hub, index, fd);
    return 0;
}

static int
start_opener(struct vmc *v, const struct vmc_config *config, struct error *err)
{
    // Each inward channel waits for its next client, always.
    uint32_t inward = channel_specs_inward(config->channels, config->channel_count);
    struct opener_config oc = {.loop = v->loop,
                               .guest = config->guest,
                               .channel_addr = config->channel_addr,
                               .channel_addr6 = config->channel_addr6,
                               .channels = v->channels,
                               .channel_count = config->channel_count,
                               .channels_max = HUB_CHANNELS_MAX,
                               .max_pending = config->max_conns + inward,
                               .events = {.on_opened = end_opened, .on_refused = end_refused},
                               .ctx = v};
    v->opener = opener_new(&oc, err);
    if (!v->opener)
        return -EINVAL;
    for (size_t i = 0; i < config->channel_count; i++) {
        int rc = pass_log(v, (uint16_t)i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
put_channel(struct vmc *v, uint16_t index, struct error *err)
{
    const struct channel_spec *spec = &v->channels[index];
    struct hub_channel ch = {.port = spec->port,
                             .inward = spec->inward,
                             .max = spec->device.max,
                             .conn_rate = spec->device.conn_rate,
                             .idle_s = spec->device.idle_s,
                             .rate = spec->device.rate,
                             .burst = spec->device.burst,
                             .accept_early = spec->device.server && !spec->device.wait,
                             .device = &spec->device,
                             .text = spec->text};
    int rc = hub_put_channel(v->hub, index, &ch);
    return rc < 0 ? error_set(err, -rc, "channel %s", channel_port_text(spec->port).text) : 0;
}

static int
start_hub(struct vmc *v, const struct vmc_config *config, struct error *err)
{
    uint32_t a = config->channel_addr;
    struct hub_config hc = {
        .guest = config->guest,
        .stack =
            {// Locally administered, and the same for the same address after a restart.
             .mac = {{0x52, 0x55, (uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8),
                      (uint8_t)a}},
             .addr = a,
             .guest_addr = config->guest_addr,
             .netmask = config->netmask,
             .addr6 = config->channel_addr6,
             .mtu = config->mtu,
             .max_conns = config->max_conns,
             .max_half_open = config->max_conns < HALF_OPEN_MAX ? config->max_conns : HALF_OPEN_MAX,
             .ring_bytes = RING_BYTES},
        .opener = {
            .open = hub_wants_end, .cancel = hub_wants_no_end, .closed = hub_closed_end, .ctx = v}};
    hc.counters = config->counters;
    if (config->opener)
        hc.opener = *config->opener;
    if (getrandom(&hc.stack.secret, sizeof(hc.stack.secret), 0) != sizeof(hc.stack.secret))
        return error_set(err, errno, "no randomness");
    v->hub = hub_new(v->loop, &hc);
    if (!v->hub)
        return error_set(err, ENOMEM, "%u connections", (unsigned)config->max_conns);
    for (size_t i = 0; i < config->channel_count; i++) {
        int rc = channel_spec_is_used(&v->channels[i]) ? put_channel(v, (uint16_t)i, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

uint64_t
vmc_memory_bound(uint32_t max_conns, const struct channel_spec *channels, size_t channel_count)
{
    uint64_t end_bytes = 0; // of the device that takes most
    for (size_t i = 0; i < channel_count; i++) {
        size_t bytes = host_end_memory(&channels[i].device);
        end_bytes = bytes > end_bytes ? bytes : end_bytes;
    }
    return max_conns * (2 * RING_BYTES + CONN_BYTES + end_bytes);
}

struct vmc *
vmc_new(const struct vmc_config *config, struct error *err)
{
    struct vmc *v = calloc(1, sizeof(*v));
    if (!v) {
        error_set(err, ENOMEM, "vmchannel");
        return NULL;
    }
    v->timer_io.fd = -1;
    v->timer_us = UINT64_MAX;
    v->loop = loop_new();
    v->channels = calloc(HUB_CHANNELS_MAX, sizeof(*v->channels)); // untouched zero pages at first
    if (config->channel_count > HUB_CHANNELS_MAX) {
        error_set(err, 0, "%zu channels; at most %d are accepted", config->channel_count,
                  HUB_CHANNELS_MAX);
        vmc_free(v);
        return NULL;
    }
    if (!v->loop || !v->channels) {
        error_set(err, errno, "event loop");
        vmc_free(v);
        return NULL;
    }
    if (config->channel_count > 0)
        memcpy(v->channels, config->channels, config->channel_count * sizeof(*v->channels));
    if (start_hub(v, config, err) < 0 || (!config->opener && start_opener(v, config, err) < 0)) {
        vmc_free(v);
        return NULL;
    }
    return v;
}

void
vmc_free(struct vmc *v)
{
    if (!v)
        return;
    if (v->hub)
        hub_free(v->hub);
    opener_free(v->opener); // after the hub, which may still cancel what it asked for
    if (v->timer_io.fd >= 0) {
        loop_remove(v->loop, &v->timer_io);
        close(v->timer_io.fd);
    }
    loop_free(v->loop);
    free(v->channels);
    free(v);
}

int
vmc_add_channel(struct vmc *v, uint16_t index, const struct channel_spec *spec, struct error *err)
{
    assert(index < HUB_CHANNELS_MAX && channel_spec_is_used(spec));
    v->channels[index] = *spec;
    int rc = put_channel(v, index, err);
    if (rc < 0 || !v->opener)
        return rc;
    rc = opener_add(v->opener, index, err);
    if (rc < 0) {
        hub_remove_channel(v->hub, index);
        return rc;
    }
    rc = pass_log(v, index, err);
    if (rc < 0)
        vmc_remove_channel(v, index);
    return rc;
}

void
vmc_remove_channel(struct vmc *v, uint16_t index)
{
    hub_remove_channel(v->hub, index);
    if (v->opener)
        opener_remove(v->opener, index);
}

void
vmc_capture(struct vmc *v, int fd, uint32_t snaplen)
{
    hub_capture(v->hub, fd, snaplen);
}

int
vmc_attach_fd(struct vmc *v, enum link_kind kind, int fd)
{
    const struct link_events *events = hub_link_events();
    struct link *link = NULL;
    switch (kind) {
    case LINK_STREAM:
        link = link_new_stream(v->loop, fd, events, v->hub);
        break;
    case LINK_TAP:
        link = link_new_tap(v->loop, fd, events, v->hub);
        break;
    case LINK_PACKET:
        link = link_new_packet(v->loop, fd, events, v->hub);
        break;
    case LINK_MESSAGE:
        link = link_new_message(v->loop, fd, events, v->hub);
        break;
    case LINK_VHOST_USER:
        link = link_new_vhost_user(v->loop, fd, events, v->hub);
        break;
    case LINK_NETNS:
    case LINK_HYBRID:
    case LINK_VSOCK:
        close(fd);
        return -EINVAL;
    }
    if (!link)
        return -ENOMEM;
    if (v->offload)
        link_take_partial_csum(link);
    hub_attach_link(v->hub, link);
    return 0;
}

void
vmc_set_offload(struct vmc *v, bool offload)
{
    v->offload = offload;
}

void
vmc_set_guest_cid(struct vmc *v, uint32_t cid)
{
    hub_set_guest_cid(v->hub, cid);
}

int
vmc_attach_listener(struct vmc *v, uint16_t channel, int fd)
{
    return hub_attach_listener(v->hub, channel, fd);
}

void
vmc_on_link_down(struct vmc *v, void (*on_down)(void *ctx), void *ctx)
{
    hub_on_link_down(v->hub, on_down, ctx);
}

void
vmc_opened(struct vmc *v, uint64_t session, const int *fds, size_t nfds)
{
    hub_opened(v->hub, session, fds, nfds);
}

void
vmc_set_log(struct vmc *v, uint16_t channel, int fd)
{
    hub_set_log(v->hub, channel, fd);
}

void
vmc_refused(struct vmc *v, uint64_t session, int why)
{
    hub_refused(v->hub, session, why);
}

static void
arm_timerfd(struct vmc *v)
{
    uint64_t due = loop_next_deadline(v->loop);
    if (v->timer_io.fd < 0 || due == v->timer_us)
        return;
    v->timer_us = due;
    // All zero disarms, hence the nanosecond more for a deadline.
    struct itimerspec at = {.it_value = {0}};
    if (due != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)(due / 1000000);
        at.it_value.tv_nsec = (long)(due % 1000000 * 1000) + 1;
    }
    timerfd_settime(v->timer_io.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void
on_timerfd(void *ctx, unsigned events)
{
    struct vmc *v = ctx;
    uint64_t expirations;
    if (read(v->timer_io.fd, &expirations, sizeof(expirations)) > 0)
        v->timer_us = UINT64_MAX; // spent: to be armed again even for the same deadline
}

int
vmc_fd(struct vmc *v)
{
    if (v->timer_io.fd < 0) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (fd < 0)
            return -1;
        v->timer_io = (struct loop_io){.fd = fd, .on_event = on_timerfd, .ctx = v};
        if (loop_add(v->loop, &v->timer_io, LOOP_READ) < 0) {
            close(fd);
            v->timer_io.fd = -1;
            return -1;
        }
        arm_timerfd(v);
    }
    return loop_fd(v->loop);
}

int
vmc_dispatch(struct vmc *v)
{
    int rc = loop_turn(v->loop, 0);
    arm_timerfd(v);
    return rc;
}

void
vmc_lift_rates(struct vmc *v)
{
    hub_lift_rates(v->hub);
}

bool
vmc_guest_has_finished(const struct vmc *v)
{
    return hub_guest_has_finished(v->hub);
}

struct loop *
vmc_loop(struct vmc *v)
{
    return v->loop;
}
