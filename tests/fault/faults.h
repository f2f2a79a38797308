// SPDX-License-Identifier: BSD-3-Clause
// What a run under injected faults shares with the test that drives it: one page, mapped from the
// file that VMCHANNEL_FAULTS names, by every process of vmchannel. The layout is known to
// tests/fault/plan.py too.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FAULT_CALLS_MAX 96
#define FAULT_SHORT     10000 // instead of an errno: as much as one byte

enum fault_role {
    FAULT_BROKER, // all processes but workers
    FAULT_WORKER, // pid 1 of a namespace of its own
    FAULT_ROLES,
};

struct fault_page {
    // Written by the test: while `armed`, the nth call (from 1) of that role fails with errnum,
    // and the `more` after it.
    uint32_t armed, role, call, nth, more;
    int32_t errnum;
    // Written by the wrappers.
    uint32_t injected;
    uint32_t calls[FAULT_ROLES][FAULT_CALLS_MAX]; // made while armed or counting
};

// wrap.c, for a test that it is linked into: its calls fail as the page says, and its children's.
void fault_follow(struct fault_page *page);
size_t fault_calls(void);
const char *fault_call_name(size_t call);
// What it can fail with, ended by 0.
const int *fault_call_errnos(size_t call);
