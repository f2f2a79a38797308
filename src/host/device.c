// SPDX-License-Identifier: BSD-3-Clause
// The device grammar of QEMU 7.2's -serial, with its defaults: text -> struct device. One table has
// the words a device may begin with; what follows is read by device_address.c and device_options.c.
// Opens nothing; splitting and unescaping is base/options.
#include "host/device.h"
#include "host/device_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEVICE_FORMS                                                                               \
    "unix:PATH, tcp:[HOST]:PORT, telnet:[HOST]:PORT, websocket:[HOST]:PORT,server, "               \
    "udp:[HOST]:PORT[@[HOST]:PORT], pty[:LINK], file:PATH, pipe:PATH, stdio, /dev/..., "           \
    "serial:PATH, null, cmd:COMMAND, vsock:CID:PORT, chardev:ID"

enum operand {
    OPERAND_NONE,  // the word stands alone, or before a comma
    OPERAND_FIRST, // what follows the word, whatever it holds, up to a single comma
    OPERAND_KEEP,  // the same, and the word is a part of it
    OPERAND_KEYED, // the same, or path=PATH anywhere
};

// A word a device begins with, and what becomes of it: a kind, or a reason why not.
struct device_word {
    const char *word;
    enum operand operand;
    enum device_kind kind;
    int (*set)(struct device *dev, const char *operand, struct error *err);
    const char *refused; // else NULL
};

#define SCREEN "it is a part of QEMU's screen and keyboard; use pty or unix:PATH instead"
#define SPICE  "it lives inside a SPICE server; use unix:PATH instead"
#define PPORT  "a parallel port is no byte stream; use file:PATH to write to it instead"
#define FAKED                                                                                      \
    "it is a device that QEMU emulates on a serial port; use null to try a channel instead"

static const struct device_word words[] = {
    {"unix:", OPERAND_KEYED, DEVICE_UNIX, NULL, NULL},
    {"tcp:", OPERAND_FIRST, DEVICE_TCP, device_set_inet, NULL},
    {"telnet:", OPERAND_FIRST, DEVICE_TELNET, device_set_inet, NULL},
    {"websocket:", OPERAND_FIRST, DEVICE_WEBSOCKET, device_set_inet, NULL},
    {"udp:", OPERAND_FIRST, DEVICE_UDP, device_set_udp, NULL},
    {"pty", OPERAND_NONE, DEVICE_PTY, NULL, NULL},
    {"pty:", OPERAND_FIRST, DEVICE_PTY, device_set_path, NULL},
    {"file:", OPERAND_FIRST, DEVICE_FILE, device_set_path, NULL},
    {"pipe:", OPERAND_FIRST, DEVICE_PIPE, device_set_path, NULL},
    {"stdio", OPERAND_NONE, DEVICE_STDIO, NULL, NULL},
    {"serial:", OPERAND_FIRST, DEVICE_TTY, device_set_path, NULL},
    {"null", OPERAND_NONE, DEVICE_NULL, NULL, NULL},
    {"cmd:", OPERAND_FIRST, DEVICE_CMD, device_set_path, NULL},
    {"vsock:", OPERAND_FIRST, DEVICE_VSOCK, device_set_vsock, NULL},
    {"chardev:", OPERAND_FIRST, 0, NULL,
     "there is no -chardev here; use the device itself instead"},
    {"mon:", OPERAND_FIRST, 0, NULL,
     "it would give the guest QEMU's monitor; use the device without mon: instead"},
    {"vc", OPERAND_NONE, 0, NULL, SCREEN},
    {"vc:", OPERAND_FIRST, 0, NULL, SCREEN},
    {"con:", OPERAND_FIRST, 0, NULL, "it is a Windows console; use stdio instead"},
    {"COM", OPERAND_FIRST, 0, NULL, "it is a Windows serial port; use /dev/ttyS0 instead"},
    {"none", OPERAND_NONE, 0, NULL,
     "a channel without a device is no channel; leave it out, or use null instead"},
    {"braille", OPERAND_NONE, 0, NULL,
     "it is a Braille display that only QEMU can drive; use its /dev/tty... instead"},
    {"msmouse", OPERAND_NONE, 0, NULL, FAKED},
    {"wctablet", OPERAND_NONE, 0, NULL, FAKED},
    {"testdev", OPERAND_NONE, 0, NULL, FAKED},
    {"tn3270:", OPERAND_FIRST, 0, NULL,
     "it is a terminal of s390 consoles in QEMU; use telnet: instead"},
    {"gdb", OPERAND_NONE, 0, NULL, "it is the debugger inside QEMU; use tcp: to reach it instead"},
    {"spicevmc", OPERAND_NONE, 0, NULL, SPICE},
    {"spicevmc:", OPERAND_FIRST, 0, NULL, SPICE},
    {"spiceport", OPERAND_NONE, 0, NULL, SPICE},
    {"spiceport:", OPERAND_FIRST, 0, NULL, SPICE},
    {"/dev/parport", OPERAND_KEEP, 0, NULL, PPORT},
    {"/dev/ppi", OPERAND_KEEP, 0, NULL, PPORT},
    {"/dev/", OPERAND_KEEP, DEVICE_TTY, device_set_path, NULL},
};

static bool
word_matches(const struct device_word *w, const char *text)
{
    size_t len = strlen(w->word);
    if (strncmp(text, w->word, len) != 0)
        return false;
    return w->operand != OPERAND_NONE || text[len] == '\0' || text[len] == ',';
}

bool
device_is_exclusive(enum device_kind kind)
{
    switch (kind) {
    case DEVICE_UNIX:
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_NULL:
    case DEVICE_CMD:
    case DEVICE_VSOCK:
        return false;
    case DEVICE_UDP:
    case DEVICE_PTY:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_STDIO:
    case DEVICE_TTY:
        return true;
    }
    return false;
}

bool
device_accepts_early(const struct device *dev)
{
    return dev->server && !dev->wait;
}

void
device_init(struct device *dev, enum device_kind kind)
{
    memset(dev, 0, sizeof(*dev));
    dev->kind = kind;
    dev->wait = true;
    dev->tight = true;
    dev->ipv4 = true;
    dev->ipv6 = true;
    dev->signal = kind == DEVICE_STDIO;
    dev->max = device_is_exclusive(kind) ? 1 : 0;
}

static int
parse_word(const struct device_word *w, const char *text, struct device *out, struct error *err)
{
    const char *rest = text + strlen(w->word);
    struct options opts = options_of(w->operand == OPERAND_KEEP ? text : rest);
    struct option operand;
    device_init(out, w->kind);
    if (strcmp(rest, ",") == 0)
        return error_set(err, 0, "nothing follows the last comma: '%s'", text);
    if (w->operand == OPERAND_NONE && rest[0] == ',')
        opts = (struct options){.rest = rest + 1}; // options alone
    if (w->set) {
        int rc = options_first(&opts, &operand, err);
        if (rc == 0 || rc == 1)
            rc = w->set(out, operand.value, err);
        if (rc < 0)
            return rc;
    }
    int rc = device_read_options(out, DEVICE_SHORT, &opts, err);
    if (rc == 0 && w->operand == OPERAND_KEYED && out->path[0] == '\0')
        return device_set_path(out, "", err);
    return rc;
}

int
device_parse(const char *text, struct device *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const struct device_word *w = &words[i];
        if (!word_matches(w, text))
            continue;
        if (!w->refused)
            return parse_word(w, text, out, err);
        return error_set(err, 0, "%.64s: refused, %s; accepted: " DEVICE_FORMS, text, w->refused);
    }
    if (text[0] == '\0')
        return error_set(err, 0, "empty device; accepted: " DEVICE_FORMS);
    return error_set(err, 0, "%.64s: unknown device; accepted: " DEVICE_FORMS, text);
}

bool
channel_port_parse(const char *text, size_t len, uint16_t *out)
{
    if (len < 1 || len > 5)
        return false;
    uint32_t port = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (port < 1 || port > UINT16_MAX)
        return false;
    *out = (uint16_t)port;
    return true;
}

int
channel_spec_parse(const char *text, struct channel_spec *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    size_t len = strcspn(text, ":");
    if (!channel_port_parse(text, len, &out->port))
        return error_set(err, 0,
                         "port '%.*s': not a number from 1 to 65535; accepted: PORT:DEVICE, "
                         "as in 600:unix:/some/path",
                         (int)(len < 64 ? len : 64), text);
    if (text[len] == '\0')
        return error_set(err, 0,
                         "channel %u: no device; accepted: PORT:DEVICE, as in 600:unix:/some/path",
                         out->port);
    const char *device = text + len + 1;
    int rc = device_parse(device, &out->device, err);
    if (rc < 0) {
        error_prefix(err, "channel %u", out->port);
        return rc;
    }
    snprintf(out->text, sizeof(out->text), "%s", device);
    return 0;
}

bool
channel_spec_is_used(const struct channel_spec *spec)
{
    return spec->port != 0 || spec->inward;
}

uint32_t
channel_specs_inward(const struct channel_spec *specs, size_t count)
{
    uint32_t inward = 0;
    for (size_t i = 0; i < count; i++)
        inward += specs[i].inward;
    return inward;
}
