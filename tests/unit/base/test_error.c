// SPDX-License-Identifier: BSD-3-Clause
// Error messages: composition, prefixes, and where they are cut.
#include "test.h"

#include "base/error.h"

#include <errno.h>

TEST(an_errno_is_appended_and_returned_negative)
{
    struct error err;
    assert_int_equal(error_set(&err, ENOENT, "%s: cannot open", "/some/path"), -ENOENT);
    assert_string_equal(err.text, "/some/path: cannot open: No such file or directory");
}

TEST(without_an_errno_it_is_einval)
{
    struct error err;
    assert_int_equal(error_set(&err, 0, "port %d: out of range", 65536), -EINVAL);
    assert_string_equal(err.text, "port 65536: out of range");
}

TEST(nobody_listening_is_fine)
{
    assert_int_equal(error_set(NULL, EACCES, "x"), -EACCES);
    error_prefix(NULL, "x");
}

TEST(a_prefix_goes_in_front)
{
    struct error err;
    error_set(&err, 0, "unknown option 'x'");
    error_prefix(&err, "channel %d", 600);
    assert_string_equal(err.text, "channel 600: unknown option 'x'");
}

TEST(a_message_may_quote_the_one_it_replaces)
{
    struct error err;
    error_set(&err, 0, "inner");
    error_set(&err, EPERM, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner): Operation not permitted");
    error_prefix(&err, "%.5s", err.text);
    assert_string_equal(err.text, "outer: outer (inner): Operation not permitted");
}

TEST(long_messages_are_cut_and_terminated)
{
    char text[2 * sizeof(struct error)];
    struct error err;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (size_t len = 500; len < 515; len++) {
        error_set(&err, ENOENT, "%.*s", (int)len, text);
        assert_true(strlen(err.text) < sizeof(err.text));
        assert_memory_equal(err.text, text, len < 511 ? len : 511);
        error_prefix(&err, "%.*s", (int)len, text);
        assert_true(strlen(err.text) < sizeof(err.text));
    }
}
