// SPDX-License-Identifier: BSD-3-Clause
// The channels of one guest: ranges of ports, devices declared by -chardev, and what channels may
// not have in common. One device is host/device's; nothing is opened here.
#include "config/guest_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHARDEV_WORD "chardev:"
#define EXPANDED_MAX 4096 // of the text of a device with its ports put in
#define RANGE_FORM   "accepted: FIRST-LAST:DEVICE, as in 1000-1999:unix:/run/%%p.sock"
#define INWARD_FORM                                                                                \
    "accepted: PORT:unix:PATH, PORT:tcp:[HOST]:PORT, or *:unix:PATH for clients that name the "    \
    "port"
#define CHARDEV_USE "accepted: -chardev BACKEND,id=ID and -vmchannel PORT:chardev:ID"

// What stands before the first colon of -vmchannel, and what behind it.
struct ports {
    uint16_t first, last;
    const char *device;
};

// The id when the text of a device is chardev:ID, else NULL.
static const char *
chardev_of(const char *device)
{
    size_t len = strlen(CHARDEV_WORD);
    return strncmp(device, CHARDEV_WORD, len) == 0 ? device + len : NULL;
}

// A range has a dash behind something and before the first colon: whether good is parse_range's.
static bool
is_range(const char *text)
{
    size_t len = strcspn(text, ":");
    const char *dash = memchr(text, '-', len);
    return dash && dash != text && text[len] == ':';
}

static int
parse_range(const char *text, struct ports *out, struct error *err)
{
    size_t len = strcspn(text, ":");
    size_t first_len = strcspn(text, "-");
    int shown = (int)(len < 64 ? len : 64);
    if (!channel_port_parse(text, first_len, &out->first) ||
        !channel_port_parse(text + first_len + 1, len - first_len - 1, &out->last))
        return error_set(err, 0, "port '%.*s': not two numbers from 1 to 65535; " RANGE_FORM, shown,
                         text);
    if (out->first > out->last)
        return error_set(err, 0, "port '%.*s': the first is above the last; " RANGE_FORM, shown,
                         text);
    out->device = text + len + 1;
    if (chardev_of(out->device))
        return error_set(
            err, 0,
            "channels %.*s: a -chardev is one device; give the device itself, with %%p "
            "for the port (" RANGE_FORM ")",
            shown, text);
    return 0;
}

// "PORT:" and the text of a range's device for one port.
static int
expand(const struct ports *range, uint16_t port, char out[EXPANDED_MAX], struct error *err)
{
    size_t len = (size_t)snprintf(out, EXPANDED_MAX, "%u:", port);
    for (const char *p = range->device; *p; p++) {
        char piece[8] = {*p};
        if (*p == '%') {
            p++;
            if (*p != 'p' && *p != '%')
                return error_set(err, 0,
                                 "channels %u-%u: '%%%.1s' means nothing (accepted: %%p for the "
                                 "port, %%%% for a percent sign)",
                                 range->first, range->last, p);
            if (*p == 'p')
                snprintf(piece, sizeof(piece), "%u", port);
        }
        size_t n = strlen(piece);
        if (n >= EXPANDED_MAX - len)
            return error_set(err, 0, "channels %u-%u: the device has over %d bytes", range->first,
                             range->last, EXPANDED_MAX);
        memcpy(out + len, piece, n + 1);
        len += n;
    }
    return 0;
}

static bool
same_addr(const struct device_addr *a, const struct device_addr *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

// Whether two devices of a range are one thing that only one channel can have.
static bool
is_contended(const struct device *a, const struct device *b)
{
    bool own = a->server || device_is_exclusive(a->kind);
    if (a->kind == DEVICE_PTY && a->path[0] == '\0')
        own = false; // each channel gets a new one
    bool same_place = strcmp(a->path, b->path) == 0 && same_addr(&a->remote, &b->remote) &&
                      same_addr(&a->local, &b->local);
    bool same_log = a->logfile[0] != '\0' && strcmp(a->logfile, b->logfile) == 0;
    return (own && same_place) || same_log;
}

static int
check_range(const struct ports *range, const struct channel_spec *specs, struct error *err)
{
    if (range->first == range->last || !is_contended(&specs[0].device, &specs[1].device))
        return 0;
    return error_set(err, 0,
                     "channels %u-%u: %.64s: each port needs %s of its own, and there is no %%p in "
                     "it (" RANGE_FORM ")",
                     range->first, range->last, range->device,
                     specs[0].device.logfile[0] ? "a device and a logfile" : "a device");
}

// One channel; a device of -chardev is filled in later.
static int
parse_channel(const char *text, struct channel_spec *out, struct error *err)
{
    size_t len = strcspn(text, ":");
    const char *id = text[len] == ':' ? chardev_of(text + len + 1) : NULL;
    uint16_t port;
    if (!id || !channel_port_parse(text, len, &port))
        return channel_spec_parse(text, out, err);
    *out = (struct channel_spec){.port = port};
    if (!chardev_id_is_valid(id))
        return error_set(err, 0, "channel %u: chardev '%.64s': not an id (" CHARDEV_USE ")",
                         out->port, id);
    snprintf(out->text, sizeof(out->text), CHARDEV_WORD "%s", id);
    return 0;
}

static int
parse_range_channels(const struct ports *range, struct channel_spec *out, struct error *err)
{
    char text[EXPANDED_MAX];
    for (uint32_t port = range->first; port <= range->last; port++) {
        int rc = expand(range, (uint16_t)port, text, err);
        if (rc == 0)
            rc = parse_channel(text, &out[port - range->first], err);
        if (rc < 0)
            return rc;
    }
    return check_range(range, out, err);
}

static int
check_ports(const struct guest_config *c, const struct channel_spec *added, size_t count,
            struct error *err)
{
    for (size_t i = 0; i < c->channel_count; i++)
        for (size_t j = 0; j < count; j++)
            if (c->channels[i].port == added[j].port && c->channels[i].inward == added[j].inward)
                return error_set(err, 0, "channel %u: port given twice ('%.150s' and '%.150s')",
                                 added[j].port, c->channels[i].text, added[j].text);
    return 0;
}

// Room for `count` more at the end of the array.
static int
grow(struct guest_config *c, const char *text, size_t count, struct error *err)
{
    if (count > GUEST_CHANNELS_MAX - c->channel_count)
        return error_set(err, 0, "'%.64s': %zu channels more than %zu, at most %d are accepted",
                         text, count, c->channel_count, GUEST_CHANNELS_MAX);
    struct channel_spec *grown =
        realloc(c->channels, (c->channel_count + count) * sizeof(*c->channels));
    if (!grown)
        return error_set(err, ENOMEM, "'%.64s'", text);
    c->channels = grown;
    return 0;
}

int
guest_config_add_channel(struct guest_config *c, const char *text, struct error *err)
{
    struct ports range = {0};
    size_t count = 1;
    if (is_range(text)) {
        int rc = parse_range(text, &range, err);
        if (rc < 0)
            return rc;
        count = (size_t)range.last - range.first + 1;
    }
    int rc = grow(c, text, count, err);
    if (rc < 0)
        return rc;
    struct channel_spec *added = &c->channels[c->channel_count];
    rc = range.device ? parse_range_channels(&range, added, err) : parse_channel(text, added, err);
    if (rc == 0)
        rc = check_ports(c, added, count, err);
    if (rc == 0)
        c->channel_count += count;
    return rc;
}

// Whether one of the options is `server`, as on, off, or a word alone; ",," is a comma of a value.
static bool
says_server(const char *text)
{
    for (const char *comma = strchr(text, ','); comma; comma = strchr(comma + 1, ',')) {
        if (comma[1] == ',')
            comma++;
        else if (strncmp(comma + 1, "server", 6) == 0 || strncmp(comma + 1, "noserver", 8) == 0)
            return true;
    }
    return false;
}

// The device of an inward channel listens, whether or not that is said.
static int
parse_inward_device(const char *text, struct device *out, struct error *err)
{
    char with_server[EXPANDED_MAX];
    int rc = device_parse(text, out, err);
    if (rc == 0 && out->server)
        return 0;
    if (rc == 0 && out->kind != DEVICE_UNIX && out->kind != DEVICE_TCP &&
        out->kind != DEVICE_TELNET)
        return error_set(err, 0, "%s: a device that nobody can connect to (" INWARD_FORM ")",
                         device_kind_name(out->kind));
    if (text[0] == '\0' || says_server(text))
        return rc < 0 ? rc
                      : error_set(err, 0,
                                  "the host begins, so that the device has to listen "
                                  "(accepted: server=on)");
    int len = snprintf(with_server, sizeof(with_server), "%s,server=on", text);
    if (len < 0 || (size_t)len >= sizeof(with_server))
        return error_set(err, 0, "the device has over %d bytes",
                         EXPANDED_MAX - (int)sizeof(",server=on"));
    return device_parse(with_server, out, err);
}

int
guest_config_add_inward(struct guest_config *c, const char *text, struct error *err)
{
    int rc = grow(c, text, 1, err);
    if (rc < 0)
        return rc;
    struct channel_spec *out = &c->channels[c->channel_count];
    size_t len = strcspn(text, ":");
    memset(out, 0, sizeof(*out));
    out->inward = true;
    bool any = len == 1 && text[0] == '*';
    if ((!any && !channel_port_parse(text, len, &out->port)) || text[len] == '\0')
        return error_set(err, 0, "inward channel '%.64s': no port of the guest's (" INWARD_FORM ")",
                         text);
    rc = parse_inward_device(text + len + 1, &out->device, err);
    const struct device *dev = &out->device;
    if (rc == 0 && any && (dev->telnet || dev->websocket))
        rc = error_set(err, 0, "%s: a port cannot be named in it (" INWARD_FORM ")",
                       dev->telnet ? "telnet" : "websocket");
    if (rc == 0 && dev->proxy)
        rc = error_set(err, 0,
                       "option 'proxy' tells a service its guest; here the host begins "
                       "(accepted: no proxy=)");
    if (rc < 0) {
        error_prefix(err, "inward channel %.*s", (int)len, text);
        return rc;
    }
    snprintf(out->text, sizeof(out->text), "%s", text + len + 1);
    rc = check_ports(c, out, 1, err);
    if (rc == 0)
        c->channel_count++;
    return rc;
}

int
guest_config_add_chardev(struct guest_config *c, const char *text, struct error *err)
{
    struct chardev_spec spec;
    int rc = chardev_parse(text, &spec, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < c->chardev_count; i++)
        if (strcmp(c->chardevs[i].id, spec.id) == 0)
            return error_set(err, 0, "chardev %s: id given twice", spec.id);
    if (c->chardev_count == GUEST_CHANNELS_MAX)
        return error_set(err, 0, "chardev %s: at most %d are accepted", spec.id,
                         GUEST_CHANNELS_MAX);
    struct chardev_spec *grown =
        realloc(c->chardevs, (c->chardev_count + 1) * sizeof(*c->chardevs));
    if (!grown)
        return error_set(err, ENOMEM, "chardev %s", spec.id);
    c->chardevs = grown;
    c->chardevs[c->chardev_count++] = spec;
    return 0;
}

bool
guest_config_refers_to_chardev(const struct guest_config *c, const char *id)
{
    for (size_t i = 0; i < c->channel_count; i++) {
        const char *other = chardev_of(c->channels[i].text);
        if (other && strcmp(other, id) == 0)
            return true;
    }
    return false;
}

// Gives one chardev to the channel that refers to it: to one, as in QEMU.
static int
give_chardev(struct guest_config *c, const struct chardev_spec *chardev, struct error *err)
{
    const struct channel_spec *user = NULL;
    for (size_t i = 0; i < c->channel_count; i++) {
        struct channel_spec *ch = &c->channels[i];
        const char *id = chardev_of(ch->text);
        if (!id || strcmp(id, chardev->id) != 0)
            continue;
        if (user)
            return error_set(err, 0,
                             "channel %u: chardev %s is channel %u's already (accepted: a -chardev "
                             "for each channel)",
                             ch->port, id, user->port);
        ch->device = chardev->device;
        user = ch;
    }
    if (!user)
        return error_set(err, 0, "chardev %s: no channel refers to it (" CHARDEV_USE ")",
                         chardev->id);
    return 0;
}

static bool
has_chardev(const struct guest_config *c, const char *id)
{
    for (size_t i = 0; i < c->chardev_count; i++)
        if (strcmp(c->chardevs[i].id, id) == 0)
            return true;
    return false;
}

int
guest_config_finish(struct guest_config *c, struct error *err)
{
    const struct channel_spec *on_stdio = NULL;
    for (size_t i = 0; i < c->chardev_count; i++) {
        int rc = give_chardev(c, &c->chardevs[i], err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < c->channel_count; i++) {
        const struct channel_spec *ch = &c->channels[i];
        const char *id = chardev_of(ch->text);
        if (id && !has_chardev(c, id))
            return error_set(err, 0,
                             "channel %u: chardev %s: there is no such -chardev (" CHARDEV_USE ")",
                             ch->port, id);
        if (ch->device.kind != DEVICE_STDIO)
            continue;
        if (on_stdio)
            return error_set(err, 0,
                             "channel %u: stdio is channel %u's already (accepted: one channel on "
                             "stdio; pty gives each one a terminal)",
                             ch->port, on_stdio->port);
        on_stdio = ch;
    }
    return 0;
}
