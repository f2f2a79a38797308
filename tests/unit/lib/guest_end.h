// SPDX-License-Identifier: BSD-3-Clause
// A guest for tests: a second stack on a loop of its own, behind a stream link.
#pragma once

#include "link/link.h"
#include "stack/stack.h"

#define GUEST_END_CONNS 64

struct guest_conn {
    bool established, closed, eof;
    enum stack_close_reason reason;
    uint8_t data[4096];
    size_t len; // received, at most what data holds
};

struct guest_end {
    struct loop *loop;
    struct link *link; // NULL while there is none
    struct stack *stack;
    int timer;
    bool link_down; // the other side closed it
    struct guest_conn conns[GUEST_END_CONNS];
};

void guest_end_init(struct guest_end *g, int link_fd); // takes link_fd over
void guest_end_fini(struct guest_end *g);
void guest_end_attach(struct guest_end *g, int link_fd); // the next link
void guest_end_detach(struct guest_end *g);

uint32_t guest_end_connect(struct guest_end *g, uint16_t port);
void guest_end_send(struct guest_end *g, uint32_t conn, const char *text);
// Each turns the loop until it is so, or fails the test after 5 s.
void guest_end_until(struct guest_end *g, const bool *flag);
void guest_end_until_received(struct guest_end *g, uint32_t conn, const char *text);
void guest_end_turns(struct guest_end *g, int ms); // a while
