// SPDX-License-Identifier: BSD-3-Clause
// What libvirt takes for a UUID (virUUIDParse), and what it does not.
#include "test.h"

#include "base/uuid.h"

#define PLAIN "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"

TEST(every_way_to_write_one_reads_the_same)
{
    static const char *const texts[] = {
        PLAIN,
        "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6",
        "f81d4fae7dec11d0a76500a0c91e6bf6",
        "f8-1d4fae7dec11d0a76500a0c91e6bf6-",
        " \n\t" PLAIN "\r ",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        char out[UUID_LEN + 1];
        assert_true(uuid_parse(texts[i], out));
        assert_string_equal(out, PLAIN);
    }
}

TEST(what_is_none_is_refused)
{
    static const char *const texts[] = {
        "",
        "-",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
        PLAIN "6",
        PLAIN " 6",
        PLAIN "g",
        "g81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "f81d4fae 7dec-11d0-a765-00a0c91e6bf6",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        char out[UUID_LEN + 1];
        assert_false(uuid_parse(texts[i], out));
    }
}
