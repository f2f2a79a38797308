// SPDX-License-Identifier: BSD-3-Clause
// UUIDs as text.
#pragma once

#include <stdbool.h>

#define UUID_LEN 36 // "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"

// Reads one as libvirt does: 32 hexadecimal digits, with dashes anywhere between and white space
// around. out is in lower case, with the usual dashes. False: text is no UUID, and out of no use.
bool uuid_parse(const char *text, char out[UUID_LEN + 1]);
