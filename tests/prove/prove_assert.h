// SPDX-License-Identifier: BSD-3-Clause
// For proofs, in place of the C library's: ours are kept in release builds, so behind one the
// condition holds, and where it does not the program has ended. What is asserted at compile time is
// left to the compiler: Eva cannot read it.
#pragma once

#include <stdlib.h>

#define assert(condition) ((condition) ? (void)0 : abort())
#define static_assert(condition, text) struct checked_by_the_compiler
