// SPDX-License-Identifier: BSD-3-Clause
// Lets one call of the C library after the other fail in what a test does, each with the errors it
// can have (tests/fault/wrap.c). A test that uses this is linked with `faults` and fault_args
// (meson.build).
#pragma once

#include "base/error.h"

#include <stdbool.h>

#define FAULTS_FIRST 1 // of each call only what it can fail with first
#define FAULTS_ALL   9

enum faults_end {
    FAULTS_WENT_WELL = 0,
    FAULTS_FAILED, // as it should: with a reason
    FAULTS_WRONG,  // anything else
};

struct faults {
    // What is tried, in a process of its own for each fault. It leaves no descriptor behind.
    enum faults_end (*work)(void *ctx);
    // After each, in the test's own process: asserts what is left. May be NULL.
    void (*check)(void *ctx, const char *failed_call);
    void *ctx;
    int errors;       // of each call: FAULTS_FIRST or FAULTS_ALL
    unsigned nth_max; // of one call; 0: all there are
    bool locked_up;   // work gives up system calls: its descriptors cannot be counted
};

// Runs f->work without a fault, which must go well, then once for each fault there is. Fails the
// test when one of them ends otherwise than it may, and says which. Returns how many there were.
unsigned faults_try_all(const struct faults *f);
// FAULTS_FAILED if err says why, else FAULTS_WRONG.
enum faults_end faults_failed(const struct error *err);
