// SPDX-License-Identifier: BSD-3-Clause
// Datagram sockets: bound, connected to their peer, and parted from it. When to do so is
// broker/link_source's. The broker looks at who sent, never at what.
#include "link/datagram.h"

#include "link/open.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAIN_MAX 10000

static const struct addrinfo *
find_family(const struct addrinfo *list, int family)
{
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        if (ai->ai_family == family)
            return ai;
    }
    return list;
}

static int
open_udp(const struct link_spec *spec, struct unix_listener *out, struct error *err)
{
    char name[LINK_ADDRESS_NAME_MAX];
    *out = (struct unix_listener){.fd = -1, .lock_fd = -1};
    struct addrinfo *local, *peer;
    int rc = link_resolve(&spec->peer_addr, SOCK_DGRAM, 0, &peer, err);
    if (rc < 0)
        return rc;
    rc = link_resolve(&spec->addr, SOCK_DGRAM, AI_PASSIVE, &local, err);
    if (rc < 0) {
        freeaddrinfo(peer);
        return rc;
    }
    // A name may have addresses of both families.
    const struct addrinfo *from = find_family(local, peer->ai_family);
    int fd = socket(from->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        rc = error_set(err, errno, "cannot make a UDP socket");
    else if (bind(fd, from->ai_addr, from->ai_addrlen) < 0)
        rc = error_set(err, errno, "%s: cannot bind", link_address_name(&spec->addr, name));
    else if (connect(fd, peer->ai_addr, peer->ai_addrlen) < 0)
        rc = error_set(err, errno, "%s: cannot be the peer",
                       link_address_name(&spec->peer_addr, name));
    freeaddrinfo(local);
    freeaddrinfo(peer);
    // Between bind and connect anybody could send.
    for (int i = 0; rc == 0 && i < DRAIN_MAX && recv(fd, NULL, 0, MSG_DONTWAIT) >= 0; i++)
        ;
    if (rc < 0 && fd >= 0)
        close(fd);
    else
        out->fd = fd;
    return rc;
}

int
datagram_open(const struct link_spec *spec, struct unix_listener *out, struct error *err)
{
    if (spec->carrier == LINK_CARRIER_UDP)
        return open_udp(spec, out, err);
    return unix_listener_open_type(out, SOCK_DGRAM, spec->path, err);
}

static bool
has_path(const struct datagram_peer *peer)
{
    return peer->addr.sun_path[0] != '\0';
}

// sun_path need not end in NUL: one byte more.
struct peer_path {
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
};

static struct peer_path
path_of(const struct datagram_peer *peer)
{
    struct peer_path path = {{0}};
    memcpy(path.text, peer->addr.sun_path, sizeof(peer->addr.sun_path));
    return path;
}

// A name for messages.
static const char *
name_of(const struct datagram_peer *peer, struct peer_path *buf)
{
    *buf = path_of(peer);
    return has_path(peer) ? buf->text : "a peer without a path";
}

// The sender of the first message, which is looked at with no room for any of its bytes. 0 or
// -errno.
static int
peek_sender(int fd, struct datagram_peer *out)
{
    struct msghdr msg = {.msg_name = &out->addr, .msg_namelen = sizeof(out->addr)};
    ssize_t n;
    do
        n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    out->len = n < 0 ? 0 : msg.msg_namelen;
    return n < 0 ? -errno : 0;
}

// What datagram_part has sent, and nobody has read.
static bool
is_own_wake(int fd, const struct datagram_peer *sender)
{
    struct sockaddr_un self;
    socklen_t len = sizeof(self);
    return getsockname(fd, (struct sockaddr *)&self, &len) == 0 && len == sender->len &&
           memcmp(&self, &sender->addr, len) == 0;
}

static int
find_sender(int fd, struct datagram_peer *out, struct error *err)
{
    int rc;
    while ((rc = peek_sender(fd, out)) == 0 && is_own_wake(fd, out))
        recv(fd, NULL, 0, MSG_DONTWAIT);
    if (rc < 0)
        return error_set(err, -rc, "nobody has sent yet");
    if (out->len > offsetof(struct sockaddr_un, sun_path))
        return 0;
    recv(fd, NULL, 0, MSG_DONTWAIT);
    return error_set(err, EDESTADDRREQ, "who sent has bound no name to answer to");
}

int
datagram_meet(int fd, const struct link_spec *spec, struct datagram_peer *out, struct error *err)
{
    *out = (struct datagram_peer){.len = 0};
    int rc = 0;
    if (spec->peer_path[0]) {
        rc = unix_address(&out->addr, spec->peer_path, false, false);
        assert(rc > 0); // a spec's path has the size of an address's
        out->len = (socklen_t)rc;
    } else if ((rc = find_sender(fd, out, err)) < 0) {
        return rc;
    }
    struct peer_path path;
    struct stat st;
    if (connect(fd, (struct sockaddr *)&out->addr, out->len) < 0) {
        rc = error_set(err, errno, "%s: cannot connect", name_of(out, &path));
        if (!spec->peer_path[0])
            recv(fd, NULL, 0, MSG_DONTWAIT); // or it would be the first for ever
        return rc;
    }
    if (has_path(out) && stat(path_of(out).text, &st) == 0) {
        out->dev = st.st_dev;
        out->ino = st.st_ino;
    }
    return 0;
}

bool
datagram_peer_is_there(const struct datagram_peer *peer)
{
    struct stat st;
    if (has_path(peer) && peer->ino != 0) {
        // Gone from the file system it may still be open; only another one in its place tells.
        if (stat(path_of(peer).text, &st) < 0)
            return true;
        if (st.st_dev != peer->dev || st.st_ino != peer->ino)
            return false;
    }
    int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return true;
    // EPERM: it is connected to us, and lets nobody else.
    bool refused = connect(probe, (const struct sockaddr *)&peer->addr, peer->len) < 0 &&
                   errno == ECONNREFUSED;
    close(probe);
    return !refused;
}

void
datagram_part(int fd)
{
    struct sockaddr_un self;
    socklen_t len = sizeof(self);
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    if (connect(fd, &nobody, sizeof(nobody)) == 0 &&
        getsockname(fd, (struct sockaddr *)&self, &len) == 0)
        sendto(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&self, len);
}
