// SPDX-License-Identifier: BSD-3-Clause
// A guest that control calls are served for: two channels, and what it was asked to do.
#pragma once

#include "control/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fake_guest {
    char added[256];
    int removed;  // port
    int captured; // snaplen
};

static void
fake_info(void *ctx, struct control_info *out)
{
    *out = (struct control_info){.pid = 7, .worker = 8, .uptime_s = 9, .restarts = 1};
    strcpy(out->name, "vm1");
    strcpy(out->version, "1.2");
    strcpy(out->link, "tap,ifname=\xff\x1b"); // no UTF-8
}

static void
fake_link(void *ctx, struct control_link *out)
{
    *out = (struct control_link){.up = 1, .frames_in = UINT64_MAX, .resets_sent = 3};
}

static bool
fake_next_channel(void *ctx, size_t *at, struct control_channel *out)
{
    if (*at >= 2)
        return false;
    *out = (struct control_channel){.port = (uint16_t)(600 + *at), .connections = *at};
    snprintf(out->device, sizeof(out->device), "unix:/%zu", *at);
    if ((*at)++ == 0)
        strcpy(out->name, "one");
    return true;
}

static int
fake_add(void *ctx, const char *text, uint16_t *first, uint16_t *last, struct error *err)
{
    struct fake_guest *g = ctx;
    snprintf(g->added, sizeof(g->added), "%s", text);
    *first = *last = 700;
    return strcmp(text, "no") == 0 ? error_set(err, 0, "a \"reason\" \xff") : 0;
}

static int
fake_remove(void *ctx, uint16_t port, struct error *err)
{
    struct fake_guest *g = ctx;
    g->removed = port;
    return port == 600 ? 0 : -ENOENT;
}

static int
fake_capture(void *ctx, int fd, uint32_t snaplen, struct error *err)
{
    struct fake_guest *g = ctx;
    g->captured = (int)snaplen;
    close(fd);
    return 0;
}

static const struct control_ops fake_ops = {.info = fake_info,
                                            .link = fake_link,
                                            .next_channel = fake_next_channel,
                                            .add = fake_add,
                                            .remove = fake_remove,
                                            .capture = fake_capture};
