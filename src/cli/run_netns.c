// SPDX-License-Identifier: BSD-3-Clause
// See run_netns.h. A user namespace is made also for root: a network namespace that the caller's
// user namespace owned could be left by setns(2). What is in the network namespace is made with
// link/netns; which process does what, and when, is run.c's.
#include "cli/run_netns.h"

#include "base/log.h"
#include "link/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUEST_IF    "vmc0" // what COMMAND sees
#define CARRIER_MS  500
#define IPV6_PREFIX 64
#define OUR_IF      "vmc1" // packet: the far side of it, where the AF_PACKET socket is

int
run_netns_enter(struct error *err)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
        return 0;
    int rc = -errno;
    error_set(err, errno,
              "new user and network namespace (see kernel.unprivileged_userns_clone and "
              "user.max_user_namespaces in sysctl(8))");
    return rc;
}

static int
write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;
    close(fd);
    return rc;
}

// Maps every id that exists for us to itself. Needs privilege over our own user namespace.
static int
map_all(pid_t child, const char *name)
{
    char path[64], text[4096];
    unsigned inside, outside, count;
    size_t len = 0;

    snprintf(path, sizeof(path), "/proc/self/%s", name);
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    while (len < sizeof(text) - 64 && fscanf(f, "%u %u %u", &inside, &outside, &count) == 3)
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%u %u %u\n", inside, inside, count);
    fclose(f);
    return len == 0 ? -EIO : write_file(child, name, text);
}

static int
map_one(pid_t child, const char *name, unsigned id)
{
    char text[64];
    snprintf(text, sizeof(text), "%u %u 1\n", id, id);
    return write_file(child, name, text);
}

int
run_netns_map_ids(pid_t child, struct error *err)
{
    // A root without the capabilities (in a container) is treated like any other user.
    int rc = geteuid() == 0 ? map_all(child, "uid_map") : -EPERM;
    if (rc < 0)
        rc = map_one(child, "uid_map", geteuid());
    if (rc < 0)
        return error_set(err, -rc, "uid_map of the new user namespace");

    rc = geteuid() == 0 ? map_all(child, "gid_map") : -EPERM;
    if (rc < 0) {
        // user_namespaces(7): without privilege, groups may not be given up for a mapping of one.
        write_file(child, "setgroups", "deny");
        rc = map_one(child, "gid_map", getegid());
    }
    return rc < 0 ? error_set(err, -rc, "gid_map of the new user namespace") : 0;
}

static int
prefix_len(const struct guest_config *guest)
{
    return __builtin_popcount(guest->netmask);
}

// The far side must not take part in ARP. It has no address to answer for, so this is tidiness, and
// failing is no failure.
static void
silence(const char *ifname)
{
    struct ifreq req = {.ifr_flags = 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
    if (ioctl(fd, SIOCGIFFLAGS, &req) == 0) {
        req.ifr_flags = (short)(req.ifr_flags | IFF_NOARP);
        ioctl(fd, SIOCSIFFLAGS, &req);
    }
    close(fd);
}

// Until the kernel has noticed the carrier, which it does in a work queue, it drops what is sent,
// and COMMAND's first SYN would be answered a second later. It may take as long as it takes
// elsewhere.
static void
wait_for_carrier(const char *ifname)
{
    struct ifreq req = {.ifr_flags = 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
    for (int ms = 0; ms < CARRIER_MS; ms++) {
        if (ioctl(fd, SIOCGIFFLAGS, &req) < 0 || req.ifr_flags & IFF_RUNNING)
            break;
        usleep(1000);
    }
    close(fd);
}

// Where the kernel has none, or the MTU is too small for it, COMMAND has IPv4 alone: false.
static bool
add_ipv6(const struct guest_config *guest, const struct ipv6_addr *addr)
{
    struct error err;
    if (ipv6_addr_is_none(addr)) {
        netns_disable_ipv6(GUEST_IF);
        return false;
    }
    int rc = netns_add_addr6(GUEST_IF, addr, IPV6_PREFIX, &err);
    if (rc < 0)
        log_debug("%s: no IPv6: %s", guest->name, err.text);
    return rc == 0;
}

static int
bring_up_guest_if(const struct guest_config *guest, struct error *err)
{
    const struct ipv6_addr addr6 = guest_config_guest_addr6(guest);
    int rc = netns_set_mtu(GUEST_IF, guest->mtu, err);
    bool has_ipv6 = rc == 0 && add_ipv6(guest, &addr6);
    if (rc == 0)
        rc = netns_add_addr(GUEST_IF, guest->guest_addr, (uint8_t)prefix_len(guest), err);
    if (rc == 0)
        rc = netns_link_up(GUEST_IF, err);
    if (rc == 0)
        wait_for_carrier(GUEST_IF);
    if (rc == 0 && has_ipv6)
        netns_await_addr6(&addr6);
    return rc;
}

static int
set_up_tap(const struct guest_config *guest, int *fd, struct error *err)
{
    *fd = netns_open_tap(GUEST_IF, err);
    return *fd < 0 ? *fd : bring_up_guest_if(guest, err);
}

static int
set_up_packet(const struct guest_config *guest, int *fd, struct error *err)
{
    int rc = netns_add_veth(GUEST_IF, OUR_IF, err);
    if (rc < 0)
        return rc;
    netns_disable_ipv6(OUR_IF);
    silence(OUR_IF);
    rc = netns_set_mtu(OUR_IF, guest->mtu, err);
    if (rc < 0)
        return rc;
    // Up first: an AF_PACKET socket bound to an interface that is down starts with ENETDOWN.
    // Nothing is missed, the near side is still down.
    rc = netns_link_up(OUR_IF, err);
    if (rc < 0)
        return rc;
    *fd = netns_open_packet(OUR_IF, err);
    return *fd < 0 ? *fd : bring_up_guest_if(guest, err);
}

static int
set_up_netns(const struct guest_config *guest, struct link_listener *listeners, struct error *err)
{
    const struct ipv6_addr addr6 = guest_config_channel_addr6(guest);
    uint16_t ports[GUEST_CHANNELS_MAX];
    for (size_t i = 0; i < guest->channel_count; i++)
        ports[i] = guest->channels[i].port;
    return netns_listen(guest->channel_addr, &addr6, ports, guest->channel_count, listeners, err);
}

static bool
tun_is_usable(void)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

int
run_netns_set_up(const struct guest_config *guest, enum run_link link, enum link_kind *kind,
                 struct link_listener *out, struct error *err)
{
    int rc = netns_link_up("lo", err);
    if (rc < 0)
        return rc;
    if (link == RUN_LINK_AUTO)
        link = tun_is_usable() ? RUN_LINK_TAP : RUN_LINK_PACKET;
    switch (link) {
    case RUN_LINK_AUTO: // decided above
    case RUN_LINK_TAP:
        *kind = LINK_TAP;
        return set_up_tap(guest, &out->fd, err);
    case RUN_LINK_PACKET:
        *kind = LINK_PACKET;
        return set_up_packet(guest, &out->fd, err);
    case RUN_LINK_NETNS:
        *kind = LINK_NETNS;
        return set_up_netns(guest, out, err);
    }
    return -EINVAL;
}
