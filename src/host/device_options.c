// SPDX-License-Identifier: BSD-3-Clause
// The options of devices: one table says which option goes with which kind of device, in which
// form, and how it is read. Unlike QEMU, which lets any option that some chardev has stand on any
// other, what is unknown or misplaced is an error that shows what is accepted.
#include "host/device_internal.h"

#include "base/bucket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RECONNECT_MAX_S (7 * 24 * 3600)
#define CONNS_MAX       65536
#define CONN_RATE_MAX   1000000
#define IDLE_MAX_S      (7 * 24 * 3600)
#define RATE_MAX        BUCKET_MAX // bytes; of burst, too
// As QEMU's throttling has it. But an ordinary request may always come at once.
#define BURST_DEFAULT(rate) ((rate) / 10)
#define BURST_DEFAULT_MIN   4096
// Tokens come in rounds, which may be late: what comes together meanwhile must have room.
#define BURST_ROUNDS_PER_S 50

static int
set_path(struct device *dev, const struct option *opt, struct error *err)
{
    return device_set_path(dev, opt->value, err);
}

static int
set_host(struct device *dev, const struct option *opt, struct error *err)
{
    return device_set_host(dev, opt->value, strlen(opt->value), &dev->remote, err);
}

static int
set_port(struct device *dev, const struct option *opt, struct error *err)
{
    return device_set_port(dev, opt->value, strlen(opt->value), &dev->remote, err);
}

static int
set_localaddr(struct device *dev, const struct option *opt, struct error *err)
{
    return device_set_host(dev, opt->value, strlen(opt->value), &dev->local, err);
}

static int
set_localport(struct device *dev, const struct option *opt, struct error *err)
{
    return device_set_port(dev, opt->value, strlen(opt->value), &dev->local, err);
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
set_nodelay(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->nodelay, err);
}

// QEMU's word; "nodelay" is its negation.
static int
set_delay(struct device *dev, const struct option *opt, struct error *err)
{
    bool delay;
    int rc = option_bool(opt, &delay, err);
    if (rc == 0)
        dev->nodelay = !delay;
    return rc;
}

static int
set_telnet(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->telnet, err);
}

static int
set_websocket(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->websocket, err);
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
set_append(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->append, err);
}

static int
set_signal(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->signal, err);
}

static int
set_mux(struct device *dev, const struct option *opt, struct error *err)
{
    bool mux;
    int rc = option_bool(opt, &mux, err);
    if (rc == 0 && mux)
        return error_set(err, 0,
                         "option mux: only QEMU can share a device between its front ends "
                         "(accepted: mux=off)");
    return rc;
}

static int
set_logfile(struct device *dev, const struct option *opt, struct error *err)
{
    if (opt->bare || opt->value[0] == '\0')
        return error_set(err, 0, "option logfile: needs a value (accepted: logfile=PATH)");
    return option_string(opt, dev->logfile, sizeof(dev->logfile), err);
}

static int
set_logappend(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->logappend, err);
}

static int
set_max(struct device *dev, const struct option *opt, struct error *err)
{
    int rc = option_uint(opt, 1, CONNS_MAX, &dev->max, err);
    if (rc == 0 && dev->max > 1 && device_is_exclusive(dev->kind))
        return error_set(err, 0,
                         "option max: %s is one thing and serves one connection at a time "
                         "(accepted: max=1)",
                         device_kind_name(dev->kind));
    return rc;
}

static int
set_conn_rate(struct device *dev, const struct option *opt, struct error *err)
{
    return option_uint(opt, 1, CONN_RATE_MAX, &dev->conn_rate, err);
}

static int
set_idle(struct device *dev, const struct option *opt, struct error *err)
{
    return option_uint(opt, 1, IDLE_MAX_S, &dev->idle_s, err);
}

static int
set_rate(struct device *dev, const struct option *opt, struct error *err)
{
    return option_size(opt, 1, RATE_MAX, &dev->rate, err);
}

static int
set_burst(struct device *dev, const struct option *opt, struct error *err)
{
    return option_size(opt, 1, RATE_MAX, &dev->burst, err);
}

static int
set_name(struct device *dev, const struct option *opt, struct error *err)
{
    if (opt->bare || opt->value[0] == '\0')
        return error_set(err, 0, "option name: needs a value (accepted: name=NAME)");
    size_t len = strlen(opt->value);
    if (len > DEVICE_NAME_MAX)
        return error_set(err, 0, "option name: '%.100s' has %zu bytes, at most %d are accepted",
                         opt->value, len, DEVICE_NAME_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)opt->value[i] < 0x20 || opt->value[i] == 0x7f)
            return error_set(err, 0, "option name: control characters are not accepted");
    memcpy(dev->name, opt->value, len + 1);
    return 0;
}

static int
set_proxy(struct device *dev, const struct option *opt, struct error *err)
{
    dev->proxy = !opt->bare && strcmp(opt->value, "v2") == 0;
    if (!dev->proxy)
        return error_set(err, 0, "option proxy: '%.64s': unknown (accepted: proxy=v2)", opt->value);
    return 0;
}

static int
set_ipv4(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->ipv4, err);
}

static int
set_ipv6(struct device *dev, const struct option *opt, struct error *err)
{
    return option_bool(opt, &dev->ipv6, err);
}

#define K(kind) (1u << DEVICE_##kind)
#define TCP     (K(TCP) | K(TELNET) | K(WEBSOCKET))
#define INET    (TCP | K(UDP))
#define STREAM  (TCP | K(UNIX))
#define RETRIED (STREAM | K(VSOCK))
#define PROXIED (K(UNIX) | K(TCP) | K(VSOCK) | K(CMD))
#define PATHS   (K(UNIX) | K(FILE) | K(PIPE) | K(TTY) | K(PTY))
#define ANY     (~0u)

struct device_option {
    const char *key;
    const char *form;  // in lists of what is accepted; NULL: not shown
    unsigned kinds[2]; // by enum device_form: the kinds of device that take it
    int (*set)(struct device *dev, const struct option *opt, struct error *err);
};

// "nodelay" stands before "delay", which as a bare word it would also match.
static const struct device_option table[] = {
    {"path", "path=PATH", {K(UNIX), PATHS}, set_path},
    {"host", "host=HOST", {0, INET}, set_host},
    {"port", "port=PORT", {0, INET}, set_port},
    {"localaddr", "localaddr=HOST", {0, K(UDP)}, set_localaddr},
    {"localport", "localport=PORT", {0, K(UDP)}, set_localport},
    {"server", "server=on|off", {STREAM, STREAM}, set_server},
    {"wait", "wait=on|off", {STREAM, STREAM}, set_wait},
    {"reconnect", "reconnect=S", {RETRIED, STREAM}, set_reconnect},
    {"nodelay", "nodelay=on|off", {TCP, TCP}, set_nodelay},
    {"delay", NULL, {TCP, TCP}, set_delay},
    {"ipv4", "ipv4=on|off", {INET, INET}, set_ipv4},
    {"ipv6", "ipv6=on|off", {INET, INET}, set_ipv6},
    {"telnet", "telnet=on|off", {STREAM, STREAM}, set_telnet},
    {"websocket", "websocket=on|off", {STREAM, STREAM}, set_websocket},
    {"abstract", "abstract=on|off", {K(UNIX), K(UNIX)}, set_abstract},
    {"tight", "tight=on|off", {K(UNIX), K(UNIX)}, set_tight},
    {"append", "append=on|off", {K(FILE), K(FILE)}, set_append},
    {"signal", "signal=on|off", {K(STDIO), K(STDIO)}, set_signal},
    {"mux", NULL, {ANY, ANY}, set_mux},
    {"max", "max=N", {ANY, ANY}, set_max},
    {"conn-rate", "conn-rate=N", {ANY, ANY}, set_conn_rate},
    {"idle", "idle=S", {ANY, ANY}, set_idle},
    {"rate", "rate=BYTES", {ANY, ANY}, set_rate},
    {"burst", "burst=BYTES", {ANY, ANY}, set_burst},
    {"proxy", "proxy=v2", {PROXIED, PROXIED}, set_proxy},
    {"name", "name=NAME", {ANY, ANY}, set_name},
    {"logfile", "logfile=PATH", {ANY, ANY}, set_logfile},
    {"logappend", "logappend=on|off", {ANY, ANY}, set_logappend},
};

#define TABLE_SIZE (sizeof(table) / sizeof(table[0]))
_Static_assert(TABLE_SIZE <= 32, "one bit each in the mask of what was seen");

#define NOT_YET "is not in this version; "
#define NO_TLS  "is refused, there is no TLS here; use the unix socket of a TLS proxy instead"

// Options that no device has, with the reason and what to use instead.
static const struct {
    const char *key;
    const char *why;
} refused[] = {
    {"to", "is refused, nobody would know which port was free; use one port instead"},
    {"fd", NOT_YET "use a path or an address instead"},
    {"id", "belongs to -chardev; use name=NAME instead"},
    {"tn3270", "is refused, it is a terminal of s390 consoles in QEMU; use telnet=on instead"},
    {"tls-creds", NO_TLS},
    {"tls-authz", NO_TLS},
};

#define REFUSED_SIZE (sizeof(refused) / sizeof(refused[0]))

struct accepted {
    char text[448];
};

// The options that go with a device, but for `left_out` (NULL: none of them).
static const char *
accepted_options(const struct device *dev, enum device_form form, const char *left_out,
                 struct accepted *out)
{
    size_t len = 0;
    out->text[0] = '\0';
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        const struct device_option *o = &table[i];
        bool goes = (o->kinds[form] >> dev->kind) & 1;
        if (!goes || !o->form || (left_out && strcmp(o->key, left_out) == 0))
            continue;
        int n =
            snprintf(out->text + len, sizeof(out->text) - len, "%s%s", len ? ", " : "", o->form);
        assert(n > 0 && len + (size_t)n < sizeof(out->text));
        len += (size_t)n;
    }
    return out->text;
}

// Why no option of this name can stand here.
static int
not_accepted(const struct device *dev, enum device_form form, struct option *opt, struct error *err)
{
    const char *kind = device_kind_name(dev->kind);
    struct accepted accepted;
    accepted_options(dev, form, NULL, &accepted);
    for (size_t i = 0; i < REFUSED_SIZE; i++)
        if (option_is(opt, refused[i].key))
            return error_set(err, 0, "%s: option '%s' %s (accepted: %s)", kind, opt->key,
                             refused[i].why, accepted.text);
    for (size_t i = 0; i < TABLE_SIZE; i++)
        if (option_is(opt, table[i].key))
            return error_set(err, 0, "%s: option '%s' does not go with this device (accepted: %s)",
                             kind, opt->key, accepted.text);
    return option_unknown(opt, kind, accepted.text, err);
}

static uint32_t
bit_of(const char *key)
{
    size_t i = 0;
    while (strcmp(table[i].key, key) != 0)
        i++;
    return 1u << i;
}

static int
misplaced(const struct device *dev, enum device_form form, const char *key, const char *why,
          struct error *err)
{
    struct accepted accepted;
    return error_set(err, 0, "%s: option '%s' %s (accepted: %s)", device_kind_name(dev->kind), key,
                     why, accepted_options(dev, form, key, &accepted));
}

// What more than one option decides. The first two are QEMU's rules, too.
static int
check_places(const struct device *dev, enum device_form form, uint32_t seen, struct error *err)
{
    if (!dev->server && (seen & bit_of("wait")))
        return misplaced(dev, form, "wait", "needs server=on", err);
    if (dev->server && (seen & bit_of("reconnect")))
        return misplaced(dev, form, "reconnect", "does not go with server=on", err);
    if (!dev->abstract && (seen & bit_of("tight")))
        return misplaced(dev, form, "tight", "needs abstract=on", err);
    if (dev->logfile[0] == '\0' && (seen & bit_of("logappend")))
        return misplaced(dev, form, "logappend", "needs logfile=PATH", err);
    if (!dev->ipv4 && !dev->ipv6)
        return misplaced(dev, form, "ipv6", "is off, and so is ipv4: no address is left", err);
    if (dev->websocket && dev->telnet)
        return misplaced(dev, form, "telnet", "does not go with websocket", err);
    if (dev->proxy && (dev->websocket || dev->telnet))
        return misplaced(dev, form, "proxy", "goes with a plain stream alone", err);
    if (dev->rate == 0 && (seen & bit_of("burst")))
        return misplaced(dev, form, "burst", "needs rate=BYTES", err);
    if (dev->burst > 0 && dev->burst < dev->rate / BURST_ROUNDS_PER_S) {
        char least[OPTION_SIZE_TEXT];
        return error_set(err, 0,
                         "option burst: too small for that rate, which could not be reached "
                         "(accepted: a fiftieth of rate, %s, or more)",
                         option_size_text(dev->rate / BURST_ROUNDS_PER_S, least));
    }
    if (dev->websocket && !dev->server)
        return error_set(err, 0,
                         "%s: a websocket needs server=on: as in QEMU, there is no client "
                         "(accepted: websocket:[HOST]:PORT,server=on)",
                         device_kind_name(dev->kind));
    return 0;
}

// What the options imply for each other and for the kind.
static void
settle(struct device *dev, uint32_t seen)
{
    dev->wait = dev->wait && dev->server; // a client has nobody to wait for
    if (dev->rate > 0 && dev->burst == 0)
        dev->burst = BURST_DEFAULT(dev->rate) > BURST_DEFAULT_MIN ? BURST_DEFAULT(dev->rate)
                                                                  : BURST_DEFAULT_MIN;
    if (dev->kind == DEVICE_TCP && dev->telnet)
        dev->kind = DEVICE_TELNET;
    else if (dev->kind == DEVICE_TCP && dev->websocket)
        dev->kind = DEVICE_WEBSOCKET;
    // As in QEMU, to ask for one family alone is to do without the other.
    if ((seen & bit_of("ipv4")) && !(seen & bit_of("ipv6")))
        dev->ipv6 = !dev->ipv4;
    else if ((seen & bit_of("ipv6")) && !(seen & bit_of("ipv4")))
        dev->ipv4 = !dev->ipv6;
}

int
device_read_options(struct device *dev, enum device_form form, struct options *opts,
                    struct error *err)
{
    enum device_kind kind = dev->kind;
    struct option opt;
    uint32_t seen = 0;
    int more;
    while ((more = options_next(opts, &opt, err)) > 0) {
        size_t i = 0;
        // In -chardev, those two were read before and say what kind of device this is.
        if (form == DEVICE_LONG &&
            (opt.key[0] == '\0' || strcmp(opt.key, "backend") == 0 || strcmp(opt.key, "id") == 0))
            continue;
        // The first, bare piece of unix: is the path, but "unix:path" is a socket called path.
        if (opt.key[0] == '\0')
            snprintf(opt.key, sizeof(opt.key), "path");
        else if (strcmp(opt.key, "path") == 0 && opt.bare)
            return not_accepted(dev, form, &opt, err);
        while (i < TABLE_SIZE &&
               (!((table[i].kinds[form] >> kind) & 1) || !option_is(&opt, table[i].key)))
            i++;
        if (i == TABLE_SIZE)
            return not_accepted(dev, form, &opt, err);
        seen |= 1u << i;
        int rc = table[i].set(dev, &opt, err);
        if (rc < 0)
            return rc;
    }
    if (more < 0)
        return more;
    // A word of its own (telnet:) outweighs telnet=off, as in QEMU.
    dev->telnet = dev->telnet || kind == DEVICE_TELNET;
    dev->websocket = dev->websocket || kind == DEVICE_WEBSOCKET;
    int rc = check_places(dev, form, seen, err);
    if (rc == 0)
        settle(dev, seen);
    return rc;
}
