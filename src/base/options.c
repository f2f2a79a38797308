// SPDX-License-Identifier: BSD-3-Clause
// The option tokenizer. Which keys exist and what their values mean is the caller's.
#include "base/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct options
options_of(const char *text)
{
    return (struct options){.rest = text != NULL && text[0] != '\0' ? text : NULL, .first = true};
}

static bool
is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

// The "=" that ends the key of a piece; NULL when it has none.
static const char *
find_equals(const char *piece, bool first)
{
    size_t len = strcspn(piece, ",=");
    if (piece[len] != '=')
        return NULL;
    for (size_t i = 0; first && i < len; i++) {
        if (!is_key_char(piece[i]))
            return NULL;
    }
    return piece + len;
}

// Copies up to the next single comma. Returns where reading stopped, NULL when out is too small.
static const char *
unescape(const char *text, char *out, size_t out_size)
{
    size_t used = 0;

    for (; *text != '\0'; text++) {
        if (text[0] == ',') {
            if (text[1] != ',')
                break;
            text++; // of two commas the second counts
        }
        if (used + 1 >= out_size)
            return NULL;
        out[used++] = *text;
    }
    out[used] = '\0';
    return text;
}

static int
set_key(struct option *opt, const char *key, size_t len, struct error *err)
{
    if (len == 0)
        return error_set(err, 0, "option without a name: '=%.64s'", opt->value);
    if (len >= sizeof(opt->key))
        return error_set(err, 0, "unknown option '%.*s'", (int)(len < 64 ? len : 64), key);
    memcpy(opt->key, key, len);
    return 0;
}

// Reads the value at `text`, of the piece that begins at `piece`, into out->value. *end is then the
// comma behind it, or the end of the text.
static int
read_value(const char *piece, const char *text, struct option *out, const char **end,
           struct error *err)
{
    *end = unescape(text, out->value, sizeof(out->value));
    if (*end == NULL)
        return error_set(err, 0, "option longer than %zu bytes: '%.64s...'", sizeof(out->value) - 1,
                         piece);
    if ((*end)[0] == ',' && (*end)[1] == '\0')
        return error_set(err, 0, "nothing follows the last comma: '%.64s'", piece);
    return 0;
}

int
options_first(struct options *o, struct option *out, struct error *err)
{
    const char *end;
    *out = (struct option){.bare = true};
    if (o->rest == NULL)
        return 1;
    int ret = read_value(o->rest, o->rest, out, &end, err);
    if (ret < 0)
        return ret;
    o->rest = end[0] == ',' ? end + 1 : NULL;
    o->first = false;
    return 1;
}

int
options_next(struct options *o, struct option *out, struct error *err)
{
    if (o->rest == NULL)
        return 0;

    bool first = o->first;
    const char *piece = o->rest;
    const char *equals = find_equals(piece, first);
    const char *end;
    *out = (struct option){.bare = equals == NULL};
    int ret = read_value(piece, equals == NULL ? piece : equals + 1, out, &end, err);
    if (ret < 0)
        return ret;
    if (equals != NULL) {
        ret = set_key(out, piece, (size_t)(equals - piece), err);
    } else if (!first) {
        ret = set_key(out, out->value, strlen(out->value), err);
        snprintf(out->value, sizeof(out->value), "on");
    }
    if (ret < 0)
        return ret;
    o->rest = end[0] == ',' ? end + 1 : NULL;
    o->first = false;
    return 1;
}

bool
option_is(struct option *opt, const char *key)
{
    if (strcmp(opt->key, key) == 0)
        return true;
    if (!opt->bare || strncmp(opt->key, "no", 2) != 0 || strcmp(opt->key + 2, key) != 0)
        return false;
    snprintf(opt->key, sizeof(opt->key), "%s", key);
    snprintf(opt->value, sizeof(opt->value), "off");
    return true;
}

static bool
is_one_of(const char *value, const char *const words[4])
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(value, words[i]) == 0)
            return true;
    }
    return false;
}

int
option_bool(const struct option *opt, bool *out, struct error *err)
{
    // QEMU takes the other words too.
    static const char *const yes[4] = {"on", "yes", "true", "y"};
    static const char *const no[4] = {"off", "no", "false", "n"};

    bool value = is_one_of(opt->value, yes);
    if (!value && !is_one_of(opt->value, no))
        return error_set(err, 0, "option %s: '%.64s' is not on or off", opt->key, opt->value);
    *out = value;
    return 0;
}

int
option_uint(const struct option *opt, uint32_t min, uint32_t max, uint32_t *out, struct error *err)
{
    uint64_t value = 0;
    size_t digits = strspn(opt->value, "0123456789");
    bool ok = digits > 0 && opt->value[digits] == '\0';

    for (size_t i = 0; ok && i < digits; i++) {
        value = value * 10 + (uint64_t)(opt->value[i] - '0');
        ok = value <= max;
    }
    if (!ok || value < min)
        return error_set(err, 0, "option %s: '%.64s' is not a number from %u to %u", opt->key,
                         opt->bare ? "" : opt->value, min, max);
    *out = (uint32_t)value;
    return 0;
}

// How far the letter of a size shifts it to the left; -1: none that is known.
static int
size_shift(const char *suffix)
{
    static const char letters[] = "kmg";
    if (suffix[0] == '\0')
        return 0;
    const char *at = strchr(letters, suffix[0] | 0x20);
    return at && suffix[1] == '\0' ? 10 * (int)(at - letters + 1) : -1;
}

int
option_size(const struct option *opt, uint64_t min, uint64_t max, uint64_t *out, struct error *err)
{
    char least[OPTION_SIZE_TEXT], most[OPTION_SIZE_TEXT];
    uint64_t value = 0;
    size_t digits = strspn(opt->value, "0123456789");
    int shift = size_shift(opt->value + digits);
    bool ok = digits > 0 && shift >= 0;

    for (size_t i = 0; ok && i < digits; i++) {
        uint64_t digit = (uint64_t)(opt->value[i] - '0');
        ok = value <= (max - digit) / 10 && max >= digit;
        value = value * 10 + digit;
    }
    ok = ok && value <= max >> shift && value << shift >= min;
    if (!ok)
        return error_set(err, 0,
                         "option %s: '%.64s' is not a number of bytes from %s to %s "
                         "(accepted: digits, and k, M or G behind them for 1024, 1024^2 or 1024^3)",
                         opt->key, opt->bare ? "" : opt->value, option_size_text(min, least),
                         option_size_text(max, most));
    *out = value << shift;
    return 0;
}

const char *
option_size_text(uint64_t bytes, char out[OPTION_SIZE_TEXT])
{
    static const char *const letters[] = {"", "k", "M", "G"};
    int i = 0;
    for (; i < 3 && bytes > 0 && bytes % 1024 == 0; i++)
        bytes /= 1024;
    snprintf(out, OPTION_SIZE_TEXT, "%llu%s", (unsigned long long)bytes, letters[i]);
    return out;
}

int
option_string(const struct option *opt, char *out, size_t out_size, struct error *err)
{
    if (opt->bare && opt->key[0] != '\0')
        return error_set(err, 0, "option %s: needs a value", opt->key);
    size_t len = strlen(opt->value);
    if (len >= out_size)
        return error_set(err, 0, "option %s: '%.64s' is longer than %zu bytes", opt->key,
                         opt->value, out_size - 1);
    memcpy(out, opt->value, len + 1);
    return 0;
}

int
option_unknown(const struct option *opt, const char *thing, const char *accepted, struct error *err)
{
    return error_set(err, 0, "%s: unknown option '%.64s' (accepted: %s)", thing,
                     opt->key[0] != '\0' ? opt->key : opt->value, accepted);
}
