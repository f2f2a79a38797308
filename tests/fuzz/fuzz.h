// SPDX-License-Identifier: BSD-3-Clause
// What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput; it reads its input
// through a cursor (base/cursor.h), whose zeros behind the end make every input a whole program,
// and checks by assert. libFuzzer runs it with what it makes up, replay.c with the corpus.
#pragma once

#include "base/cursor.h"
#include "base/error.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv); // fuzz.c: a quiet log, and no SIGPIPE

// A heap block of exactly that size, so that ASan sees the first byte beyond; free() it.
uint8_t *fuzz_exact(const uint8_t *from, size_t len);
// The rest of the input as a string, the same; at most max characters, cut at a NUL.
char *fuzz_string(struct cursor *c, size_t max);
void fuzz_expect_reason(const struct error *err); // that a refusal gave one
