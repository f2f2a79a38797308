// SPDX-License-Identifier: BSD-3-Clause
// Shared mappings whose file another process may shorten under us: the access then raises SIGBUS,
// which is survived here. The range is replaced by zero pages and marked lost; whoever owns the
// mapping looks at the mark after it has worked with it, and gives it up.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Starts to guard a mapping (page-aligned). A slot number, or -1 when all slots are taken or the
// handler cannot be installed. The process-wide SIGBUS handler is installed by the first call;
// a SIGBUS of any other address goes to the handler that was there before.
int guard_add(void *start, size_t len);
// Before the mapping is undone. -1 is harmless.
void guard_remove(int slot);
// Bytes of the mapping are not the file's any more, for good.
bool guard_is_lost(int slot);
