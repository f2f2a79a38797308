// SPDX-License-Identifier: BSD-3-Clause
// The two processes of one guest. The broker opens: link sockets, tap queues, listeners, host ends;
// it never sees a guest byte. The worker it forks reads guest bytes and opens nothing. They talk
// over one SOCK_SEQPACKET pair (broker/protocol.h). A worker that dies is replaced.
#pragma once

#include "base/error.h"
#include "broker/run_as.h"
#include "config/guest_config.h"
#include "link/listener.h"
#include "link/spec.h"

#include <stdbool.h>

struct broker_config {
    const struct guest_config *guest;      // the caller's, outlives the broker
    struct link_spec link;                 // for fd= links and netns listeners passed in, see below
    const struct link_listener *listeners; // netns by inherited ones: by channel; else NULL
    const struct run_as *user;             // to become once the link is open; NULL: stay who we are
    bool lock_up; // --sandbox=on: this process is the broker's alone, and gives up what it can
    bool removes_link_dir;    // the caller will, of a Unix link's path, once we are done
    bool has_stdio;           // descriptors 0 and 1 are the user's: stdio may be a device
    bool exit_on_link_down;   // a link given by fd cannot come back: end instead of waiting
    uint32_t drain_ms;        // when stopped, the worker may take so long to hand over guest bytes
    const char *control_path; // a control socket there; NULL: none
    bool control_by_name;     // else one where commands look for the guest's name, if there can be
    const int *guest_end_fd;  // readable when the guest has ended: then end; NULL: none
};

struct broker;

// Opens what must be open (as who we are: link listener, tap, sockets in a namespace; as
// config->user the devices: what cannot be opened again later is not opened now), forks the worker
// and returns once the worker is ready for the first guest byte, so that a caller can start a guest
// after it. NULL with err filled. Takes ownership of config->link.fd and the listeners, also on
// failure. The caller has one thread and leaves the worker's exit status alone (no waitpid(-1)).
struct broker *broker_start(const struct broker_config *config, struct error *err);
// Serves until stop_fd becomes readable (e.g. a signalfd or pipe; -1: never), the link of an
// exit_on_link_down broker ends, or the worker dies for good. 0 in the first two cases, else -errno
// (-EPIPE: the worker, already logged).
int broker_run(struct broker *b, int stop_fd);
// Ends the worker, removes what was made in the file system.
void broker_free(struct broker *b);
// Bytes of memory that the guest can make us use at most.
uint64_t broker_memory_bound(const struct guest_config *guest);
