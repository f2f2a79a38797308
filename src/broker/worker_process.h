// SPDX-License-Identifier: BSD-3-Clause
// The worker as the broker sees it: a process, and the socket to it.
#pragma once

#include "broker/courier.h"
#include "broker/starter.h"
#include "channel/counters.h"
#include "config/guest_config.h"

#include <sys/socket.h>
#include <sys/types.h>

// Whether a Unix socket takes descriptors (Linux 6.16). The broker's end of a worker's does not.
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

// Messages to a worker about one channel: it, its log, its listeners; once more when it was
// removed.
#define WORKER_QUEUE_PER_CHANNEL 5

struct worker_process {
    struct loop *loop;
    const struct guest_config *guest;
    struct hub_counters *counters; // shared with it
    pid_t pid;                     // 0: none
    struct loop_io pid_io;         // on a pidfd, readable when the process has ended
    struct courier courier;
    uint64_t started_us;
    bool ready;                                    // has said so (kept when it ended)
    void (*on_exit)(void *ctx, const char *cause); // it ended: "signal 11 (Segmentation fault)"
    void *ctx;
};

// Forks a worker, or has it forked by `starter`, if not NULL. counters: MAP_SHARED memory, the
// starter's too. null_fd: an open /dev/null for it. events, on_exit and ctx outlive it. 0, or
// -errno with err filled.
int
worker_process_start(struct worker_process *w, struct loop *loop, const struct guest_config *guest,
                     struct hub_counters *counters, struct starter *starter, int null_fd,
                     const struct courier_events *events,
                     void (*on_exit)(void *ctx, const char *cause), void *ctx, struct error *err);
// Ends it at once; on_exit follows.
void worker_process_kill(struct worker_process *w);
// Ends it by closing its socket, or the hard way when it does not end within a second; waits; no
// on_exit. Harmless when there is none.
void worker_process_stop(struct worker_process *w);
