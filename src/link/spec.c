// SPDX-License-Identifier: BSD-3-Clause
// The --link grammar. Each kind has a table row: what it accepts, and what must be given. Whether
// the things named exist is found out by link/open.h.
#include "link/spec.h"

#include "base/options.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KINDS "stream, message, tap, packet, netns, hybrid, vsock, vhost-user"

enum key {
    KEY_PATH,
    KEY_ADDR,
    KEY_FD,
    KEY_SERVER,
    KEY_IFNAME,
    KEY_NETNS,
    KEY_OFFLOAD,
    KEY_UDP,
    KEY_SEQPACKET,
    KEY_PEER,
    KEY_CID,
    KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
    [KEY_PATH] = "path",       [KEY_ADDR] = "addr",     [KEY_FD] = "fd",
    [KEY_SERVER] = "server",   [KEY_IFNAME] = "ifname", [KEY_NETNS] = "netns",
    [KEY_OFFLOAD] = "offload", [KEY_UDP] = "udp",       [KEY_SEQPACKET] = "seqpacket",
    [KEY_PEER] = "peer",       [KEY_CID] = "cid",
};

#define BIT(key) (1u << (key))

// Only a switch has a "no" form: "nofd" is no option.
#define SWITCHES (BIT(KEY_SERVER) | BIT(KEY_OFFLOAD))

struct kind_row {
    const char *name;
    enum link_kind kind;
    unsigned accepts;     // set of keys
    unsigned one_of;      // set of keys of which exactly one must be given
    const char *accepted; // for messages
};

// In the order of enum link_kind.
static const struct kind_row kinds[] = {
    {"stream", LINK_STREAM,
     BIT(KEY_PATH) | BIT(KEY_ADDR) | BIT(KEY_FD) | BIT(KEY_SERVER) | BIT(KEY_OFFLOAD),
     BIT(KEY_PATH) | BIT(KEY_ADDR) | BIT(KEY_FD),
     "path=PATH | addr=HOST:PORT | fd=N, server=on|off, offload=on|off"},
    {"tap", LINK_TAP, BIT(KEY_IFNAME) | BIT(KEY_FD) | BIT(KEY_NETNS), BIT(KEY_IFNAME) | BIT(KEY_FD),
     "ifname=NAME | fd=N, netns=PATH or NAME"},
    {"packet", LINK_PACKET, BIT(KEY_IFNAME) | BIT(KEY_FD) | BIT(KEY_NETNS),
     BIT(KEY_IFNAME) | BIT(KEY_FD), "ifname=NAME | fd=N, netns=PATH or NAME"},
    {"netns", LINK_NETNS, BIT(KEY_PATH), BIT(KEY_PATH), "path=/proc/PID/ns/net"},
    {"message", LINK_MESSAGE,
     BIT(KEY_PATH) | BIT(KEY_UDP) | BIT(KEY_SEQPACKET) | BIT(KEY_FD) | BIT(KEY_PEER) |
         BIT(KEY_SERVER) | BIT(KEY_OFFLOAD),
     BIT(KEY_PATH) | BIT(KEY_UDP) | BIT(KEY_SEQPACKET) | BIT(KEY_FD),
     "path=PATH | udp=HOST:PORT | seqpacket=PATH | fd=N, peer=PATH or HOST:PORT, server=on|off, "
     "offload=on|off"},
    {"hybrid", LINK_HYBRID, BIT(KEY_PATH), BIT(KEY_PATH), "path=PATH"},
    {"vsock", LINK_VSOCK, BIT(KEY_CID), BIT(KEY_CID), "cid=N"},
    {"vhost-user", LINK_VHOST_USER, BIT(KEY_PATH) | BIT(KEY_FD) | BIT(KEY_SERVER),
     BIT(KEY_PATH) | BIT(KEY_FD), "path=PATH | fd=N, server=on|off"},
};

// Options that mean nothing beside another one.
static const struct {
    enum key key, beside;
} useless[] = {
    {KEY_SERVER, KEY_FD},      {KEY_NETNS, KEY_FD},   {KEY_PEER, KEY_FD},
    {KEY_PEER, KEY_SEQPACKET}, {KEY_SERVER, KEY_UDP},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct kind_row *
find_kind(const char *name, struct error *err)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    error_set(err, 0, "unknown link kind '%.64s' (accepted: " KINDS ")", name);
    return NULL;
}

static int
set_string(const struct option *opt, char *out, size_t out_size, struct error *err)
{
    int rc = option_string(opt, out, out_size, err);
    if (rc == 0 && out[0] == '\0')
        return error_set(err, 0, "option %s: needs a value", opt->key);
    return rc;
}

// HOST:PORT, :PORT (any or the local host) or [V6]:PORT.
static int
parse_address(const char *key, const char *value, struct link_address *out, struct error *err)
{
    char text[sizeof(*out) + 2];
    int len = snprintf(text, sizeof(text), "%s", value);
    if ((size_t)len >= sizeof(text))
        return error_set(err, 0, "option %s: the host is longer than %zu bytes", key,
                         sizeof(out->host) - 1);
    char *colon = strrchr(text, ':');
    char *host = text;
    if (!colon)
        return error_set(err, 0, "option %s: '%s' is not HOST:PORT", key, text);
    *colon = '\0';
    struct option port = {.bare = false};
    uint32_t number;
    snprintf(port.key, sizeof(port.key), "%s: port", key);
    if (strlen(colon + 1) >= sizeof(out->port))
        return error_set(err, 0, "option %s: '%s' is not a number from 1 to 65535", port.key,
                         colon + 1);
    snprintf(port.value, sizeof(port.value), "%s", colon + 1);
    int rc = option_uint(&port, 1, 65535, &number, err);
    if (rc < 0)
        return rc;
    bool brackets = host[0] == '[' && colon > host + 1 && colon[-1] == ']';
    if (brackets) {
        colon[-1] = '\0';
        host++;
    }
    if (strpbrk(host, "[]") || (brackets && !strchr(host, ':')))
        return error_set(err, 0, "option %s: '%.*s' is not an IPv6 address in brackets", key,
                         (int)(colon - text), value);
    if (!brackets && strchr(host, ':'))
        return error_set(err, 0, "option %s: an IPv6 address needs brackets: [%s]:%u", key, host,
                         number);
    len = snprintf(out->host, sizeof(out->host), "%s", host);
    if ((size_t)len >= sizeof(out->host))
        return error_set(err, 0, "option %s: the host is longer than %zu bytes", key,
                         sizeof(out->host) - 1);
    snprintf(out->port, sizeof(out->port), "%u", number);
    return 0;
}

static int
set_address(const struct option *opt, struct link_address *out, struct error *err)
{
    if (opt->bare || opt->value[0] == '\0')
        return error_set(err, 0, "option %s: needs a value", opt->key);
    return parse_address(opt->key, opt->value, out, err);
}

static int
set_ifname(const struct option *opt, struct link_spec *out, struct error *err)
{
    int rc = set_string(opt, out->ifname, sizeof(out->ifname), err);
    if (rc < 0)
        return rc;
    // As the kernel has it; '%' would be a pattern.
    if (strpbrk(out->ifname, "/: \t\n%") || strcmp(out->ifname, ".") == 0 ||
        strcmp(out->ifname, "..") == 0)
        return error_set(err, 0, "option ifname: '%s' is not an interface name", out->ifname);
    return 0;
}

static int
set_netns(const struct option *opt, struct link_spec *out, struct error *err)
{
    char text[sizeof(out->netns)];
    int rc = set_string(opt, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    const char *dir = strchr(text, '/') ? "" : "/run/netns/";
    int len = snprintf(out->netns, sizeof(out->netns), "%s%s", dir, text);
    if ((size_t)len >= sizeof(out->netns))
        return error_set(err, 0, "option netns: '%s' is longer than %zu bytes", text,
                         sizeof(out->netns) - 1 - strlen(dir));
    return 0;
}

static int
set_fd(const struct option *opt, struct link_spec *out, struct error *err)
{
    uint32_t fd;
    int rc = option_uint(opt, 0, INT_MAX, &fd, err);
    if (rc == 0)
        out->fd = (int)fd;
    return rc;
}

// The guest of a vsock link: 0 and 2 are the hypervisor and the host, 1 the host's own loopback.
static int
set_cid(const struct option *opt, struct link_spec *out, struct error *err)
{
    int rc = option_uint(opt, 1, UINT32_MAX - 1, &out->cid, err);
    if (rc == 0 && out->cid == 2)
        return error_set(err, 0,
                         "option cid: 2 is the host (accepted: 3 and more, or 1 for its own "
                         "loopback)");
    return rc;
}

static int
set_key(enum key key, const struct option *opt, struct link_spec *out, struct option *peer,
        struct error *err)
{
    switch (key) {
    case KEY_SEQPACKET:
        out->carrier = LINK_CARRIER_SEQPACKET;
        return set_string(opt, out->path, sizeof(out->path), err);
    case KEY_PATH:
        return set_string(opt, out->path, sizeof(out->path), err);
    case KEY_UDP:
        out->carrier = LINK_CARRIER_UDP;
        return set_address(opt, &out->addr, err);
    case KEY_ADDR:
        return set_address(opt, &out->addr, err);
    case KEY_FD:
        out->carrier = LINK_CARRIER_FD;
        return set_fd(opt, out, err);
    case KEY_SERVER:
        return option_bool(opt, &out->server, err);
    case KEY_OFFLOAD:
        return option_bool(opt, &out->offload, err);
    case KEY_IFNAME:
        return set_ifname(opt, out, err);
    case KEY_NETNS:
        return set_netns(opt, out, err);
    case KEY_CID:
        return set_cid(opt, out, err);
    case KEY_PEER:
        *peer = *opt;
        return 0;
    case KEY_COUNT:
        break;
    }
    return -EINVAL;
}

static int
set_option(const struct kind_row *row, struct option *opt, unsigned *given, struct link_spec *out,
           struct option *peer, struct error *err)
{
    for (enum key key = 0; key < KEY_COUNT; key++) {
        if (!(row->accepts & BIT(key)))
            continue;
        if (SWITCHES & BIT(key) ? !option_is(opt, key_names[key])
                                : strcmp(opt->key, key_names[key]) != 0)
            continue;
        if (*given & BIT(key))
            return error_set(err, 0, "option %s: given twice", key_names[key]);
        *given |= BIT(key);
        return set_key(key, opt, out, peer, err);
    }
    char thing[32];
    snprintf(thing, sizeof(thing), "link %s", row->name);
    return option_unknown(opt, thing, row->accepted, err);
}

// Which options were given fits the kind.
static int
check_given(const struct kind_row *row, unsigned given, struct error *err)
{
    unsigned which = given & row->one_of;
    if (which == 0)
        return error_set(err, 0, "link %s: not said where (accepted: %s)", row->name,
                         row->accepted);
    if (which & (which - 1))
        return error_set(err, 0, "link %s: only one of these can be given (accepted: %s)",
                         row->name, row->accepted);
    for (size_t i = 0; i < COUNT(useless); i++) {
        if ((given & BIT(useless[i].key)) && (given & BIT(useless[i].beside)))
            return error_set(err, 0,
                             "option %s: means nothing beside %s=", key_names[useless[i].key],
                             key_names[useless[i].beside]);
    }
    if (row->kind == LINK_MESSAGE && (given & BIT(KEY_PATH)) && (given & BIT(KEY_SERVER)))
        return error_set(err, 0,
                         "option server: means nothing beside path=, which has peer=PATH "
                         "(seqpacket= has it)");
    if ((given & BIT(KEY_UDP)) && !(given & BIT(KEY_PEER)))
        return error_set(err, 0,
                         "option udp: needs peer=HOST:PORT beside it, as anybody can send "
                         "to a port");
    return 0;
}

static int
set_peer(const struct option *peer, struct link_spec *out, struct error *err)
{
    if (out->carrier == LINK_CARRIER_UNIX)
        return set_string(peer, out->peer_path, sizeof(out->peer_path), err);
    int rc = set_address(peer, &out->peer_addr, err);
    if (rc == 0 && out->peer_addr.host[0] == '\0')
        return error_set(err, 0, "option peer: ':%s' names no host", out->peer_addr.port);
    return rc;
}

int
link_spec_parse(const char *text, struct link_spec *out, struct error *err)
{
    struct options options = options_of(text);
    struct option opt;
    *out = (struct link_spec){.fd = -1};
    int rc = options_next(&options, &opt, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || opt.key[0] != '\0')
        return error_set(err, 0, "link '%.64s': begins with no kind (accepted: " KINDS ")", text);
    const struct kind_row *row = find_kind(opt.value, err);
    if (!row)
        return -EINVAL;
    out->kind = row->kind;
    unsigned given = 0;
    struct option peer; // a path or an address: which, is known when all options are
    while ((rc = options_next(&options, &opt, err)) > 0) {
        if ((rc = set_option(row, &opt, &given, out, &peer, err)) < 0)
            return rc;
    }
    if (rc == 0)
        rc = check_given(row, given, err);
    return rc == 0 && (given & BIT(KEY_PEER)) ? set_peer(&peer, out, err) : rc;
}

struct text {
    char *at;
    size_t room;
};

__attribute__((format(printf, 2, 3))) static void
add(struct text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(t->at, t->room, fmt, args);
    va_end(args);
    size_t used = (size_t)len < t->room ? (size_t)len : t->room - 1;
    t->at += used;
    t->room -= used;
}

static void
add_address(struct text *t, const char *key, const struct link_address *a)
{
    add(t, strchr(a->host, ':') ? ",%s=[%s]:%s" : ",%s=%s:%s", key, a->host, a->port);
}

const char *
link_spec_name(const struct link_spec *spec, char *out, size_t out_size)
{
    struct text t = {out, out_size};
    bool is_message = spec->kind == LINK_MESSAGE;
    add(&t, "%s", kinds[spec->kind].name);
    if (spec->fd >= 0)
        add(&t, ",fd=%d", spec->fd);
    else if (spec->kind == LINK_VSOCK)
        add(&t, ",cid=%u", spec->cid);
    else if (spec->ifname[0])
        add(&t, ",ifname=%s", spec->ifname);
    else if (spec->path[0])
        add(&t, ",%s=%s",
            is_message && spec->carrier == LINK_CARRIER_SEQPACKET ? "seqpacket" : "path",
            spec->path);
    else if (spec->addr.port[0])
        add_address(&t, is_message ? "udp" : "addr", &spec->addr);
    if (spec->netns[0])
        add(&t, ",netns=%s", spec->netns);
    if (spec->peer_path[0])
        add(&t, ",peer=%s", spec->peer_path);
    if (spec->peer_addr.port[0])
        add_address(&t, "peer", &spec->peer_addr);
    if (spec->server)
        add(&t, ",server=on");
    if (spec->offload)
        add(&t, ",offload=on");
    return out;
}

bool
link_kind_is_frames(enum link_kind kind)
{
    switch (kind) {
    case LINK_STREAM:
    case LINK_TAP:
    case LINK_PACKET:
    case LINK_MESSAGE:
    case LINK_VHOST_USER:
        return true;
    case LINK_NETNS:
    case LINK_HYBRID:
    case LINK_VSOCK:
        return false;
    }
    return false;
}
