// SPDX-License-Identifier: BSD-3-Clause
// A process beside the broker that does what the broker, once it is locked up, cannot: make another
// worker, and open a tap or packet link anew. It is forked before the broker is locked up, hears
// requests without arguments from the broker alone, and sees neither guest nor host program.
#pragma once

#include "base/error.h"
#include "channel/counters.h"
#include "config/guest_config.h"
#include "link/spec.h"

#include <sys/types.h>

#define STARTER_NAME "vmc-starter" // what ps(1) calls it

struct starter {
    pid_t pid; // 0: none
    int sock;
};

// What both it and its workers need is taken from here, as it is now: guest and link, which outlive
// it, counters (MAP_SHARED memory), an open /dev/null. 0 or -errno with err.
int
starter_start(struct starter *s, const struct guest_config *guest, struct hub_counters *counters,
              const struct link_spec *link, int null_fd, struct error *err);
// A worker, which is the caller's child, at the other end of sock (taken over, also on failure).
// Its pidfd; or -errno with err, when *pid may be above 0: such a child ends once the other end of
// sock is closed, and is to be waited for.
int starter_fork_worker(struct starter *s, int sock, pid_t *pid, struct error *err);
// The link's queue, when it is a tap or packet link: a descriptor, or -errno with err.
int starter_open_queue(struct starter *s, struct error *err);
// Ends it; harmless when there is none.
void starter_stop(struct starter *s);
