// SPDX-License-Identifier: BSD-3-Clause
// The broker as a process of its own beside a guest that we start: it reports over a pipe once the
// guest may run, or why it may not.
#pragma once

#include "broker/broker.h"

// In the new process: a session of its own (the terminal's signals are the guest's), no standard
// input and output, then start, report over status_fd, and serve until stop_fd is readable or the
// link ends. Gives the exit status. status_fd stays open until exit, so that its end of file means
// that everything was cleaned up.
int broker_process_run(const struct broker_config *config, int stop_fd, int status_fd);

// In the process that forked it: waits for the report. 0, or -errno with err.
int broker_process_await(int status_fd, struct error *err);
