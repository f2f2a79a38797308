// SPDX-License-Identifier: BSD-3-Clause
// The network back end that QEMU is told to use, and finding out which it has. QEMU 7.2 brought
// -netdev stream and dgram; before, -netdev socket did both.
#pragma once

enum qemu_link {
    QEMU_LINK_STREAM, // a stream socket, frames behind their length
    QEMU_LINK_DGRAM,  // a datagram socket, one frame in each message
};

enum qemu_age {
    QEMU_NEW, // has -netdev stream and dgram, or would not say
    QEMU_OLD, // has -netdev socket only
};

// Asks the program, by "-netdev help"; gives up after some seconds.
enum qemu_age qemu_ask_age(const char *program);
// The value of -netdev for a socket of that kind whose descriptor QEMU inherits; heap. NULL when
// out of memory.
char *qemu_netdev(enum qemu_link link, enum qemu_age age, const char *id, int fd);
