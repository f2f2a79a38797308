// SPDX-License-Identifier: BSD-3-Clause
// The worker process: guest bytes on one side, host ends handed over by the broker on the other.
#pragma once

#include "channel/counters.h"
#include "config/guest_config.h"

#define WORKER_ABORTED 134 // exit status after a failed assertion

// To be called in the child right after sandbox_fork, or fork when guest->sandbox_off, with nothing
// of the parent's left to do. Closes every descriptor but stderr and sock, gives up what a worker
// must not have, tells the broker it is ready, and serves until the broker goes away. null_fd: an
// open /dev/null. counters: memory shared with the parent. guest->channels has room for
// GUEST_CHANNELS_MAX. Never returns.
_Noreturn void
worker_main(const struct guest_config *guest, struct hub_counters *counters, int sock, int null_fd);
