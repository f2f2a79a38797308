// SPDX-License-Identifier: BSD-3-Clause
// The network back end that QEMU is told to use, and finding out which it has. QEMU 7.2 brought
// -netdev stream and dgram; before, -netdev socket did both.
#pragma once

#include <stddef.h>

enum qemu_link {
    QEMU_LINK_STREAM,     // a stream socket, frames behind their length
    QEMU_LINK_DGRAM,      // a datagram socket, one frame in each message
    QEMU_LINK_VHOST_USER, // see cli/qemu_vhost_user.h
};

enum qemu_age {
    QEMU_NEW, // has -netdev stream and dgram, or would not say
    QEMU_OLD, // has -netdev socket only
};

// What the program writes to standard output when it is started with those words (at most two, NULL
// behind the last), at most out_size - 1 bytes of it. Gives up after some seconds; "" where nothing
// came.
void qemu_ask(const char *program, const char *const *words, char *out, size_t out_size);
// Asks the program, by "-netdev help"; gives up after some seconds.
enum qemu_age qemu_ask_age(const char *program);
// The value of -netdev for a socket of that kind whose descriptor QEMU inherits; heap. NULL when
// out of memory.
char *qemu_netdev(enum qemu_link link, enum qemu_age age, const char *id, int fd);
