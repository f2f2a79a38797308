// SPDX-License-Identifier: BSD-3-Clause
// The device grammar of QEMU 7.2's -serial, with its defaults: text -> struct device. Two tables
// drive it: the words a device may begin with, and the options of each device. Unlike QEMU, an
// unknown or misplaced option is an error. Opens nothing; splitting and unescaping is base/options.
#include "host/device.h"

#include "base/options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RECONNECT_MAX_S (7 * 24 * 3600)
#define CONNS_MAX       65536

#define UNIX_FORM                                                                                  \
    "unix:PATH[,server=on|off][,wait=on|off][,reconnect=S][,abstract=on|off][,tight=on|off]"       \
    "[,max=N][,name=NAME]"
#define DEVICE_FORMS UNIX_FORM

// One key=value, already told apart by its key.
struct device_option {
    const char *key;
    int (*set)(struct device *dev, const struct option *opt, struct error *err);
};

#define OPTIONS_MAX 16 // of one device; the seen-mask and the tables end here

// A word a device begins with, and what becomes of it. Exactly one of parse, planned and refused.
struct device_word {
    const char *word;
    bool prefix; // the word goes on (a path, an address); else it stands alone or before a comma
    int (*parse)(const char *rest, struct device *out, struct error *err);
    bool planned;        // of a later version
    const char *refused; // never: the reason
};

static int
set_path(struct device *dev, const struct option *opt, struct error *err)
{
    if (dev->path[0] != '\0')
        return error_set(err, 0, "unix: path given twice ('%s' and '%s')", dev->path, opt->value);
    size_t len = strlen(opt->value);
    if (len == 0)
        return error_set(err, 0, "unix: empty path (accepted: " UNIX_FORM ")");
    if (len > DEVICE_UNIX_PATH_MAX)
        return error_set(err, 0, "unix:%s: path of %zu bytes, a unix socket takes at most %d",
                         opt->value, len, DEVICE_UNIX_PATH_MAX);
    memcpy(dev->path, opt->value, len + 1);
    return 0;
}

static int
set_server(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->server, err);
}

static int
set_wait(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->wait, err);
}

static int
set_reconnect(struct device *dev, const struct option *opt, struct error *err)
{
    return option_uint(opt, 0, RECONNECT_MAX_S, &dev->reconnect_s, err);
}

static int
set_abstract(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->abstract, err);
}

static int
set_tight(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->tight, err);
}

static int
set_max(struct device *dev, const struct option *opt, struct error *err)
{
    return option_uint(opt, 1, CONNS_MAX, &dev->max, err);
}

static int
set_name(struct device *dev, const struct option *opt, struct error *err)
{
    if (opt->bare || opt->value[0] == '\0')
        return error_set(err, 0, "option name: needs a value (accepted: name=NAME)");
    size_t len = strlen(opt->value);
    if (len > DEVICE_NAME_MAX)
        return error_set(err, 0, "option name: '%s' has %zu bytes, at most %d are accepted",
                         opt->value, len, DEVICE_NAME_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)opt->value[i] < 0x20 || opt->value[i] == 0x7f)
            return error_set(err, 0, "option name: control characters are not accepted");
    memcpy(dev->name, opt->value, len + 1);
    return 0;
}

enum unix_option {
    UNIX_SERVER,
    UNIX_WAIT,
    UNIX_RECONNECT,
    UNIX_ABSTRACT,
    UNIX_TIGHT,
    UNIX_MAX,
    UNIX_NAME,
    UNIX_OPTIONS,
};

static const struct device_option unix_options[UNIX_OPTIONS] = {
    [UNIX_SERVER] = {"server", set_server},
    [UNIX_WAIT] = {"wait", set_wait},
    [UNIX_RECONNECT] = {"reconnect", set_reconnect},
    [UNIX_ABSTRACT] = {"abstract", set_abstract},
    [UNIX_TIGHT] = {"tight", set_tight},
    [UNIX_MAX] = {"max", set_max},
    [UNIX_NAME] = {"name", set_name},
};

// Reads every option after the path; *seen gets a bit per option that was given. A path is the
// first, bare piece, or path= anywhere (never the bare word: "unix:path" is a socket called path).
static int
read_options(const char *rest, const struct device_option *table, size_t count, const char *form,
             struct device *out, unsigned *seen, struct error *err)
{
    assert(count <= OPTIONS_MAX);
    struct options o = options_of(rest);
    struct option opt;
    int more;
    *seen = 0;
    while ((more = options_next(&o, &opt, err)) > 0) {
        int rc;
        if (opt.key[0] == '\0' || (strcmp(opt.key, "path") == 0 && !opt.bare)) {
            rc = set_path(out, &opt, err);
        } else {
            size_t i = 0;
            while (i < count && !option_is(&opt, table[i].key))
                i++;
            if (i == count)
                return option_unknown(&opt, "unix", form, err);
            *seen |= 1u << i;
            rc = table[i].set(out, &opt, err);
        }
        if (rc < 0)
            return rc;
    }
    return more;
}

// QEMU says "'wait' option is incompatible with socket in client connect mode", and the like.
static int
check_unix_places(const struct device *dev, unsigned seen, struct error *err)
{
    if (!dev->server && (seen & 1u << UNIX_WAIT))
        return error_set(
            err, 0,
            "unix:%s: option 'wait' needs server=on "
            "(accepted for a client: path, server, reconnect, abstract, tight, max, name)",
            dev->path);
    if (dev->server && (seen & 1u << UNIX_RECONNECT))
        return error_set(err, 0,
                         "unix:%s: option 'reconnect' does not go with server=on "
                         "(accepted for a server: path, server, wait, abstract, tight, max, name)",
                         dev->path);
    if (!dev->abstract && (seen & 1u << UNIX_TIGHT))
        return error_set(err, 0,
                         "unix:%s: option 'tight' needs abstract=on "
                         "(accepted without: path, server, wait, reconnect, abstract, max, name)",
                         dev->path);
    return 0;
}

static int
parse_unix(const char *rest, struct device *out, struct error *err)
{
    unsigned seen;
    out->kind = DEVICE_UNIX;
    out->wait = true;
    out->tight = true;
    int rc = read_options(rest, unix_options, UNIX_OPTIONS, UNIX_FORM, out, &seen, err);
    if (rc < 0)
        return rc;
    if (out->path[0] == '\0')
        return error_set(err, 0, "unix: empty path (accepted: " UNIX_FORM ")");
    rc = check_unix_places(out, seen, err);
    out->wait = out->wait && out->server; // a client has nobody to wait for
    return rc;
}

static const struct device_word words[] = {
    {.word = "unix:", .prefix = true, .parse = parse_unix},
    {.word = "tcp:", .prefix = true, .planned = true},
    {.word = "telnet:", .prefix = true, .planned = true},
    {.word = "websocket:", .prefix = true, .planned = true},
    {.word = "udp:", .prefix = true, .planned = true},
    {.word = "pty", .planned = true},
    {.word = "pty:", .prefix = true, .planned = true},
    {.word = "file:", .prefix = true, .planned = true},
    {.word = "pipe:", .prefix = true, .planned = true},
    {.word = "stdio", .planned = true},
    {.word = "serial:", .prefix = true, .planned = true},
    {.word = "null", .planned = true},
    {.word = "cmd:", .prefix = true, .planned = true},
    {.word = "vsock:", .prefix = true, .planned = true},
    {.word = "chardev:", .prefix = true, .planned = true},
    {.word = "mon:", .prefix = true, .refused = "it would give the guest QEMU's own monitor"},
    {.word = "vc", .refused = "it is a console inside QEMU's window"},
    {.word = "vc:", .prefix = true, .refused = "it is a console inside QEMU's window"},
    {.word = "braille", .refused = "it is a Braille display that only QEMU can drive"},
    {.word = "msmouse", .refused = "it is a mouse that QEMU emulates on a serial port"},
    {.word = "wctablet", .refused = "it is a tablet that QEMU emulates on a serial port"},
    {.word = "testdev", .refused = "it is QEMU's own test device"},
    {.word = "none", .refused = "a channel without a device is no channel; leave it out"},
    {.word = "con:", .prefix = true, .refused = "it is a Windows console"},
    {.word = "COM", .prefix = true, .refused = "it is a Windows serial port"},
    {.word = "tn3270:", .prefix = true, .refused = "it is a terminal for s390 consoles in QEMU"},
    {.word = "gdb", .refused = "it is the debugger stub inside QEMU"},
    {.word = "spicevmc", .refused = "it lives inside a SPICE server"},
    {.word = "spicevmc:", .prefix = true, .refused = "it lives inside a SPICE server"},
    {.word = "spiceport", .refused = "it lives inside a SPICE server"},
    {.word = "spiceport:", .prefix = true, .refused = "it lives inside a SPICE server"},
    {.word = "/dev/parport", .prefix = true, .refused = "a parallel port is no byte stream"},
    {.word = "/dev/ppi", .prefix = true, .refused = "a parallel port is no byte stream"},
    {.word = "/dev/", .prefix = true, .planned = true},
};

static bool
word_matches(const struct device_word *w, const char *text)
{
    size_t len = strlen(w->word);
    if (strncmp(text, w->word, len) != 0)
        return false;
    return w->prefix || text[len] == '\0' || text[len] == ',';
}

int
device_parse(const char *text, struct device *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const struct device_word *w = &words[i];
        if (!word_matches(w, text))
            continue;
        if (w->parse)
            return w->parse(text + strlen(w->word), out, err);
        if (w->planned)
            return error_set(err, 0, "%.100s: not in this version; accepted: " DEVICE_FORMS, text);
        return error_set(err, 0, "%.100s: refused, %s; accepted: " DEVICE_FORMS, text, w->refused);
    }
    if (text[0] == '\0')
        return error_set(err, 0, "empty device; accepted: " DEVICE_FORMS);
    return error_set(err, 0, "%.100s: unknown device; accepted: " DEVICE_FORMS, text);
}

// Decimal digits alone: no sign, no space, no hexadecimal, which strtoul would all take.
static bool
parse_port(const char *text, size_t len, uint16_t *out)
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
    if (!parse_port(text, len, &out->port))
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
