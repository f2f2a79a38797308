// SPDX-License-Identifier: BSD-3-Clause
// Counts allocations made while our stack runs: there must be none after stack_new. The linker
// wraps malloc and its kin for this executable (see meson.build).
#pragma once

#include <stdbool.h>

// Between enter and leave allocations count. Callbacks into the simulation suspend it. Both return
// what was before, to be handed to guard_set.
bool guard_set(bool inside);
unsigned long guard_count(void);
