// SPDX-License-Identifier: BSD-3-Clause
// QEMU's option strings: "first,key=value,flag,nokey" with ",," for a literal comma. A tokenizer
// and the error that an unknown option deserves; what options mean is the caller's.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option {
    char key[32];     // "" for the first, bare piece
    char value[1024]; // unescaped; for a bare key: "on", for "noKEY" (known key): "off"
    bool bare;        // written without "="
};

struct options {
    const char *rest; // text not yet read, NULL at the end
    bool first;       // the next piece is the first
};

struct options options_of(const char *text);
// Next piece as an option: 1, 0 at the end, -EINVAL with err (a piece too long, an empty key),
// which stays the answer however often it is asked.
// A first piece without "=" is given as key "" and its text as value; so is one where what stands
// before the "=" cannot be a key (letters, digits, "-", "_", "."), as in "/run/a=b".
int options_next(struct options *o, struct option *out, struct error *err);
// The first piece whole, whatever "=" is in it, as key "": 1 (with an empty value when there is no
// piece), or -EINVAL as above.
int options_first(struct options *o, struct option *out, struct error *err);
// Splits key "nowait"/"wait" style short forms: true if opt is `key`, `key=...` or (bare) `nokey`,
// which is turned into key/"off".
bool option_is(struct option *opt, const char *key);
// Values. 0, or -EINVAL with err: "option KEY: 'VALUE' is not on or off" and the like.
int option_bool(const struct option *opt, bool *out, struct error *err);
int
option_uint(const struct option *opt, uint32_t min, uint32_t max, uint32_t *out, struct error *err);
// A number of bytes, with k, M or G behind it (either case) of 1024, 1024^2 or 1024^3, as QEMU has.
int
option_size(const struct option *opt, uint64_t min, uint64_t max, uint64_t *out, struct error *err);
// The shortest text that option_size() reads as that: "1536", "64k".
#define OPTION_SIZE_TEXT 24
const char *option_size_text(uint64_t bytes, char out[OPTION_SIZE_TEXT]);
int option_string(const struct option *opt, char *out, size_t out_size, struct error *err);
// -EINVAL: "THING: unknown option 'KEY' (accepted: ACCEPTED)".
int option_unknown(const struct option *opt, const char *thing, const char *accepted,
                   struct error *err);
