// SPDX-License-Identifier: BSD-3-Clause
// Which device has which codec, and the rules that hold for all: answers before data, nothing
// before the handshake or after the goodbye. The protocols are in codec_telnet.c and
// codec_websocket.c. Called by host/end.
#include "host/codec.h"

#include "host/codec_ops.h"

#include <stdlib.h>
#include <string.h>

// Also on a Unix socket, when asked for.
static bool
is_telnet(const struct device *dev)
{
    return dev->kind == DEVICE_TELNET || dev->telnet;
}

static bool
is_websocket(const struct device *dev)
{
    return dev->kind == DEVICE_WEBSOCKET || dev->websocket;
}

bool
codec_is_needed(const struct device *dev)
{
    return is_telnet(dev) || is_websocket(dev);
}

struct codec *
codec_new(const struct device *dev)
{
    if (is_telnet(dev))
        return codec_telnet_new(dev->server);
    if (is_websocket(dev))
        return codec_websocket_new();
    return NULL;
}

void
codec_free(struct codec *c)
{
    free(c);
}

int
codec_decode(struct codec *c, const void *in, size_t in_len, void *out, size_t out_size,
             struct codec_step *step)
{
    *step = (struct codec_step){0};
    return c->ops->decode(c, in, in_len, out, out_size, step);
}

void
codec_encode(struct codec *c, const void *in, size_t in_len, void *out, size_t out_size,
             struct codec_step *step)
{
    *step = (struct codec_step){.produced = codec_reply(c, out, out_size)};
    size_t room = out_size - step->produced;
    if (in_len == 0 || room < CODEC_ROOM_MIN || !codec_is_open(c) || codec_is_shut(c))
        return;
    struct codec_step data = {0};
    c->ops->encode(c, in, in_len, (uint8_t *)out + step->produced, room, &data);
    step->consumed = data.consumed;
    step->produced += data.produced;
}

size_t
codec_reply(struct codec *c, void *out, size_t out_size)
{
    return c->ops->reply(c, out, out_size);
}

void
codec_finish(struct codec *c)
{
    c->ops->finish(c);
}

bool
codec_is_open(const struct codec *c)
{
    return c->ops->is_open(c);
}

bool
codec_is_shut(const struct codec *c)
{
    return c->ops->is_shut(c);
}

bool
codec_may_end(const struct codec *c)
{
    return c->ops->may_end(c);
}

size_t
codec_staged_take(struct codec_staged *s, uint8_t *out, size_t out_size)
{
    size_t n = s->len - s->at < out_size ? s->len - s->at : out_size;
    if (n > 0)
        memcpy(out, s->bytes + s->at, n);
    s->at += n;
    return n;
}
