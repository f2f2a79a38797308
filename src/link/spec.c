// SPDX-License-Identifier: BSD-3-Clause
// The --link grammar. Each kind has a table row: what it accepts, and what must be given. Whether
// the things named exist is found out by link/open.h.
#include "link/spec.h"

#include "base/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define KINDS "stream, tap, packet, netns"

enum key {
    KEY_PATH,
    KEY_ADDR,
    KEY_FD,
    KEY_SERVER,
    KEY_IFNAME,
    KEY_NETNS,
    KEY_COUNT,
};

static const char *const key_names[KEY_COUNT] = {
    [KEY_PATH] = "path",     [KEY_ADDR] = "addr",     [KEY_FD] = "fd",
    [KEY_SERVER] = "server", [KEY_IFNAME] = "ifname", [KEY_NETNS] = "netns",
};

#define BIT(key) (1u << (key))

struct kind_row {
    const char *name;
    enum link_kind kind;
    unsigned accepts;     // set of keys
    unsigned one_of;      // set of keys of which exactly one must be given
    unsigned not_with_fd; // set of keys that mean nothing beside fd=
    const char *accepted; // for messages
};

static const struct kind_row kinds[] = {
    {"stream", LINK_STREAM, BIT(KEY_PATH) | BIT(KEY_ADDR) | BIT(KEY_FD) | BIT(KEY_SERVER),
     BIT(KEY_PATH) | BIT(KEY_ADDR) | BIT(KEY_FD), BIT(KEY_SERVER),
     "path=PATH | addr=HOST:PORT | fd=N, server=on|off"},
    {"tap", LINK_TAP, BIT(KEY_IFNAME) | BIT(KEY_FD) | BIT(KEY_NETNS), BIT(KEY_IFNAME) | BIT(KEY_FD),
     BIT(KEY_NETNS), "ifname=NAME | fd=N, netns=PATH or NAME"},
    {"packet", LINK_PACKET, BIT(KEY_IFNAME) | BIT(KEY_FD) | BIT(KEY_NETNS),
     BIT(KEY_IFNAME) | BIT(KEY_FD), BIT(KEY_NETNS), "ifname=NAME | fd=N, netns=PATH or NAME"},
    {"netns", LINK_NETNS, BIT(KEY_PATH), BIT(KEY_PATH), 0, "path=/proc/PID/ns/net"},
};

static const char *const planned[] = {"message", "vhost-user", "hybrid", "vsock"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct kind_row *
find_kind(const char *name, struct error *err)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    for (size_t i = 0; i < COUNT(planned); i++) {
        if (strcmp(planned[i], name) == 0) {
            error_set(err, 0, "link kind '%s': not in this version (accepted: " KINDS ")", name);
            return NULL;
        }
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
set_addr(const struct option *opt, struct link_spec *out, struct error *err)
{
    char text[sizeof(out->host) + sizeof(out->port) + 2];
    int rc = set_string(opt, text, sizeof(text), err);
    if (rc < 0)
        return rc;
    char *colon = strrchr(text, ':');
    char *host = text;
    if (!colon)
        return error_set(err, 0, "option addr: '%s' is not HOST:PORT", text);
    *colon = '\0';
    struct option port = {.key = "addr: port"};
    uint32_t number;
    if (strlen(colon + 1) >= sizeof(out->port))
        return error_set(err, 0, "option addr: port: '%s' is not a number from 1 to 65535",
                         colon + 1);
    snprintf(port.value, sizeof(port.value), "%s", colon + 1);
    if ((rc = option_uint(&port, 1, 65535, &number, err)) < 0)
        return rc;
    if (host[0] == '[' && colon > host + 1 && colon[-1] == ']') {
        colon[-1] = '\0';
        host++;
    } else if (strchr(host, ':')) {
        return error_set(err, 0, "option addr: an IPv6 address needs brackets: [%s]:%u", host,
                         number);
    }
    int len = snprintf(out->host, sizeof(out->host), "%s", host);
    if (len < 0 || (size_t)len >= sizeof(out->host))
        return error_set(err, 0, "option addr: the host is longer than %zu bytes",
                         sizeof(out->host) - 1);
    snprintf(out->port, sizeof(out->port), "%u", number);
    return 0;
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
    if (len < 0 || (size_t)len >= sizeof(out->netns))
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

static int
set_key(enum key key, const struct option *opt, struct link_spec *out, struct error *err)
{
    switch (key) {
    case KEY_PATH:
        return set_string(opt, out->path, sizeof(out->path), err);
    case KEY_ADDR:
        return set_addr(opt, out, err);
    case KEY_FD:
        return set_fd(opt, out, err);
    case KEY_SERVER:
        return option_bool(opt, &out->server, err);
    case KEY_IFNAME:
        return set_ifname(opt, out, err);
    case KEY_NETNS:
        return set_netns(opt, out, err);
    case KEY_COUNT:
        break;
    }
    return -EINVAL;
}

static int
set_option(const struct kind_row *row, struct option *opt, unsigned *given, struct link_spec *out,
           struct error *err)
{
    for (enum key key = 0; key < KEY_COUNT; key++) {
        if (!(row->accepts & BIT(key)))
            continue;
        // Only a switch has a "no" form: "nofd" is no option.
        if (key == KEY_SERVER ? !option_is(opt, key_names[key])
                              : strcmp(opt->key, key_names[key]) != 0)
            continue;
        if (*given & BIT(key))
            return error_set(err, 0, "option %s: given twice", key_names[key]);
        *given |= BIT(key);
        return set_key(key, opt, out, err);
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
    if ((given & BIT(KEY_FD)) && (given & row->not_with_fd))
        return error_set(err, 0, "option %s: means nothing beside fd= (accepted: fd=N alone)",
                         row->not_with_fd & BIT(KEY_NETNS) ? "netns" : "server");
    return 0;
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
    while ((rc = options_next(&options, &opt, err)) > 0) {
        if ((rc = set_option(row, &opt, &given, out, err)) < 0)
            return rc;
    }
    return rc < 0 ? rc : check_given(row, given, err);
}

const char *
link_spec_name(const struct link_spec *spec, char *out, size_t out_size)
{
    const char *kind = kinds[spec->kind].name;
    const char *server = spec->server ? ",server=on" : "";
    const char *netns = spec->netns[0] ? ",netns=" : "";
    if (spec->fd >= 0)
        snprintf(out, out_size, "%s,fd=%d", kind, spec->fd);
    else if (spec->ifname[0])
        snprintf(out, out_size, "%s,ifname=%s%s%s", kind, spec->ifname, netns, spec->netns);
    else if (spec->path[0])
        snprintf(out, out_size, "%s,path=%s%s", kind, spec->path, server);
    else if (strchr(spec->host, ':'))
        snprintf(out, out_size, "%s,addr=[%s]:%s%s", kind, spec->host, spec->port, server);
    else
        snprintf(out, out_size, "%s,addr=%s:%s%s", kind, spec->host, spec->port, server);
    return out;
}

bool
link_kind_is_frames(enum link_kind kind)
{
    return kind != LINK_NETNS;
}
