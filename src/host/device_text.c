// SPDX-License-Identifier: BSD-3-Clause
// A device in words for people: what --dry-run prints, so that a line with a surprise in it shows.
#include "host/device.h"

#include "base/options.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *out;
    size_t size, len; // len < size, unless size is 0
};

__attribute__((format(printf, 2, 3))) static void
add(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->out + t->len, t->size - t->len, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    size_t room = t->size - t->len - 1;
    t->len += (size_t)n < room ? (size_t)n : room;
}

const char *
device_kind_name(enum device_kind kind)
{
    switch (kind) {
    case DEVICE_UNIX:
        return "unix";
    case DEVICE_TCP:
        return "tcp";
    case DEVICE_TELNET:
        return "telnet";
    case DEVICE_WEBSOCKET:
        return "websocket";
    case DEVICE_UDP:
        return "udp";
    case DEVICE_PTY:
        return "pty";
    case DEVICE_FILE:
        return "file";
    case DEVICE_PIPE:
        return "pipe";
    case DEVICE_STDIO:
        return "stdio";
    case DEVICE_TTY:
        return "serial";
    case DEVICE_NULL:
        return "null";
    case DEVICE_CMD:
        return "cmd";
    case DEVICE_VSOCK:
        return "vsock";
    }
    return "?";
}

struct port_text
channel_port_text(uint16_t port)
{
    struct port_text t = {"*"};
    if (port != 0)
        snprintf(t.text, sizeof(t.text), "%hu", port);
    return t;
}

static void
add_addr(struct text *t, const struct device_addr *a, const char *empty_host)
{
    const char *host = a->host[0] ? a->host : empty_host;
    if (strchr(host, ':'))
        add(t, "[%s]:%s", host, a->port[0] ? a->port : "any");
    else
        add(t, "%s:%s", host, a->port[0] ? a->port : "any");
}

// What the device is.
static void
add_thing(struct text *t, const struct device *dev)
{
    const char *kind = device_kind_name(dev->kind);
    switch (dev->kind) {
    case DEVICE_UNIX:
        if (dev->abstract)
            add(t, "abstract unix socket %s%s", dev->path, dev->tight ? "" : ", padded");
        else
            add(t, "unix socket %s", dev->path);
        break;
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
        add(t, "%s ", kind);
        add_addr(t, &dev->remote, dev->server ? "*" : "localhost");
        break;
    case DEVICE_UDP:
        add(t, "udp to ");
        add_addr(t, &dev->remote, "localhost");
        add(t, " from ");
        add_addr(t, &dev->local, "*");
        break;
    case DEVICE_PTY:
        add(t, "new pseudo-terminal%s%s", dev->path[0] ? " linked from " : "", dev->path);
        break;
    case DEVICE_FILE:
        add(t, "file %s, %s", dev->path, dev->append ? "appended to" : "truncated at start");
        break;
    case DEVICE_PIPE:
        add(t, "pipes %s.in and %s.out, or %s both ways", dev->path, dev->path, dev->path);
        break;
    case DEVICE_STDIO:
        add(t, "standard input and output%s", dev->signal ? "" : ", Ctrl-C is input");
        break;
    case DEVICE_TTY:
        add(t, "character device %s", dev->path);
        break;
    case DEVICE_NULL:
        add(t, "nothing, all is swallowed");
        break;
    case DEVICE_CMD:
        add(t, "command %s", dev->path);
        break;
    case DEVICE_VSOCK:
        add(t, "vsock CID %u port %u", dev->vsock_cid, dev->vsock_port);
        break;
    }
}

// What a guest connection makes it do.
static const char *
use_of(const struct device *dev)
{
    if (device_accepts_early(dev))
        return "listened on, the guest connects at once";
    if (dev->server)
        return "listened on, the guest's connect waits for a client";
    switch (dev->kind) {
    case DEVICE_UNIX:
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_VSOCK:
        return "connected to for each guest connection";
    case DEVICE_CMD:
        return "run for each guest connection";
    case DEVICE_NULL:
        return "for any guest connection";
    case DEVICE_UDP:
    case DEVICE_PTY:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_STDIO:
    case DEVICE_TTY:
        return "opened at start, for one guest connection at a time";
    }
    return "?";
}

void
device_describe(const struct device *dev, char *out, size_t out_size)
{
    struct text t = {.out = out, .size = out_size};
    assert(out_size > 0);
    out[0] = '\0';
    add_thing(&t, dev);
    add(&t, ", %s", use_of(dev));
    if (dev->kind == DEVICE_UNIX && (dev->telnet || dev->websocket))
        add(&t, ", speaks %s", dev->telnet ? "telnet" : "websocket");
    if (dev->reconnect_s > 0)
        add(&t, ", retried every %u s", dev->reconnect_s);
    if (dev->nodelay)
        add(&t, ", without delay");
    if (!dev->ipv4 || !dev->ipv6)
        add(&t, ", IPv%d only", dev->ipv4 ? 4 : 6);
    if (dev->max > 0 && !device_is_exclusive(dev->kind))
        add(&t, ", at most %u at once", dev->max);
    if (dev->conn_rate > 0)
        add(&t, ", at most %u opened per second", dev->conn_rate);
    if (dev->idle_s > 0)
        add(&t, ", reset when idle for %u s", dev->idle_s);
    char rate[OPTION_SIZE_TEXT], burst[OPTION_SIZE_TEXT];
    if (dev->rate > 0)
        add(&t, ", at most %s bytes per second each way (%s at once)",
            option_size_text(dev->rate, rate), option_size_text(dev->burst, burst));
    if (dev->name[0])
        add(&t, ", called %s", dev->name);
    if (dev->logfile[0])
        add(&t, ", %s to %s", dev->logappend ? "log appended" : "logged", dev->logfile);
}
