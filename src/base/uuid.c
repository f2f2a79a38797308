// SPDX-License-Identifier: BSD-3-Clause
#include "base/uuid.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define WHITE_SPACE " \t\r\n"

bool
uuid_parse(const char *text, char out[UUID_LEN + 1])
{
    size_t digits = 0, used = 0;
    text += strspn(text, WHITE_SPACE);
    for (; isxdigit((unsigned char)*text) || *text == '-'; text++) {
        if (*text == '-')
            continue;
        if (digits == 32)
            return false;
        if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
            out[used++] = '-';
        out[used++] = (char)tolower((unsigned char)*text);
        digits++;
    }
    out[used] = '\0';
    return digits == 32 && text[strspn(text, WHITE_SPACE)] == '\0';
}
