// SPDX-License-Identifier: BSD-3-Clause
// Formatting of error messages. Who prints them, and when, is left to the caller that gives up.
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Gives how much of it there is. For a copy, so that a message may quote the one it replaces.
static size_t
format(struct error *text, const char *fmt, va_list args)
{
    if (vsnprintf(text->text, sizeof(text->text), fmt, args) < 0)
        text->text[0] = '\0';
    return strlen(text->text);
}

int
error_set(struct error *err, int errnum, const char *fmt, ...)
{
    int ret = errnum == 0 ? -EINVAL : -errnum;
    if (err == NULL)
        return ret;

    struct error text;
    va_list args;
    va_start(args, fmt);
    size_t used = format(&text, fmt, args);
    va_end(args);
    if (errnum != 0) {
        char why[128];
        snprintf(text.text + used, sizeof(text.text) - used, ": %s",
                 strerror_r(errnum, why, sizeof(why)));
    }
    *err = text;
    return ret;
}

void
error_prefix(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return;

    struct error text;
    va_list args;
    va_start(args, fmt);
    size_t used = format(&text, fmt, args);
    va_end(args);
    int room = (int)(sizeof(text.text) - used);
    snprintf(text.text + used, (size_t)room, ": %.*s", room, err->text); // cut where it ends
    *err = text;
}
