// SPDX-License-Identifier: BSD-3-Clause
// Opens what a link needs, from its spec. Descriptors given by number are checked to be what the
// link takes. The work inside a namespace is netns.h's; retrying is the caller's.
#include "link/open.h"

#include "link/netns.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TCP_BACKLOG        16
#define LISTENERS_PER_PASS (NETNS_FDS_MAX / 2)

// Inherited descriptors must not leak into what we start.
static int
take_fd(int fd, struct error *err)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(err, errno, "fd %d", fd);
    return fd;
}

static bool
is_socket(int fd, int domain, int type)
{
    int value;
    socklen_t len = sizeof(value);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) < 0 || value != type)
        return false;
    if (domain == AF_UNSPEC)
        return true;
    len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &len) == 0 && value == domain;
}

static int
given_message(int fd, struct error *err)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int rc = take_fd(fd, err);
    if (rc >= 0 && !is_socket(fd, AF_UNSPEC, SOCK_DGRAM) &&
        !is_socket(fd, AF_UNSPEC, SOCK_SEQPACKET))
        return error_set(err, 0, "fd %d: not a datagram or SOCK_SEQPACKET socket", fd);
    if (rc >= 0 && getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return error_set(err, errno, "fd %d: a socket that is connected to nobody", fd);
    return rc;
}

static int
given_stream(int fd, struct error *err)
{
    int rc = take_fd(fd, err);
    if (rc >= 0 && !is_socket(fd, AF_UNSPEC, SOCK_STREAM))
        return error_set(err, 0, "fd %d: not a stream socket", fd);
    return rc;
}

static int
given_vhost_user(int fd, struct error *err)
{
    int rc = take_fd(fd, err);
    if (rc >= 0 && !is_socket(fd, AF_UNIX, SOCK_STREAM))
        return error_set(err, 0, "fd %d: not a Unix stream socket", fd);
    return rc;
}

static int
given_tap(int fd, struct error *err)
{
    struct ifreq ifr;
    memset(&ifr, 0, sizeof(ifr));
    int rc = take_fd(fd, err);
    if (rc < 0)
        return rc;
    if (ioctl(fd, TUNGETIFF, &ifr) < 0)
        return error_set(err, 0, "fd %d: not a queue of a tap interface", fd);
    const int want = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if ((ifr.ifr_flags & (want | IFF_TUN)) != want)
        return error_set(
            err, 0, "fd %d: opened with other flags than IFF_TAP | IFF_NO_PI | IFF_VNET_HDR", fd);
    return fd;
}

static int
given_packet(int fd, struct error *err)
{
    int rc = take_fd(fd, err);
    if (rc >= 0 && !is_socket(fd, AF_PACKET, SOCK_RAW))
        return error_set(err, 0, "fd %d: not an AF_PACKET socket of type SOCK_RAW", fd);
    return rc;
}

static int
connect_unix(int type, const char *path, struct error *err)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, false);
    assert(len > 0); // a spec's path has the size of an address's
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, errno, "%s: cannot make a socket", path);
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return error_set(err, errnum, "%s: cannot connect", path);
}

const char *
link_address_name(const struct link_address *a, char out[LINK_ADDRESS_NAME_MAX])
{
    const char *form = strchr(a->host, ':') ? "[%s]:%s" : "%s:%s";
    snprintf(out, LINK_ADDRESS_NAME_MAX, form, a->host, a->port);
    return out;
}

int
link_resolve(const struct link_address *a, int type, int flags, struct addrinfo **out,
             struct error *err)
{
    char name[LINK_ADDRESS_NAME_MAX];
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = type, .ai_flags = AI_NUMERICSERV | flags};
    int rc = getaddrinfo(a->host[0] ? a->host : NULL, a->port, &hints, out);
    if (rc == 0)
        return 0;
    if (rc == EAI_SYSTEM)
        return error_set(err, errno, "%s: cannot resolve", link_address_name(a, name));
    error_set(err, 0, "%s: cannot resolve: %s", link_address_name(a, name), gai_strerror(rc));
    return -EHOSTUNREACH;
}

// Tries the addresses in turn, by try_one; the first descriptor it gives, or the last error.
static int
first_address(const struct addrinfo *list, int (*try_one)(int fd, const struct addrinfo *ai))
{
    int rc = -EHOSTUNREACH;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = fd < 0 ? -errno : try_one(fd, ai);
        if (rc == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return rc;
}

static int
begin_connect(int fd, const struct addrinfo *ai)
{
    int refused = 0;
    socklen_t len = sizeof(refused);
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    // The local host's refusal is there by now, and the next address may do better.
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &refused, &len) == 0 ? -refused : -errno;
}

static int
begin_listen(int fd, const struct addrinfo *ai)
{
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, TCP_BACKLOG) < 0)
        return -errno;
    return 0;
}

static int
open_tcp(const struct link_spec *spec, int flags, const char *what,
         int (*try_one)(int fd, const struct addrinfo *ai), struct error *err)
{
    struct addrinfo *list;
    int rc = link_resolve(&spec->addr, SOCK_STREAM, flags, &list, err);
    if (rc < 0)
        return rc;
    int fd = first_address(list, try_one);
    freeaddrinfo(list);
    if (fd >= 0)
        return fd;
    char name[LINK_ADDRESS_NAME_MAX];
    return error_set(err, -fd, "%s: cannot %s", link_address_name(&spec->addr, name), what);
}

static int
socket_type(const struct link_spec *spec)
{
    return spec->kind == LINK_MESSAGE ? SOCK_SEQPACKET : SOCK_STREAM;
}

int
link_connect(const struct link_spec *spec, bool *pending, struct error *err)
{
    *pending = false;
    if (spec->fd >= 0 && spec->kind == LINK_VHOST_USER)
        return given_vhost_user(spec->fd, err);
    if (spec->fd >= 0)
        return spec->kind == LINK_MESSAGE ? given_message(spec->fd, err)
                                          : given_stream(spec->fd, err);
    if (spec->path[0])
        return connect_unix(socket_type(spec), spec->path, err);
    int fd = open_tcp(spec, 0, "connect", begin_connect, err);
    if (fd >= 0) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        *pending = getpeername(fd, (struct sockaddr *)&peer, &len) < 0;
    }
    return fd;
}

int
link_listen(const struct link_spec *spec, struct unix_listener *out, struct error *err)
{
    if (spec->path[0])
        return unix_listener_open_type(out, socket_type(spec), spec->path, err);
    *out = (struct unix_listener){.fd = -1, .lock_fd = -1};
    int fd = open_tcp(spec, AI_PASSIVE, "listen", begin_listen, err);
    if (fd < 0)
        return fd;
    out->fd = fd;
    return 0;
}

static int
make_tap(void *arg, int *fds, size_t *count, struct error *err)
{
    const char *ifname = arg;
    int fd = netns_open_tap(ifname, err);
    if (fd < 0)
        return fd;
    // Whose tap it is may not be ours to set up; then its owner does.
    netns_link_up(ifname, NULL);
    fds[0] = fd;
    *count = 1;
    return 0;
}

static int
make_packet(void *arg, int *fds, size_t *count, struct error *err)
{
    int fd = netns_open_packet(arg, err);
    if (fd < 0)
        return fd;
    fds[0] = fd;
    *count = 1;
    return 0;
}

// Has one descriptor made, here or in the namespace of the spec.
static int
make_in_netns(const struct link_spec *spec,
              int (*make)(void *arg, int *fds, size_t *count, struct error *err), struct error *err)
{
    int fds[NETNS_FDS_MAX];
    size_t count = 0;
    void *ifname = (void *)spec->ifname; // only read
    int rc = spec->netns[0] ? netns_run(spec->netns, make, ifname, fds, &count, err)
                            : make(ifname, fds, &count, err);
    if (rc < 0)
        return rc;
    assert(count == 1);
    return fds[0];
}

int
link_open_tap(const struct link_spec *spec, struct error *err)
{
    return spec->fd >= 0 ? given_tap(spec->fd, err) : make_in_netns(spec, make_tap, err);
}

int
link_open_packet(const struct link_spec *spec, struct error *err)
{
    return spec->fd >= 0 ? given_packet(spec->fd, err) : make_in_netns(spec, make_packet, err);
}

// A pass of link_open_netns: as many ports as descriptors fit a message.
struct listen_pass {
    uint32_t addr;
    const struct ipv6_addr *addr6;
    const uint16_t *ports;
    size_t count;
};

// Those by IPv6 follow the others, all of them or none.
static int
make_listeners(void *arg, int *fds, size_t *count, struct error *err)
{
    const struct listen_pass *pass = arg;
    struct link_listener made[LISTENERS_PER_PASS];
    int rc = netns_listen(pass->addr, pass->addr6, pass->ports, pass->count, made, err);
    for (size_t i = 0; rc == 0 && i < pass->count; i++) {
        fds[i] = made[i].fd;
        fds[pass->count + i] = made[i].fd6;
    }
    *count = rc == 0 && made[0].fd6 >= 0 ? 2 * pass->count : pass->count;
    return rc;
}

static int
listen_pass_run(const char *netns, struct listen_pass *pass, struct link_listener *out,
                struct error *err)
{
    int fds[NETNS_FDS_MAX];
    size_t got;
    int rc = netns_run(netns, make_listeners, pass, fds, &got, err);
    if (rc < 0)
        return rc;
    assert(got == pass->count || got == 2 * pass->count);
    for (size_t i = 0; i < pass->count; i++)
        out[i] = (struct link_listener){fds[i], got > pass->count ? fds[pass->count + i] : -1};
    return 0;
}

int
link_open_netns(const struct link_spec *spec, uint32_t addr, const struct ipv6_addr *addr6,
                const uint16_t *ports, size_t count, struct link_listener *out, struct error *err)
{
    size_t done = 0;
    int rc = 0;
    for (size_t i = 0; i < count; i++)
        out[i] = LINK_LISTENER_NONE;
    while (rc == 0 && done < count) {
        size_t left = count - done;
        struct listen_pass pass = {addr, addr6, ports + done,
                                   left < LISTENERS_PER_PASS ? left : LISTENERS_PER_PASS};
        rc = listen_pass_run(spec->path, &pass, out + done, err);
        if (rc == 0)
            done += pass.count;
    }
    while (rc < 0 && done-- > 0)
        link_listener_close(&out[done]);
    return rc;
}
