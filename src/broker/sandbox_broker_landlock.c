// SPDX-License-Identifier: BSD-3-Clause
// The broker's view of files and ports, by landlock(7). What is asked of the kernel grows with its
// version: files from the first (5.13), truncating from 6.2, TCP ports from 6.7, abstract sockets
// from 6.12. A kernel without the first is refused; the others are the more that newer ones give.
// Connecting to a Unix socket by its path is no matter of Landlock's (so far), but of permissions.
//
// What is opened again is a file that need not be the same one as at start, so rules are for
// directories where it may come back: a terminal's, behind all symbolic links; a FIFO's.
#include "broker/sandbox_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than the headers may be.
#define FS_TRUNCATE    (UINT64_C(1) << 14)
#define NET_BIND       (UINT64_C(1) << 0)
#define NET_CONNECT    (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT (UINT64_C(1) << 0)
#define RULE_NET_PORT  2
#define ABI_REFER      2
#define ABI_TRUNCATE   3
#define ABI_NET        4
#define ABI_SCOPE      6

#define FS_FIRST   ((UINT64_C(1) << 13) - 1) // all of the first version
#define OPEN_AGAIN (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define FORBIDDEN                                                                                  \
    "the kernel forbids it here: see SECURITY in vmchannel(1), or use --sandbox=worker"

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct port_attr {
    uint64_t access, port;
};

struct ruleset {
    int fd;
    int abi;
};

static int
add_path(const struct ruleset *r, const char *path, uint64_t access, struct error *err)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "Landlock: %s", path);
    struct landlock_path_beneath_attr attr = {.allowed_access = access, .parent_fd = fd};
    long rc = syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &attr, 0);
    int why = errno;
    close(fd);
    return rc < 0 ? error_set(err, why, "Landlock: %s", path) : 0;
}

// The directory that path stands in.
static int
add_parent(const struct ruleset *r, const char *path, uint64_t access, struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    return add_path(r, dirname(copy), access, err);
}

static int
add_grandparent(const struct ruleset *r, const char *path, uint64_t access, struct error *err)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    return add_parent(r, dirname(copy), access, err);
}

static int
add_terminal(const struct ruleset *r, const char *path, struct error *err)
{
    char target[PATH_MAX];
    if (!realpath(path, target))
        return error_set(err, errno, "Landlock: %s", path);
    return add_parent(r, target, OPEN_AGAIN, err);
}

static int
add_device(const struct ruleset *r, const struct device *d, struct error *err)
{
    bool is_removed = (d->kind == DEVICE_UNIX && d->server && !d->abstract) ||
                      (d->kind == DEVICE_PTY && d->path[0]);
    if (is_removed)
        return add_parent(r, d->path, LANDLOCK_ACCESS_FS_REMOVE_FILE, err);
    if (d->kind == DEVICE_PIPE)
        return add_parent(r, d->path, OPEN_AGAIN, err);
    return d->kind == DEVICE_TTY ? add_terminal(r, d->path, err) : 0;
}

static bool
makes_sockets(const struct link_spec *l)
{
    if (l->fd >= 0 || !l->path[0] || l->kind == LINK_NETNS)
        return false;
    bool is_datagram = l->kind == LINK_MESSAGE && l->carrier == LINK_CARRIER_UNIX;
    return l->server || l->kind == LINK_HYBRID || is_datagram;
}

// Where the C library looks for hosts' names, and its own modules for that.
static int
add_names(const struct ruleset *r, struct error *err)
{
    static const char *const places[] = {"/etc", "/usr", "/lib", "/lib64", "/run"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof(places) / sizeof(places[0]); i++)
        if (access(places[i], F_OK) == 0)
            rc = add_path(r, places[i], LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
                          err);
    return rc;
}

static int
add_port(const struct ruleset *r, const char *text, struct error *err)
{
    struct port_attr attr = {.access = NET_CONNECT, .port = strtoul(text, NULL, 10)};
    if (syscall(SYS_landlock_add_rule, r->fd, RULE_NET_PORT, &attr, 0) < 0)
        return error_set(err, errno, "Landlock: port %s", text);
    return 0;
}

static bool
connects_by_tcp(const struct device *d)
{
    return (d->kind == DEVICE_TCP || d->kind == DEVICE_TELNET) && !d->server;
}

// False when one has the name of a service, or a port of the resolver's is needed.
static bool
ports_are_known(const struct guest_config *guest, unsigned needs)
{
    if (needs & NEED_NAMES)
        return false;
    for (size_t i = 0; i < guest->channel_count; i++) {
        const struct device *d = &guest->channels[i].device;
        if (connects_by_tcp(d) && d->remote.port[strspn(d->remote.port, "0123456789")] != '\0')
            return false;
    }
    return true;
}

static bool
needs_abstract_names(const struct guest_config *guest, const struct link_spec *link)
{
    if (link->kind == LINK_MESSAGE) // whoever sends first may have one
        return true;
    for (size_t i = 0; i < guest->channel_count; i++)
        if (guest->channels[i].device.kind == DEVICE_UNIX && guest->channels[i].device.abstract)
            return true;
    return false;
}

static int
create(struct ruleset *r, const struct broker_config *config, unsigned needs, struct error *err)
{
    const struct guest_config *guest = config->guest;
    struct ruleset_attr attr = {.fs = FS_FIRST};
    size_t size = sizeof(attr.fs);
    r->abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (r->abi < 1)
        return error_set(err, errno, "Landlock (%s)", FORBIDDEN);
    if (r->abi >= ABI_REFER)
        attr.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (r->abi >= ABI_TRUNCATE)
        attr.fs |= FS_TRUNCATE;
    if (r->abi >= ABI_NET) {
        attr.net = NET_BIND | (ports_are_known(guest, needs) ? NET_CONNECT : 0);
        size = offsetof(struct ruleset_attr, scoped);
    }
    if (r->abi >= ABI_SCOPE) {
        attr.scoped = needs_abstract_names(guest, &config->link) ? 0 : SCOPE_ABSTRACT;
        size = sizeof(attr);
    }
    r->fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    return r->fd < 0 ? error_set(err, errno, "Landlock (%s)", FORBIDDEN) : 0;
}

static int
add_all(const struct ruleset *r, const struct broker_config *config, unsigned needs,
        struct error *err)
{
    const struct guest_config *guest = config->guest;
    const struct link_spec *link = &config->link;
    bool ports = r->abi >= ABI_NET && ports_are_known(guest, needs);
    int rc = 0;
    if (makes_sockets(link))
        rc = add_parent(r, link->path, LANDLOCK_ACCESS_FS_REMOVE_FILE, err);
    if (rc == 0 && (needs & NEED_REMOVE_DIR))
        rc = add_grandparent(r, link->path, LANDLOCK_ACCESS_FS_REMOVE_DIR, err);
    if (rc == 0 && config->control_path)
        rc = add_parent(r, config->control_path, LANDLOCK_ACCESS_FS_REMOVE_FILE, err);
    if (rc == 0 && config->control_path && config->control_by_name)
        rc = add_grandparent(r, config->control_path, LANDLOCK_ACCESS_FS_REMOVE_DIR, err);
    if (rc == 0 && (needs & NEED_NAMES))
        rc = add_names(r, err);
    for (size_t i = 0; rc == 0 && i < guest->channel_count; i++) {
        const struct device *d = &guest->channels[i].device;
        rc = add_device(r, d, err);
        if (rc == 0 && ports && connects_by_tcp(d))
            rc = add_port(r, d->remote.port, err);
    }
    return rc;
}

int
sandbox_broker_landlock(const struct broker_config *config, unsigned needs, struct error *err)
{
    struct ruleset r = {.fd = -1};
    int rc = create(&r, config, needs, err);
    if (rc == 0)
        rc = add_all(&r, config, needs, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, r.fd, 0) < 0)
        rc = error_set(err, errno, "Landlock (%s)", FORBIDDEN);
    if (r.fd >= 0)
        close(r.fd);
    return rc;
}
