// SPDX-License-Identifier: BSD-3-Clause
// The growing buffer: what was added is there, with a zero byte behind it.
#include "test.h"

#include "base/buffer.h"

TEST(pieces_stand_behind_each_other)
{
    struct buffer b = {0};
    buffer_add_text(&b, "port ");
    buffer_printf(&b, "%d%s", 600, ":");
    buffer_add(&b, "a\0b", 3);
    assert_int_equal(b.len, 12);
    assert_memory_equal(b.data, "port 600:a\0b", 13);
    assert_false(b.failed);
    buffer_fini(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
}

TEST(grows_over_many_sizes)
{
    struct buffer b = {0};
    for (int i = 0; i < 100000; i++)
        buffer_printf(&b, "%05d", i);
    assert_int_equal(b.len, 500000);
    assert_memory_equal(b.data + 499995, "99999", 6);
    buffer_fini(&b);
}

TEST(a_failure_stays)
{
    struct buffer b = {0};
    buffer_add_text(&b, "kept");
    buffer_add(&b, "", SIZE_MAX / 2);
    assert_true(b.failed);
    buffer_add_text(&b, "lost");
    assert_string_equal(b.data, "kept");
    buffer_fini(&b);
}

TEST(nothing_added_is_a_string_too)
{
    struct buffer b = {0};
    buffer_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buffer_fini(&b);
}
