// SPDX-License-Identifier: BSD-3-Clause
// For the table tests of the device grammar: every field of a device in one line, and the checks
// of one row. What is at QEMU's default for the kind is left out of the line.
#pragma once

#include "test.h"

#include "host/device.h"

#include <errno.h>
#include <stdio.h>

struct valid {
    const char *text;
    const char *fields; // as device_line gives them
};

struct invalid {
    const char *text;
    const char *part; // of the message
};

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static inline void
put(char *out, size_t size, const char *name, const char *value)
{
    size_t len = strlen(out);
    snprintf(out + len, size - len, " %s%s%s", name, value ? "=" : "", value ? value : "");
}

static inline void
put_number(char *out, size_t size, const char *name, unsigned value)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", value);
    put(out, size, name, number);
}

static inline void
put_addr(char *out, size_t size, const char *name, const struct device_addr *a)
{
    size_t len = strlen(out);
    if (a->host[0] || a->port[0])
        snprintf(out + len, size - len, " %s=%s|%s", name, a->host, a->port);
}

static inline void
put_flags(char *out, size_t size, const struct device *d)
{
    const struct {
        const char *name;
        bool on;
    } flags[] = {{"server", d->server},      {"wait", d->wait},           {"nodelay", d->nodelay},
                 {"telnet", d->telnet},      {"websocket", d->websocket}, {"abstract", d->abstract},
                 {"no-tight", !d->tight},    {"proxy", d->proxy},         {"no-ipv4", !d->ipv4},
                 {"no-ipv6", !d->ipv6},      {"append", d->append},       {"signal", d->signal},
                 {"logappend", d->logappend}};
    for (size_t i = 0; i < ROWS(flags); i++)
        if (flags[i].on)
            put(out, size, flags[i].name, NULL);
}

// "tcp remote=localhost|600 server wait": all that is set.
static inline const char *
device_line(const struct device *d, char *out, size_t size)
{
    snprintf(out, size, "%s", device_kind_name(d->kind));
    if (d->path[0])
        put(out, size, "path", d->path);
    put_addr(out, size, "remote", &d->remote);
    put_addr(out, size, "local", &d->local);
    if (d->kind == DEVICE_VSOCK || d->vsock_cid || d->vsock_port) {
        put_number(out, size, "cid", d->vsock_cid);
        put_number(out, size, "port", d->vsock_port);
    }
    put_flags(out, size, d);
    if (d->reconnect_s)
        put_number(out, size, "reconnect", d->reconnect_s);
    if (d->max != (device_is_exclusive(d->kind) ? 1 : 0))
        put_number(out, size, "max", d->max);
    if (d->name[0])
        put(out, size, "name", d->name);
    if (d->logfile[0])
        put(out, size, "logfile", d->logfile);
    return out;
}

static inline void
expect_fields(const char *text, const struct device *d, const char *fields)
{
    char line[4096];
    if (strcmp(device_line(d, line, sizeof(line)), fields) != 0)
        fail_msg("%s: is '%s', not '%s'", text, line, fields);
}

static inline void
expect_message(const char *text, int rc, const struct error *err, const char *part)
{
    if (rc != -EINVAL)
        fail_msg("'%s' gave %d", text, rc);
    if (!strstr(err->text, part))
        fail_msg("'%s' gave '%s', without '%s'", text, err->text, part);
    // The end of a message is what is accepted: nothing may have pushed it out.
    assert_true(strlen(err->text) < sizeof(err->text) - 1);
}
