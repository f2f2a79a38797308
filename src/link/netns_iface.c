// SPDX-License-Identifier: BSD-3-Clause
// Interfaces of the caller's network namespace: up, MTU, IPv6 off by netdevice(7) and sysctl;
// addresses and veth pairs by rtnetlink(7). Part of link/netns.h.
#include "link/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// One rtnetlink request under construction; 1 KiB holds all of ours.
struct request {
    union {
        struct nlmsghdr head;
        char bytes[1024];
    } u;
};

static void
request_init(struct request *r, uint16_t type, uint16_t flags, const void *body, size_t len)
{
    memset(r, 0, sizeof(*r));
    r->u.head.nlmsg_type = type;
    r->u.head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    r->u.head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
    memcpy(NLMSG_DATA(&r->u.head), body, len);
}

static struct rtattr *
request_attr(struct request *r, uint16_t type, const void *data, size_t len)
{
    struct rtattr *attr = (struct rtattr *)(void *)(r->u.bytes + NLMSG_ALIGN(r->u.head.nlmsg_len));
    attr->rta_type = type;
    attr->rta_len = (uint16_t)RTA_LENGTH(len);
    if (len)
        memcpy(RTA_DATA(attr), data, len);
    r->u.head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->u.head.nlmsg_len) + RTA_ALIGN(attr->rta_len));
    return attr;
}

// Begins an attribute that holds what is appended until request_close.
static struct rtattr *
request_open(struct request *r, uint16_t type)
{
    return request_attr(r, type, NULL, 0);
}

static void
request_close(struct request *r, struct rtattr *attr)
{
    attr->rta_len = (uint16_t)(r->u.bytes + r->u.head.nlmsg_len - (char *)attr);
}

// Sends the request and waits for the kernel's verdict: 0 or -errno.
static int
request_run(const struct request *r)
{
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer;
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (sock < 0)
        return -errno;
    ssize_t n = send(sock, &r->u, r->u.head.nlmsg_len, 0);
    if (n >= 0)
        n = recv(sock, &answer, sizeof(answer), 0);
    int rc = n < 0 ? -errno : 0;
    close(sock);
    if (rc < 0)
        return rc;
    struct nlmsgerr verdict;
    if ((size_t)n < NLMSG_LENGTH(sizeof(verdict.error)) || answer.head.nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    memcpy(&verdict.error, NLMSG_DATA(&answer.head), sizeof(verdict.error));
    return verdict.error;
}

// Fills ifr for ifname and gives a socket to ask about it, or -errno.
static int
ask_about(const char *ifname, struct ifreq *ifr)
{
    memset(ifr, 0, sizeof(*ifr));
    if (ifname[0] == '\0' || strlen(ifname) >= sizeof(ifr->ifr_name))
        return -ENODEV;
    memcpy(ifr->ifr_name, ifname, strlen(ifname));
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return sock < 0 ? -errno : sock;
}

int
netns_link_up(const char *ifname, struct error *err)
{
    struct ifreq ifr;
    int sock = ask_about(ifname, &ifr);
    int rc = sock < 0 ? sock : 0;
    if (rc == 0 && ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
        rc = -errno;
    if (rc == 0 && !(ifr.ifr_flags & IFF_UP)) {
        ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
        if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
            rc = -errno;
    }
    if (sock >= 0)
        close(sock);
    return rc < 0 ? error_set(err, -rc, "%s: cannot set the interface up", ifname) : 0;
}

int
netns_set_mtu(const char *ifname, uint16_t mtu, struct error *err)
{
    struct ifreq ifr;
    int sock = ask_about(ifname, &ifr);
    int rc = sock < 0 ? sock : 0;
    ifr.ifr_mtu = mtu;
    if (rc == 0 && ioctl(sock, SIOCSIFMTU, &ifr) < 0)
        rc = -errno;
    if (sock >= 0)
        close(sock);
    return rc < 0 ? error_set(err, -rc, "%s: cannot set the MTU to %u", ifname, mtu) : 0;
}

// Where it cannot be written the interface is merely less quiet.
static void
write_ipv6_conf(const char *ifname, const char *name, const char *value)
{
    char path[128];
    // The name becomes part of a path; the kernel would not take such a name either.
    if (strchr(ifname, '/') || strlen(ifname) >= IFNAMSIZ)
        return;
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", ifname, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, value, strlen(value));
    (void)n;
    close(fd);
}

// body: but for the interface; addr: as many bytes as its family has.
static int
add_addr(const char *ifname, struct ifaddrmsg body, const void *addr, size_t len, struct error *err)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(body.ifa_family, addr, text, sizeof(text));
    body.ifa_index = if_nametoindex(ifname);
    int rc = body.ifa_index == 0 ? -errno : 0;
    if (rc == 0) {
        struct request r;
        // REPLACE: an address that is there already, as after a restart, is as good.
        request_init(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body, sizeof(body));
        request_attr(&r, IFA_LOCAL, addr, len);
        request_attr(&r, IFA_ADDRESS, addr, len);
        rc = request_run(&r);
    }
    if (rc < 0)
        return error_set(err, -rc, "%s: cannot add the address %s/%u", ifname, text,
                         body.ifa_prefixlen);
    return 0;
}

int
netns_add_addr(const char *ifname, uint32_t addr, uint8_t prefix_len, struct error *err)
{
    const struct in_addr in = {htonl(addr)};
    return add_addr(ifname, (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = prefix_len},
                    &in, sizeof(in), err);
}

int
netns_add_addr6(const char *ifname, const struct ipv6_addr *addr, uint8_t prefix_len,
                struct error *err)
{
    write_ipv6_conf(ifname, "accept_ra", "0");
    write_ipv6_conf(ifname, "addr_gen_mode", "1"); // no link-local address either
    return add_addr(ifname,
                    (struct ifaddrmsg){.ifa_family = AF_INET6,
                                       .ifa_prefixlen = prefix_len,
                                       .ifa_flags = IFA_F_NODAD},
                    addr, sizeof(*addr), err);
}

int
netns_add_veth(const char *a, const char *b, struct error *err)
{
    struct ifinfomsg body = {.ifi_family = AF_UNSPEC};
    struct request r;
    if (strlen(a) >= IFNAMSIZ || strlen(b) >= IFNAMSIZ)
        return error_set(err, ENAMETOOLONG, "%s, %s: cannot make a veth pair", a, b);
    request_init(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
    request_attr(&r, IFLA_IFNAME, a, strlen(a) + 1);
    struct rtattr *info = request_open(&r, IFLA_LINKINFO);
    request_attr(&r, IFLA_INFO_KIND, "veth", sizeof("veth"));
    struct rtattr *data = request_open(&r, IFLA_INFO_DATA);
    struct rtattr *peer = request_attr(&r, VETH_INFO_PEER, &body, sizeof(body));
    request_attr(&r, IFLA_IFNAME, b, strlen(b) + 1);
    request_close(&r, peer);
    request_close(&r, data);
    request_close(&r, info);
    int rc = request_run(&r);
    return rc < 0 ? error_set(err, -rc, "%s, %s: cannot make a veth pair", a, b) : 0;
}

void
netns_disable_ipv6(const char *ifname)
{
    write_ipv6_conf(ifname, "disable_ipv6", "1");
}
