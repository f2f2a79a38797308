// SPDX-License-Identifier: BSD-3-Clause
// Datagram sockets of the message link, and their peers. A datagram has no connection of its own,
// so the broker connects the socket to the peer: from then on the kernel keeps everybody else out,
// and the worker can send without an address. Whether that peer is still there has to be looked at.
#pragma once

#include "base/error.h"
#include "base/unix_listener.h"
#include "link/spec.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

// Whom a Unix datagram socket is connected to.
struct datagram_peer {
    struct sockaddr_un addr;
    socklen_t len; // of addr
    dev_t dev;     // of the peer's path, to know it again; 0 for an abstract name
    ino_t ino;
};

// Unix: binds the path. UDP: binds, connects to the peer, and drops what came before. 0, or -errno
// with err filled; undone by unix_listener_close.
int datagram_open(const struct link_spec *spec, struct unix_listener *out, struct error *err);
// Unix: connects fd to the peer of the spec or, when that names none, to whoever sent the first
// message that waits in fd (which stays there). 0, or -errno with err filled: -EAGAIN when nobody
// has sent, -EDESTADDRREQ when who sent has no name to answer to (that message is gone).
int
datagram_meet(int fd, const struct link_spec *spec, struct datagram_peer *out, struct error *err);
// False when the peer's socket is closed, or another one is in its place.
bool datagram_peer_is_there(const struct datagram_peer *peer);
// Parts fd from its peer, so that others can send; what waited is dropped. Wakes whoever reads fd,
// by a message that is not the peer's.
void datagram_part(int fd);
