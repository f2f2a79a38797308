// SPDX-License-Identifier: BSD-3-Clause
// What a worker gives up before its first guest byte, in three steps, in this order: sandbox_fork,
// sandbox_give_up, sandbox_filter. docs/security.md says what is left to it. A step that the kernel
// forbids fails; none is left out silently.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// As fork(2), into user, mount, pid, ipc, uts and network namespaces of the child's own, where it
// has pid 1. 0 in the child; in the parent its pid, or -errno with err filled and no child. For a
// process with one thread.
pid_t sandbox_fork(struct error *err);
// The same, but that the child is the caller's sibling: its parent waits for it. 0, and *pid 0 in
// the child; or -errno with err. On failure too *pid and *pidfd may be those of a child, which has
// done nothing and ends by itself; else they are below 0.
int sandbox_fork_sibling(pid_t *pid, int *pidfd, struct error *err);
// In that child, with all descriptors closed that it is not to have: an empty read-only root, no
// capabilities, no process, core dump or message queue of its own. 0 or -errno with err filled.
int sandbox_give_up(struct error *err);
// After PR_SET_NO_NEW_PRIVS: from here on a system call that a worker does not need kills the
// process by SIGSYS. 0 or -errno with err filled.
int sandbox_filter(struct error *err);

// The same for who makes workers and, if opens_queue, opens a tap or packet link anew; it leaves to
// a worker what sandbox_filter does.
int sandbox_starter_filter(bool opens_queue, struct error *err);

#define CAP(number) (UINT64_C(1) << (number))
// Of the capabilities we have those remain, permitted and effective alone. 0 or -errno with err.
int sandbox_keep_capabilities(uint64_t keep, struct error *err);

// For tests: names of the rules of the filter; NULL past the last. All rules but number `without`
// are loaded by sandbox_filter_without.
const char *sandbox_rule_name(size_t index);
int sandbox_filter_without(size_t without, struct error *err);
// The same of the rules that the starter has beyond the worker's.
const char *sandbox_starter_rule_name(size_t index);
int sandbox_starter_filter_without(size_t without, bool opens_queue, struct error *err);
