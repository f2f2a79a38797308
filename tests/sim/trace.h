// SPDX-License-Identifier: BSD-3-Clause
// What a person sees of a run: one line per frame and event, and a pcap of the host's side.
#pragma once

#include "packet.h"
#include "plan.h"

struct trace {
    void *pcap;        // FILE, or NULL
    bool lines;        // print
    uint64_t epoch_us; // times are shown from here
};

// Opens path for the pcap unless it is NULL. False, with errno, when that fails.
bool trace_init(struct trace *t, bool lines, const char *path, uint64_t epoch_us);
void trace_fini(struct trace *t);
// A frame that `from` sent, and what the link did with it ("" when it just carries it).
void trace_packet(struct trace *t, uint64_t now_us, enum side from, const char *what,
                  const struct packet *p);
// Records p in the pcap.
void trace_capture(struct trace *t, uint64_t now_us, const struct packet *p);
void trace_line(struct trace *t, uint64_t now_us, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
