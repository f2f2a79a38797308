// SPDX-License-Identifier: BSD-3-Clause
// A broker in a process of its own, its worker, a guest of ours on its link, and host programs.
#pragma once

#include "broker/broker.h"
#include "lib/guest_end.h"

#include <sys/types.h>

struct world {
    char dir[64];
    char path[80];              // host program of channel 600
    struct guest_config config; // its name is this process's alone: abstract sockets have it
    struct broker_config broker;
    int guest_fd; // the guest's end of an inherited link, not for the broker; else -1
    pid_t pid;    // the broker's
    int stop_fd;  // closing it ends the broker
    char *log;    // shared with the broker
    struct guest_end guest;
};

// Channel 600 is unix:PATH and `options`. No process yet.
void world_init(struct world *w, const char *options);
void world_fini(struct world *w); // a broker that still runs must end in order
// Forks the broker of w->broker, returns when it is ready.
void world_start(struct world *w);
// The same over an inherited stream whose other end is the guest's.
void world_start_with_guest(struct world *w);
// The same with a broker that connects to a listener of ours, which is returned, and its first
// link.
int world_start_connecting(struct world *w);
int world_broker_status(struct world *w); // waits: its exit status, -1 after a signal
pid_t world_worker(const struct world *w);

int world_listen(const char *path); // a host program that listens
int world_client(const char *path); // one that connects
// Each turns the guest's loop meanwhile, and fails the test after 5 s.
int world_accept(struct world *w, int l);
void world_expect_bytes(struct world *w, int fd, const char *text);
// A connection that says ping and hears pong; returns the host program's end.
int world_converse(struct world *w, int l, uint32_t *conn);
void world_expect_eof(int fd);
