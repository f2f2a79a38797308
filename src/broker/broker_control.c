// SPDX-License-Identifier: BSD-3-Clause
// What control clients may ask of a running broker: channels more and less, and how things are. The
// socket is control_server's, the words are control/service's. The counters are the worker's, who
// is not trusted: they are numbers that nothing here depends on.
#include "broker/internal.h"

#include "base/log.h"
#include "broker/admission.h"
#include "broker/socket_listeners.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RANGE_MAX 64 // channels of one Add: each has three descriptors on its way to the worker

static_assert(sizeof(struct channel_spec) <= PIPE_BUF, "any pipe takes it whole");

// --- how things are ------------------------------------------------------------------------------

static void
tell_info(void *ctx, struct control_info *out)
{
    const struct broker *b = ctx;
    out->pid = (uint32_t)getpid();
    out->worker = (uint32_t)b->worker.pid;
    out->uptime_s = (loop_clock_us() - b->started_us) / 1000000;
    out->restarts = b->restarts;
    snprintf(out->name, sizeof(out->name), "%s", b->guest->name);
    snprintf(out->version, sizeof(out->version), "%s", VMCHANNEL_VERSION);
    link_spec_name(&b->link_spec, out->link, sizeof(out->link));
}

static void
tell_link(void *ctx, struct control_link *out)
{
    const struct broker *b = ctx;
    struct link_counters c;
    memcpy(&c, &b->counters->link, sizeof(c));
    *out = (struct control_link){.up = c.up,
                                 .frames_in = c.frames_in,
                                 .frames_out = c.frames_out,
                                 .bytes_in = c.bytes_in,
                                 .bytes_out = c.bytes_out,
                                 .dropped_in = c.dropped_in,
                                 .dropped_out = c.dropped_out,
                                 .bad_checksum = c.bad_checksum,
                                 .malformed = c.malformed,
                                 .not_for_us = c.not_for_us,
                                 .no_memory = c.no_memory,
                                 .retransmits = c.retransmits,
                                 .timeouts = c.timeouts,
                                 .resets_sent = c.resets_sent};
}

static bool
next_channel(void *ctx, size_t *at, struct control_channel *out)
{
    const struct broker *b = ctx;
    while (*at < b->guest->channel_count && !channel_spec_is_used(&b->guest->channels[*at]))
        (*at)++;
    if (*at >= b->guest->channel_count)
        return false;
    const struct channel_spec *spec = &b->guest->channels[*at];
    struct channel_counters c;
    memcpy(&c, &b->counters->channels[(*at)++], sizeof(c));
    *out = (struct control_channel){.port = spec->port,
                                    .inward = spec->inward,
                                    .connections = c.connections,
                                    .opened = c.opened,
                                    .refused = c.refused,
                                    .bytes_from_guest = c.bytes_from_guest,
                                    .bytes_to_guest = c.bytes_to_guest};
    snprintf(out->device, sizeof(out->device), "%s", spec->text);
    snprintf(out->name, sizeof(out->name), "%s", spec->device.name);
    return true;
}

// --- channels ------------------------------------------------------------------------------------

// The index of the one that the guest can connect to, or -1.
static int
find_channel(const struct broker *b, uint16_t port)
{
    for (size_t i = 0; i < b->guest->channel_count; i++)
        if (b->guest->channels[i].port == port && !b->guest->channels[i].inward)
            return (int)i;
    return -1;
}

// An index that nothing uses any more, or -1. In turn, so that one just removed is not the next.
static int
free_index(struct broker *b)
{
    for (size_t n = 0; n < GUEST_CHANNELS_MAX; n++) {
        size_t i = (b->next_channel + n) % GUEST_CHANNELS_MAX;
        if (!channel_spec_is_used(&b->own.channels[i]) && opener_is_free(b->opener, (uint16_t)i)) {
            b->next_channel = i + 1;
            return (int)i;
        }
    }
    return -1;
}

// One that is just starting learns all when it is ready.
static bool
has_worker(const struct broker *b)
{
    return b->worker.pid > 0 && b->worker.ready;
}

// The reply to the call being served waits until the worker has done all that it was told.
static void
hold_reply(struct broker *b)
{
    if (!has_worker(b))
        return;
    struct message m = {.type = MESSAGE_SYNC, .session = ++b->sync};
    if (courier_send(&b->worker.courier, &m, -1))
        control_server_hold(b->control, b->sync);
}

static void
tell_removed(struct broker *b, uint16_t index)
{
    const struct message m = {.type = MESSAGE_REMOVE, .channel = index};
    courier_send(&b->worker.courier, &m, -1);
}

static int
tell_added(struct broker *b, uint16_t index, struct error *err)
{
    const struct message m = {.type = MESSAGE_CHANNEL, .channel = index};
    const struct channel_spec *spec = &b->guest->channels[index];
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set(err, errno, "channel %u: pipe", spec->port);
    ssize_t n = write(fds[1], spec, sizeof(*spec));
    close(fds[1]);
    if (n != sizeof(*spec)) {
        close(fds[0]);
        return error_set(err, n < 0 ? errno : EIO, "channel %u: pipe", spec->port);
    }
    courier_send(&b->worker.courier, &m, fds[0]);
    return 0;
}

// What it was made with may be older than what it should know, or not.
void
broker_control_worker_ready(struct broker *b, uint32_t changes)
{
    struct error err;
    if (changes == b->own.changes)
        return;
    for (size_t i = 0; i < b->guest->channel_count; i++) {
        if (!b->changed[i])
            continue;
        tell_removed(b, (uint16_t)i);
        if (channel_spec_is_used(&b->guest->channels[i]) && tell_added(b, (uint16_t)i, &err) < 0)
            log_error("%s: %s", b->guest->name, err.text);
    }
}

static void
remove_channel(struct broker *b, uint16_t index)
{
    b->closes_expected += opener_remove(b->opener, index);
    if (b->is_socket_link)
        socket_listeners_remove(index, b->listeners, b->hybrid);
    b->own.channels[index].port = 0;
    b->changed[index] = true;
    b->own.changes++;
    if (has_worker(b))
        tell_removed(b, index);
}

static int
add_channel(struct broker *b, const struct channel_spec *spec, struct error *err)
{
    int index = free_index(b);
    if (index < 0)
        return error_set(err, 0, "channel %u: there are %d, as many as may be", spec->port,
                         GUEST_CHANNELS_MAX);
    uint16_t i = (uint16_t)index;
    b->own.channels[i] = *spec;
    int rc = opener_add(b->opener, i, err);
    if (rc < 0) {
        b->own.channels[i].port = 0;
        return rc;
    }
    if (i >= b->own.channel_count)
        b->own.channel_count = i + 1u;
    b->worker.courier.limits.channels = b->own.channel_count;
    b->counters->channels[i] = (struct channel_counters){.connections = 0};
    b->changed[i] = true;
    b->own.changes++;
    if (b->is_socket_link)
        rc = socket_listeners_add(b->guest, &b->link_spec, i, b->listeners, b->hybrid, err);
    if (rc == 0 && has_worker(b))
        rc = tell_added(b, i, err);
    if (rc < 0) {
        remove_channel(b, i);
        return rc;
    }
    if (has_worker(b)) {
        broker_send_log(b, i);
        broker_send_listener(b, i);
    }
    return 0;
}

// What can be refused before anything is opened.
static int
check_added(const struct broker *b, const struct guest_config *more, struct error *err)
{
    if (more->channel_count > RANGE_MAX)
        return error_set(err, 0, "%zu channels; at most %d can be added at once",
                         more->channel_count, RANGE_MAX);
    if (b->listeners_inherited)
        return error_set(err, 0,
                         "the guest's namespace was closed behind it, nothing can be added "
                         "there (accepted: run --link tap, serve --link netns)");
    if (b->is_socket_link && b->starter.pid > 0)
        return error_set(err, 0,
                         "the daemon's sandbox lets it make no more listeners for the guest "
                         "(accepted: --sandbox=worker at its start)");
    if (has_worker(b) &&
        courier_room(&b->worker.courier) <
            b->guest->max_conns + WORKER_QUEUE_PER_CHANNEL * (uint32_t)more->channel_count)
        return error_set(err, EBUSY, "the worker has not caught up");
    for (size_t i = 0; i < more->channel_count; i++) {
        const struct channel_spec *spec = &more->channels[i];
        int rc = 0;
        if (strncmp(spec->text, "chardev:", 8) == 0)
            rc = error_set(err, 0, "there is no -chardev for it (accepted: the device itself)");
        else if (find_channel(b, spec->port) >= 0)
            rc = error_set(err, EEXIST, "there is one already");
        else
            rc = broker_may_open(&spec->device, b->starter.pid > 0, err);
        if (rc < 0) {
            error_prefix(err, "channel %u", spec->port);
            return rc;
        }
    }
    return 0;
}

// All of them or none.
static int
add_all(struct broker *b, const struct guest_config *more, struct error *err)
{
    for (size_t i = 0; i < more->channel_count; i++) {
        int rc = add_channel(b, &more->channels[i], err);
        if (rc == 0)
            continue;
        while (i-- > 0)
            remove_channel(b, (uint16_t)find_channel(b, more->channels[i].port));
        return rc;
    }
    return 0;
}

static int
add(void *ctx, const char *text, uint16_t *first, uint16_t *last, struct error *err)
{
    struct broker *b = ctx;
    struct guest_config more;
    guest_config_init(&more);
    int rc = guest_config_add_channel(&more, text, err);
    if (rc == 0)
        rc = check_added(b, &more, err);
    if (rc == 0)
        rc = add_all(b, &more, err);
    if (rc == 0) {
        *first = more.channels[0].port;
        *last = more.channels[more.channel_count - 1].port;
        log_info("%s: channel %u: added, %s", b->guest->name, *first, more.channels[0].text);
        hold_reply(b);
    }
    guest_config_fini(&more);
    return rc;
}

static int delete (void *ctx, uint16_t port, struct error *err)
{
    struct broker *b = ctx;
    int index = find_channel(b, port);
    if (index < 0)
        return -ENOENT;
    remove_channel(b, (uint16_t)index);
    log_info("%s: channel %u: deleted", b->guest->name, port);
    hold_reply(b);
    return 0;
}

// What the worker is given must not be more than a way to the client.
static bool
is_seqpacket(int fd)
{
    int domain = 0, type = 0;
    socklen_t len = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static int
capture(void *ctx, int fd, uint32_t snaplen, struct error *err)
{
    struct broker *b = ctx;
    const struct message m = {.type = MESSAGE_CAPTURE, .snaplen = snaplen};
    int rc = 0;
    if (b->is_socket_link)
        rc = error_set(err, 0, "capture: this link has no frames, its TCP is the kernel's");
    else if (!is_seqpacket(fd))
        rc = error_set(err, 0, "capture: not a SOCK_SEQPACKET Unix socket");
    else if (!has_worker(b) || courier_room(&b->worker.courier) <= b->guest->max_conns)
        rc = error_set(err, EAGAIN, "capture: there is no worker that could");
    if (rc < 0)
        close(fd);
    else if (!courier_send(&b->worker.courier, &m, fd))
        rc = error_set(err, EBUSY, "capture");
    if (rc == 0)
        hold_reply(b);
    return rc;
}

static const struct control_ops ops = {
    .info = tell_info,
    .link = tell_link,
    .next_channel = next_channel,
    .add = add,
    .remove = delete,
    .capture = capture,
};

// --- the socket ----------------------------------------------------------------------------------

// In a directory of our own, or the user's to whom a killed one gave it. A namesake that is just
// ending may remove that once.
static struct control_server *
open_by_name(struct broker *b, const struct run_as *user, struct error *err)
{
    struct control_server *s = NULL;
    for (int i = 0; i < 2 && !s; i++) {
        char path[CONTROL_PATH_SIZE];
        if (control_path_make(b->guest->name, user ? user->uid : (uid_t)-1, path, err) < 0)
            return NULL;
        s = control_server_new(b->loop, b->guest->name, path, &ops, b, err);
        if (s)
            memcpy(b->control_path, path, sizeof(path));
    }
    return s;
}

// To who will have to remove it. Whoever that is, root may connect.
static int
give_away(const struct broker *b, const struct run_as *user, struct error *err)
{
    const struct unix_access access = {.uid = user->uid, .gid = user->gid};
    return control_server_share(b->control, &access, err);
}

static int
give_dir_away(struct broker *b, const struct run_as *user, struct error *err)
{
    char dir[CONTROL_PATH_SIZE];
    memcpy(dir, b->control_path, sizeof(dir));
    *strrchr(dir, '/') = '\0';
    int rc = give_away(b, user, err);
    if (rc == 0 && lchown(dir, user->uid, user->gid) < 0)
        rc = error_set(err, errno, "control: %s", dir);
    return rc;
}

int
broker_control_open(struct broker *b, const struct broker_config *config, struct error *err)
{
    control_service_warm();
    if (config->control_path) {
        b->control =
            control_server_new(b->loop, b->guest->name, config->control_path, &ops, b, err);
        if (!b->control)
            return -EIO;
        return config->user ? give_away(b, config->user, err) : 0;
    }
    if (!config->control_by_name)
        return 0;
    // Nobody asked for it: a guest is not left without its channels for that.
    b->control = open_by_name(b, config->user, err);
    if (!b->control || (config->user && give_dir_away(b, config->user, err) < 0))
        log_warn("%s: %s; the channels stay as they are (--control=off for silence)",
                 b->guest->name, err->text);
    return 0;
}

void
broker_control_close(struct broker *b)
{
    control_server_free(b->control);
    b->control = NULL;
    if (b->control_path[0] != '\0')
        control_path_remove(b->control_path);
}

void
broker_control_worker_gone(struct broker *b)
{
    b->closes_expected = 0;
    b->counters->link.up = 0;
    for (size_t i = 0; i < GUEST_CHANNELS_MAX; i++)
        if (b->counters->channels[i].connections > 0)
            b->counters->channels[i].connections = 0;
    control_server_release(b->control, UINT32_MAX);
}
