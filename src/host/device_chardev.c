// SPDX-License-Identifier: BSD-3-Clause
// QEMU's -chardev: the long form of a device, BACKEND,id=ID,key=value,... Finds out which kind of
// device it is and leaves the options to device_options.c.
#include "host/device.h"
#include "host/device_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BACKENDS "accepted: socket, udp, pty, file, pipe, stdio, serial, null"
#define ID_FORM  "accepted: id=ID, a letter, then letters, digits, '-', '.' and '_'"

struct backend {
    const char *name;
    enum device_kind kind;
    const char *refused; // else NULL
};

static const struct backend backends[] = {
    {"socket", DEVICE_UNIX, NULL}, // or tcp: see socket_kind
    {"udp", DEVICE_UDP, NULL},
    {"pty", DEVICE_PTY, NULL},
    {"file", DEVICE_FILE, NULL},
    {"pipe", DEVICE_PIPE, NULL},
    {"stdio", DEVICE_STDIO, NULL},
    {"serial", DEVICE_TTY, NULL},
    {"tty", DEVICE_TTY, NULL}, // its old name
    {"null", DEVICE_NULL, NULL},
    {"vc", 0, "it is a part of QEMU's screen; use pty or socket instead"},
    {"console", 0, "it is a Windows console; use stdio instead"},
    {"ringbuf", 0, "only QEMU's monitor could read it; use file instead"},
    {"memory", 0, "only QEMU's monitor could read it; use file instead"},
    {"parallel", 0, "a parallel port is no byte stream; use file instead"},
    {"parport", 0, "a parallel port is no byte stream; use file instead"},
    {"braille", 0, "it is a Braille display that only QEMU can drive; use serial instead"},
    {"msmouse", 0, "QEMU emulates it on a serial port; use null to try a channel instead"},
    {"wctablet", 0, "QEMU emulates it on a serial port; use null to try a channel instead"},
    {"testdev", 0, "it ends QEMU for its own tests; use null to try a channel instead"},
    {"mux", 0, "only QEMU can share a device between its front ends; use several channels instead"},
    {"gdb", 0, "it is the debugger inside QEMU; use socket to reach it instead"},
    {"dbus", 0, "it lives on QEMU's D-Bus display; use socket instead"},
    {"spicevmc", 0, "it lives inside a SPICE server; use socket instead"},
    {"spiceport", 0, "it lives inside a SPICE server; use socket instead"},
    {"qemu-vdagent", 0, "it is QEMU's own clipboard agent; use socket instead"},
};

// What a first look at all the options finds.
struct outline {
    struct option backend, id;
    bool path, inet; // options that tell the kind of a socket
};

bool
chardev_id_is_valid(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t len = strlen(id);
    if (len > CHARDEV_ID_MAX || len == 0 || !strchr(letters, id[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!strchr(letters, id[i]) && !strchr("0123456789-._", id[i]))
            return false;
    return true;
}

static bool
is_backend(const struct option *opt)
{
    return opt->key[0] == '\0' || (strcmp(opt->key, "backend") == 0 && !opt->bare);
}

bool
chardev_find_id(const char *text, char id[CHARDEV_ID_MAX + 1])
{
    struct options opts = options_of(text);
    struct option opt;
    while (options_next(&opts, &opt, NULL) > 0) {
        if (strcmp(opt.key, "id") != 0 || opt.bare || !chardev_id_is_valid(opt.value))
            continue;
        memcpy(id, opt.value, strlen(opt.value) + 1);
        return true;
    }
    return false;
}

static int
look_over(const char *text, struct outline *out, struct error *err)
{
    struct options opts = options_of(text);
    struct option opt;
    int more;
    memset(out, 0, sizeof(*out));
    while ((more = options_next(&opts, &opt, err)) > 0) {
        struct option *slot = NULL;
        if (is_backend(&opt))
            slot = &out->backend;
        else if (strcmp(opt.key, "id") == 0)
            slot = &out->id;
        else if (strcmp(opt.key, "path") == 0)
            out->path = true;
        else if (strcmp(opt.key, "host") == 0 || strcmp(opt.key, "port") == 0)
            out->inet = true;
        if (slot && slot->value[0])
            return error_set(err, 0, "%s given twice ('%.64s' and '%.64s')",
                             is_backend(&opt) ? "backend" : "id", slot->value, opt.value);
        if (slot)
            *slot = opt;
    }
    return more;
}

static int
socket_kind(const struct outline *o, enum device_kind *kind, struct error *err)
{
    if (o->path == o->inet)
        return error_set(err, 0,
                         "socket: %s (accepted: path=PATH for a unix socket, "
                         "or host=HOST,port=PORT for tcp)",
                         o->path ? "path does not go with host or port" : "no path and no port");
    *kind = o->path ? DEVICE_UNIX : DEVICE_TCP;
    return 0;
}

static int
find_kind(const struct outline *o, enum device_kind *kind, struct error *err)
{
    const char *name = o->backend.value;
    if (name[0] == '\0')
        return error_set(err, 0, "no backend (" BACKENDS ")");
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        const struct backend *b = &backends[i];
        if (strcmp(b->name, name) != 0)
            continue;
        if (b->refused)
            return error_set(err, 0, "%s: refused, %s (" BACKENDS ")", name, b->refused);
        *kind = b->kind;
        return b->kind == DEVICE_UNIX ? socket_kind(o, kind, err) : 0;
    }
    return error_set(err, 0, "%.64s: unknown backend (" BACKENDS ")", name);
}

// What a kind cannot do without.
static int
check_complete(const struct device *dev, struct error *err)
{
    switch (dev->kind) {
    case DEVICE_UNIX:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_TTY:
        if (dev->path[0] == '\0')
            return error_set(err, 0, "%s: no path (accepted: path=PATH)",
                             device_kind_name(dev->kind));
        return 0;
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_UDP:
        if (dev->remote.port[0] == '\0')
            return error_set(err, 0, "%s: no port (accepted: port=PORT)",
                             device_kind_name(dev->kind));
        return 0;
    case DEVICE_PTY:
    case DEVICE_STDIO:
    case DEVICE_NULL:
    case DEVICE_CMD:
    case DEVICE_VSOCK:
        return 0;
    }
    return 0;
}

static int
parse_device(const char *text, const struct outline *outline, struct device *out, struct error *err)
{
    enum device_kind kind;
    struct options opts = options_of(text);
    int rc = find_kind(outline, &kind, err);
    if (rc < 0)
        return rc;
    device_init(out, kind);
    rc = device_read_options(out, DEVICE_LONG, &opts, err);
    return rc < 0 ? rc : check_complete(out, err);
}

int
chardev_parse(const char *text, struct chardev_spec *out, struct error *err)
{
    struct outline outline;
    memset(out, 0, sizeof(*out));
    int rc = look_over(text, &outline, err);
    if (rc < 0) {
        error_prefix(err, "chardev '%.64s'", text);
        return rc;
    }
    if (outline.id.value[0] == '\0' || outline.id.bare)
        return error_set(err, 0, "chardev '%.64s': no id (" ID_FORM ")", text);
    if (!chardev_id_is_valid(outline.id.value))
        return error_set(err, 0,
                         "chardev '%.64s': id '%.64s' is not good, or over %d bytes (" ID_FORM ")",
                         text, outline.id.value, CHARDEV_ID_MAX);
    memcpy(out->id, outline.id.value, strlen(outline.id.value) + 1);
    rc = parse_device(text, &outline, &out->device, err);
    if (rc < 0)
        error_prefix(err, "chardev %s", out->id);
    return rc;
}
