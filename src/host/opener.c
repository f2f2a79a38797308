// SPDX-License-Identifier: BSD-3-Clause
// The channels of a guest by index, and which of them a session belongs to. How one channel serves
// its requests is host/opener_channel's.
#include "host/opener.h"

#include "host/opener_channel.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct opener {
    struct opener_shared shared;
    const struct channel_spec *specs; // the caller's
    struct opener_channel *channels;  // of shared NULL: not in use
    size_t channels_max;
};

struct opener *
opener_new(const struct opener_config *config, struct error *err)
{
    struct opener *o = calloc(1, sizeof(*o));
    size_t max = config->channels_max ? config->channels_max : config->channel_count;
    if (o)
        o->channels = calloc(max + 1, sizeof(*o->channels));
    if (!o || !opener_table_init(&o->shared.table, config->max_pending) || !o->channels) {
        opener_free(o);
        error_set(err, ENOMEM, "host ends");
        return NULL;
    }
    o->shared.loop = config->loop;
    o->shared.events = config->events;
    o->shared.ctx = config->ctx;
    o->specs = config->channels;
    o->shared.has_stdio = config->has_stdio;
    o->shared.access = config->access;
    o->channels_max = max;
    o->shared.channel_addr.addr = config->channel_addr;
    o->shared.channel_addr.addr6 = config->channel_addr6;
    snprintf(o->shared.guest, sizeof(o->shared.guest), "%s", config->guest);
    if (config->uuid)
        snprintf(o->shared.uuid, sizeof(o->shared.uuid), "%s", config->uuid);
    for (size_t i = 0; i < config->channel_count; i++) {
        if (channel_spec_is_used(&config->channels[i]) && opener_add(o, (uint16_t)i, err) < 0) {
            opener_free(o);
            return NULL;
        }
    }
    return o;
}

int
opener_add(struct opener *o, uint16_t index, struct error *err)
{
    assert(index < o->channels_max && opener_is_free(o, index));
    struct opener_channel *ch = &o->channels[index];
    if (ch->removed)
        opener_channel_stop(ch);
    return opener_channel_start(ch, &o->shared, &o->specs[index], err);
}

bool
opener_is_free(const struct opener *o, uint16_t index)
{
    const struct opener_channel *ch = &o->channels[index];
    return !ch->shared || (ch->removed && opener_channel_is_idle(ch));
}

static bool
is_in_use(const struct opener *o, size_t index)
{
    return index < o->channels_max && o->channels[index].shared && !o->channels[index].removed;
}

uint32_t
opener_remove(struct opener *o, uint16_t index)
{
    assert(is_in_use(o, index));
    struct opener_channel *ch = &o->channels[index];
    uint32_t open = opener_channel_forget_all(ch);
    ch->removed = true;
    if (opener_is_free(o, index))
        opener_channel_stop(ch);
    return open;
}

void
opener_free(struct opener *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->channels_max; i++)
        if (o->channels[i].shared)
            opener_channel_stop(&o->channels[i]);
    free(o->channels);
    opener_table_fini(&o->shared.table);
    free(o);
}

bool
opener_counts(const struct device *dev)
{
    return device_is_exclusive(dev->kind) || dev->kind == DEVICE_CMD;
}

bool
opener_open(struct opener *o, uint64_t session, uint16_t channel, const struct proxy_peer *guest)
{
    assert(is_in_use(o, channel));
    if (opener_table_find(&o->shared.table, session))
        return false;
    opener_channel_request(&o->channels[channel], session, guest);
    return true;
}

void
opener_cancel(struct opener *o, uint64_t session)
{
    struct request *r = opener_table_find(&o->shared.table, session);
    if (r)
        opener_channel_forget(r);
}

bool
opener_closed(struct opener *o, uint64_t session)
{
    struct request *r = opener_table_find(&o->shared.table, session);
    if (!r || r->state != REQUEST_OPEN)
        return false;
    opener_channel_forget(r);
    return true;
}

void
opener_cancel_all(struct opener *o)
{
    for (size_t i = 0; i < o->channels_max; i++)
        if (is_in_use(o, i))
            opener_channel_forget_all(&o->channels[i]);
}

uint32_t
opener_pending(const struct opener *o)
{
    return o->shared.table.pending;
}

int
opener_log_fd(const struct opener *o, uint16_t channel)
{
    return is_in_use(o, channel) ? o->channels[channel].log_fd : -1;
}
