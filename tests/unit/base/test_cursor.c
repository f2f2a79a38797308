// SPDX-License-Identifier: BSD-3-Clause
// Reading and writing at and past every end.
#include "test.h"

#include "base/cursor.h"

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

TEST(values_are_big_endian)
{
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    uint8_t rest[4];

    assert_int_equal(cursor_u8(&c), 0x01);
    assert_int_equal(cursor_u16(&c), 0x0203);
    assert_int_equal(cursor_u32(&c), 0x04050607);
    cursor_bytes(&c, rest, sizeof(rest));
    assert_memory_equal(rest, bytes + 7, 4);
    assert_int_equal(c.left, 0);
    assert_false(c.failed);
}

TEST(high_bits_do_not_smear)
{
    static const uint8_t ff[] = {0xff, 0xfe, 0xfd, 0xfc, 0xff, 0xfe};
    struct cursor c = cursor_of(ff, sizeof(ff));
    assert_int_equal(cursor_u32(&c), 0xfffefdfc);
    assert_int_equal(cursor_u16(&c), 0xfffe);
}

TEST(a_read_past_the_end_gives_zero_and_fails_for_good)
{
    struct cursor c = cursor_of(bytes, 3);
    uint8_t out[4] = {9, 9, 9, 9};

    assert_int_equal(cursor_u32(&c), 0);
    assert_true(c.failed);
    // Three bytes were there, but a parser must not get half of what it asked for.
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_u16(&c), 0);
    cursor_bytes(&c, out, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(out[i], 0);
    assert_true(c.failed);
    assert_int_equal(c.left, 0);
}

TEST(every_length_that_is_too_short_fails)
{
    for (size_t len = 0; len < 4; len++) {
        struct cursor c = cursor_of(bytes, len);
        cursor_u32(&c);
        assert_true(c.failed);
        c = cursor_of(bytes, len);
        cursor_skip(&c, len + 1);
        assert_true(c.failed);
        c = cursor_of(bytes, len);
        cursor_skip(&c, len);
        assert_false(c.failed);
        c = cursor_of(bytes, len);
        cursor_skip(&c, SIZE_MAX);
        assert_true(c.failed);
    }
}

TEST(taking_splits_off_a_cursor)
{
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    cursor_skip(&c, 1);
    struct cursor part = cursor_take(&c, 2);

    assert_int_equal(cursor_u16(&part), 0x0203);
    assert_int_equal(cursor_u8(&part), 0);
    assert_true(part.failed);
    assert_false(c.failed);
    assert_int_equal(cursor_u8(&c), 4);
    assert_int_equal(c.left, 7);
}

TEST(taking_too_much_fails_both)
{
    struct cursor c = cursor_of(bytes, 4);
    struct cursor part = cursor_take(&c, 5);

    assert_true(part.failed);
    assert_int_equal(part.left, 0);
    assert_true(c.failed);
    part = cursor_take(&c, 0);
    assert_true(part.failed);
}

TEST(nothing_at_all_is_fine)
{
    struct cursor c = cursor_of(NULL, 0);
    uint8_t byte = 7;

    cursor_bytes(&c, &byte, 0);
    cursor_skip(&c, 0);
    struct cursor part = cursor_take(&c, 0);
    assert_false(c.failed);
    assert_false(part.failed);
    assert_int_equal(byte, 7);
    assert_int_equal(cursor_u8(&c), 0);
    assert_true(c.failed);
}

TEST(writing_mirrors_reading)
{
    uint8_t out[14];
    memset(out, 0xee, sizeof(out));
    struct writer w = writer_of(out, sizeof(out));

    writer_u8(&w, 1);
    writer_u16(&w, 0x0203);
    writer_u32(&w, 0x04050607);
    writer_bytes(&w, bytes + 7, 4);
    assert_int_equal(writer_len(&w), 11);
    assert_memory_equal(out, bytes, 11);
    writer_zero(&w, 2);
    assert_false(w.failed);
    assert_int_equal(out[12], 0);
    assert_int_equal(out[13], 0xee);
    assert_int_equal(writer_len(&w), 13);
}

TEST(a_write_that_does_not_fit_writes_nothing_more)
{
    uint8_t out[8];
    memset(out, 0xee, sizeof(out));
    struct writer w = writer_of(out, 3);

    writer_u8(&w, 1);
    writer_u32(&w, 0x02030405);
    assert_true(w.failed);
    writer_u8(&w, 2);
    writer_u16(&w, 2);
    writer_bytes(&w, bytes, 1);
    writer_zero(&w, 1);
    assert_int_equal(writer_len(&w), 1);
    for (size_t i = 1; i < sizeof(out); i++)
        assert_int_equal(out[i], 0xee);
}
