// SPDX-License-Identifier: BSD-3-Clause
// sd_notify(3)'s protocol, both sides: who started us wants to know when the guest may be started.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

// The side that tells. A descriptor for notify_ready, taken from the environment variable
// NOTIFY_SOCKET, which is removed; -1 when nobody wants to know.
int notify_open(void);
// "READY=1"; closes fd. Harmless with -1.
void notify_ready(int fd);

// The side that listens. A descriptor that becomes readable; its address goes into NOTIFY_SOCKET,
// for children. -errno on failure.
int notify_listen(void);
// Whether the next message says that the process `pid` is ready. False when there is none.
bool notify_receive(int fd, pid_t pid);
