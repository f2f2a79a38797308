// SPDX-License-Identifier: BSD-3-Clause
// The broker's own sandbox, in the order of sandbox_broker. It is entered when the link, the
// listeners and the single devices are open, before the first worker is asked for, and so before
// anybody could say anything to this process. Step by step:
//
// 1. Process flags: no new privileges; not dumpable, so that who runs as the same user cannot trace
//    it or take its descriptors from /proc.
// 2. Capabilities: all of them, but that a broker of root's keeps CAP_DAC_OVERRIDE where it
//    connects to Unix sockets, opens FIFOs or terminals, or removes sockets of ours: so far root
//    could do so whoever owns them. (--user leaves none.)
// 3. Landlock (sandbox_broker_landlock.c): the file system, but for what the configured devices
//    open again; TCP ports but for those that they connect to. What is open stays open. It gives up
//    also ptrace(2) of any process, mounts and other roots.
// 4. System calls (sandbox_broker_calls.c): an allow-list; any other kills the process. It gives up
//    executing, processes, signals to others than our own worker, namespaces, memory that can be
//    executed, families of sockets that no device needs.
//
// Both are inherited, hence two things: workers are made by the starter (broker/starter.c), forked
// before; and a broker with cmd: devices is not locked up, since the programs it runs are not ours
// to confine. Where the kernel lacks a step the start fails: --sandbox=worker does without.
#include "broker/sandbox_broker.h"

#include "broker/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

static unsigned
needs_of_device(const struct device *d)
{
    switch (d->kind) {
    case DEVICE_UNIX:
        if (d->server)
            return d->abstract ? 0 : NEED_REMOVE;
        return NEED_UNIX;
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
        return d->server ? 0 : NEED_INET;
    case DEVICE_VSOCK:
        return NEED_VSOCK;
    case DEVICE_PTY:
        return d->path[0] ? NEED_REMOVE : 0;
    case DEVICE_PIPE:
        return NEED_PIPE;
    case DEVICE_TTY:
    case DEVICE_STDIO:
        return NEED_TERMINAL;
    case DEVICE_UDP:
    case DEVICE_FILE:
    case DEVICE_NULL:
    case DEVICE_CMD:
        return 0;
    }
    return 0;
}

static unsigned
needs_of_link(const struct link_spec *l)
{
    if (l->fd >= 0)
        return 0;
    switch (l->kind) {
    case LINK_MESSAGE:
        if (l->carrier == LINK_CARRIER_UNIX)
            return NEED_UNIX | NEED_REMOVE;
        if (l->carrier == LINK_CARRIER_UDP)
            return 0;
        return l->server ? NEED_REMOVE : NEED_UNIX;
    case LINK_STREAM:
    case LINK_VHOST_USER:
        if (l->path[0])
            return l->server ? NEED_REMOVE : NEED_UNIX;
        return l->server ? 0 : NEED_INET | NEED_NAMES;
    case LINK_HYBRID:
        return NEED_REMOVE;
    case LINK_TAP: // the starter's business
    case LINK_PACKET:
    case LINK_NETNS:
    case LINK_VSOCK:
        return 0;
    }
    return 0;
}

bool
sandbox_broker_is_possible(const struct guest_config *guest)
{
    for (size_t i = 0; i < guest->channel_count; i++)
        if (guest->channels[i].device.kind == DEVICE_CMD)
            return false;
    return true;
}

unsigned
sandbox_broker_needs(const struct broker_config *config)
{
    const struct guest_config *guest = config->guest;
    unsigned needs = needs_of_link(&config->link);
    if (config->removes_link_dir)
        needs |= NEED_REMOVE_DIR;
    if (config->control_path) // see admission.c
        needs |= NEED_CONTROL | NEED_UNIX | NEED_REMOVE;
    for (size_t i = 0; i < guest->channel_count; i++)
        needs |= needs_of_device(&guest->channels[i].device);
    return needs;
}

static int
set_process_flags(struct error *err)
{
    // What libc opens files for at first use.
    (void)strerror(ENOENT);
    (void)strsignal(SIGKILL);
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, errno, "process flags");
    return 0;
}

int
sandbox_broker(const struct broker_config *config, struct error *err)
{
    unsigned needs = sandbox_broker_needs(config);
    bool paths = needs & (NEED_UNIX | NEED_PIPE | NEED_TERMINAL | NEED_REMOVE | NEED_REMOVE_DIR);
    int rc = set_process_flags(err);
    if (rc == 0)
        rc = sandbox_keep_capabilities(paths ? CAP(CAP_DAC_OVERRIDE) : 0, err);
    if (rc == 0)
        rc = sandbox_broker_landlock(config, needs, err);
    if (rc == 0)
        rc = sandbox_broker_filter(needs, err);
    if (rc < 0)
        error_prefix(err, "broker: sandbox");
    return rc;
}
