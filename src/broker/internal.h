// SPDX-License-Identifier: BSD-3-Clause
// What the files of the broker process share: its state, and how a channel reaches the worker.
// Nobody outside of broker/ includes this.
#pragma once

#include "base/log.h"
#include "broker/broker.h"
#include "broker/control_server.h"
#include "broker/link_source.h"
#include "broker/worker_process.h"
#include "channel/counters.h"
#include "control/path.h"
#include "host/opener.h"

struct broker {
    const struct guest_config *guest; // own
    struct guest_config own;          // as given, but its channels have room and come and go
    struct hub_counters *counters;    // shared with the worker, which writes them
    uint64_t started_us;
    bool exit_on_link_down;
    struct loop *loop;
    int null_fd;

    struct opener *opener;

    // The guest's side: a source of frame links, or listeners of a socket link.
    struct link_source *source;
    bool is_socket_link;
    struct link_listener *listeners; // by channel; none with a frame link
    bool listeners_inherited;        // where they came from, we cannot make more
    struct unix_listener *hybrid;    // the same of a hybrid link, with their paths; else NULL
    struct link_spec link_spec;      // without its descriptor
    uint32_t link;                   // number of the worker's link, 0: it has none
    uint32_t links;                  // of this worker, so far
    struct log_limit link_limit;     // of "down"

    struct starter starter; // of workers, when we are locked up
    struct worker_process worker;
    uint32_t garbage; // malformed messages of this worker
    struct log_limit garbage_limit;
    int respawn_timer;
    uint64_t respawn_us; // delay before the next one
    bool worker_died;
    bool served; // some worker got ready
    uint32_t restarts;

    // The control socket, NULL without; where it is, if its directory is ours, else "".
    struct control_server *control;
    char control_path[CONTROL_PATH_SIZE];
    bool changed[GUEST_CHANNELS_MAX]; // channels, since the start
    size_t next_channel;              // index to be looked at first for one more
    uint32_t sync;                    // number of the last MESSAGE_SYNC
    uint32_t closes_expected;         // MESSAGE_CLOSED of sessions whose channel was removed
    uint32_t drain_ms;
    bool draining; // stopped, but for what the worker hands over; respawn_timer is its end

    struct loop_io stop_io;
    struct loop_io guest_io; // guest_end_fd, -1: none
    bool finished;
    int result; // of broker_run, once finished
};

// broker.c: ends broker_run with that result, unless something else has ended it already.
void broker_finish(struct broker *b, int result);

// broker_worker.c: before the first start.
void broker_worker_init(struct broker *b);
// Starts a worker. 0 or -errno with err: -EPIPE, there is no starter any more.
int broker_worker_start(struct broker *b, struct error *err);
// Turns the loop until the first worker is ready. 0 or -errno with err.
int broker_worker_wait(struct broker *b, struct error *err);
// Has the worker hand over what it still has to, drain_ms long; then broker_run ends.
void broker_worker_drain(struct broker *b);
// What the opener answers, on to the worker; a link's descriptor, likewise. ctx is the broker.
extern const struct opener_events broker_worker_ends;
void broker_worker_link(void *ctx, int fd);
// Where a channel's log is, and its listener, to a worker that is ready.
void broker_send_log(struct broker *b, uint16_t channel);
void broker_send_listener(struct broker *b, uint16_t channel);

// broker_control.c: makes the control socket that config asks for. 0 or -errno with err.
int broker_control_open(struct broker *b, const struct broker_config *config, struct error *err);
void broker_control_close(struct broker *b);
// A worker is ready that knows of so many changes: tells it of all when that is not enough.
void broker_control_worker_ready(struct broker *b, uint32_t changes);
// The worker is gone: what waits for it need not wait, and nothing of it is there now.
void broker_control_worker_gone(struct broker *b);
