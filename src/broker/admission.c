// SPDX-License-Identifier: BSD-3-Clause
// See admission.h.
#include "broker/admission.h"

#include <arpa/inet.h>
#include <string.h>

#define ONLY_AT_START "only when the daemon is started (accepted: -vmchannel)"

// Asking a name server would stop the broker, and with it every connect, for seconds.
static int
check_host(const struct device_addr *addr, struct error *err)
{
    struct in6_addr in;
    if (addr->host[0] == '\0' || strcmp(addr->host, "localhost") == 0 ||
        inet_pton(AF_INET, addr->host, &in) == 1 || inet_pton(AF_INET6, addr->host, &in) == 1)
        return 0;
    return error_set(err, 0,
                     "%.64s: a name of a host is looked up " ONLY_AT_START "; give its address",
                     addr->host);
}

// What takes no file, no listening socket and no resolver (sandbox_broker.h).
static bool
fits_sandbox(const struct device *dev)
{
    if (dev->logfile[0] != '\0')
        return false;
    return dev->kind == DEVICE_NULL || (dev->kind == DEVICE_UNIX && !dev->server && !dev->abstract);
}

int
broker_may_open(const struct device *dev, bool locked_up, struct error *err)
{
    int rc = 0;
    if (locked_up && !fits_sandbox(dev))
        return error_set(err, 0,
                         "%s: not in the sandbox that the daemon is in since its start (accepted: "
                         "unix:PATH without server, abstract and logfile, null; --sandbox=worker "
                         "at the daemon's start for others)",
                         device_kind_name(dev->kind));
    switch (dev->kind) {
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_UDP:
        rc = check_host(&dev->remote, err);
        if (rc == 0)
            rc = check_host(&dev->local, err);
        return rc;
    case DEVICE_STDIO:
        return error_set(err, 0, "stdio can be had " ONLY_AT_START);
    case DEVICE_CMD:
        return error_set(err, 0, "cmd: a program can be named " ONLY_AT_START);
    case DEVICE_UNIX:
    case DEVICE_PTY:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_TTY:
    case DEVICE_NULL:
    case DEVICE_VSOCK:
        return 0;
    }
    return error_set(err, 0, "unknown device");
}
