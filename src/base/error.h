// SPDX-License-Identifier: BSD-3-Clause
// One error message, written by the lowest function that knows the name or path, logged or printed
// once by whoever gives up. No allocation, no ownership.
#pragma once

struct error {
    char text[512]; // "what: why", lower case, no final dot
};

// Writes the formatted message into err->text; a non-zero errnum (positive errno) appends
// ": strerror(errnum)". err may be NULL. Returns -errnum, or -EINVAL when errnum is 0.
int error_set(struct error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "prefix: " before the message already in err. err may be NULL.
void error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
