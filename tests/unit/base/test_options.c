// SPDX-License-Identifier: BSD-3-Clause
// Option strings as QEMU's users write them, and the errors for what is not well-formed.
#include "test.h"

#include "base/options.h"

#include <errno.h>
#include <stdio.h>

static struct options opts;
static struct option opt;
static struct error err;

static void
expect_next(const char *key, const char *value, bool bare)
{
    assert_int_equal(options_next(&opts, &opt, &err), 1);
    assert_string_equal(opt.key, key);
    assert_string_equal(opt.value, value);
    assert_int_equal(opt.bare, bare);
}

static void
expect_end(void)
{
    assert_int_equal(options_next(&opts, &opt, &err), 0);
    assert_int_equal(options_next(&opts, &opt, &err), 0);
}

TEST(the_line_of_2009)
{
    opts = options_of("/some/path,server,nowait");
    expect_next("", "/some/path", true);
    expect_next("server", "on", true);
    expect_next("nowait", "on", true);
    assert_true(option_is(&opt, "wait"));
    assert_string_equal(opt.key, "wait");
    assert_string_equal(opt.value, "off");
    expect_end();
}

TEST(long_forms)
{
    opts = options_of("path=/some/path,server=on,reconnect=3,name=");
    expect_next("path", "/some/path", false);
    expect_next("server", "on", false);
    expect_next("reconnect", "3", false);
    expect_next("name", "", false);
    expect_end();
}

TEST(two_commas_are_one)
{
    opts = options_of("/a,,b,name=x,,,,y,,,server");
    expect_next("", "/a,b", true);
    expect_next("name", "x,,y,", false);
    expect_next("server", "on", true);
    expect_end();
}

TEST(commas_at_either_end)
{
    opts = options_of(",,a,,");
    expect_next("", ",a,", true);
    expect_end();
    opts = options_of(",server");
    expect_next("", "", true);
    expect_next("server", "on", true);
    expect_end();
}

TEST(nothing_is_no_option)
{
    opts = options_of("");
    expect_end();
    opts = options_of(NULL);
    expect_end();
}

TEST(a_first_piece_with_an_equals_sign_in_a_path_is_a_path)
{
    opts = options_of("/run/a=b,x=/c=d");
    expect_next("", "/run/a=b", true);
    expect_next("x", "/c=d", false);
    expect_end();
    opts = options_of("a,,b=c");
    expect_next("", "a,b=c", true);
    expect_end();
}

TEST(a_first_piece_can_be_taken_whole)
{
    opts = options_of("a=b,,c,server");
    assert_int_equal(options_first(&opts, &opt, &err), 1);
    assert_string_equal(opt.key, "");
    assert_string_equal(opt.value, "a=b,c");
    expect_next("server", "on", true);
    expect_end();
    opts = options_of("");
    assert_int_equal(options_first(&opts, &opt, &err), 1);
    assert_string_equal(opt.value, "");
    expect_end();
    opts = options_of("a,");
    assert_int_equal(options_first(&opts, &opt, &err), -EINVAL);
    assert_string_equal(err.text, "nothing follows the last comma: 'a,'");
}

static void
expect_error(const char *text, int pieces_before, const char *message)
{
    opts = options_of(text);
    for (int i = 0; i < pieces_before; i++)
        assert_int_equal(options_next(&opts, &opt, &err), 1);
    assert_int_equal(options_next(&opts, &opt, &err), -EINVAL);
    assert_string_equal(err.text, message);
    assert_int_equal(options_next(&opts, &opt, NULL), -EINVAL);
}

TEST(what_is_not_well_formed_is_named)
{
    expect_error("a,", 0, "nothing follows the last comma: 'a,'");
    expect_error("a,b=c,", 1, "nothing follows the last comma: 'b=c,'");
    expect_error("=x", 0, "option without a name: '=x'");
    expect_error("a,=x", 1, "option without a name: '=x'");
    expect_error("a,abcdefghijklmnopqrstuvwxyzabcdef=x", 1,
                 "unknown option 'abcdefghijklmnopqrstuvwxyzabcdef'");
    expect_error("a,abcdefghijklmnopqrstuvwxyzabcdef", 1,
                 "unknown option 'abcdefghijklmnopqrstuvwxyzabcdef'");
}

TEST(a_value_of_1023_bytes_fits_and_one_of_1024_does_not)
{
    char text[1100];

    memset(text, 'x', sizeof(text));
    text[1023] = '\0';
    opts = options_of(text);
    expect_next("", text, true);
    expect_end();
    text[1023] = 'x';
    text[1024] = '\0';
    opts = options_of(text);
    assert_int_equal(options_next(&opts, &opt, &err), -EINVAL);
    assert_non_null(strstr(err.text, "longer than 1023 bytes"));
    memcpy(text, "name=", 5);
    memset(text + 5, ',', 2 * 255); // 255 commas
    text[5 + 2 * 255] = '\0';
    opts = options_of(text);
    assert_int_equal(options_next(&opts, &opt, &err), 1);
    assert_int_equal(strlen(opt.value), 255);
}

TEST(option_is_takes_key_and_bare_nokey_only)
{
    opts = options_of("x,wait,nowait,nowait=on,nodelay,now");
    expect_next("", "x", true);
    assert_true(option_is(&opt, ""));
    assert_false(option_is(&opt, "x"));
    expect_next("wait", "on", true);
    assert_true(option_is(&opt, "wait"));
    assert_false(option_is(&opt, "server"));
    expect_next("nowait", "on", true);
    assert_false(option_is(&opt, "delay"));
    assert_true(option_is(&opt, "wait"));
    expect_next("nowait", "on", false);
    assert_false(option_is(&opt, "wait"));
    expect_next("nodelay", "on", true);
    assert_true(option_is(&opt, "nodelay"));
    assert_string_equal(opt.value, "on");
    expect_next("now", "on", true);
    assert_false(option_is(&opt, "wait"));
}

TEST(booleans)
{
    static const char *const yes[] = {"on", "yes", "true", "y"}, *const no[] = {"off", "no",
                                                                                "false", "n"};
    bool value;

    for (int i = 0; i < 4; i++) {
        opt = (struct option){.key = "wait"};
        strcpy(opt.value, yes[i]);
        assert_int_equal(option_bool(&opt, &value, &err), 0);
        assert_true(value);
        strcpy(opt.value, no[i]);
        assert_int_equal(option_bool(&opt, &value, &err), 0);
        assert_false(value);
    }
    strcpy(opt.value, "maybe");
    assert_int_equal(option_bool(&opt, &value, &err), -EINVAL);
    assert_string_equal(err.text, "option wait: 'maybe' is not on or off");
}

TEST(numbers)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1s",
                                      "10",
                                      "4294967296",
                                      "18446744073709551617",
                                      "99999999999999999999999999999999"};
    uint32_t value = 7;

    opt = (struct option){.key = "reconnect", .value = "09"};
    assert_int_equal(option_uint(&opt, 1, 9, &value, &err), 0);
    assert_int_equal(value, 9);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        strcpy(opt.value, bad[i]);
        assert_int_equal(option_uint(&opt, 1, 9, &value, &err), -EINVAL);
    }
    assert_string_equal(err.text, "option reconnect: '99999999999999999999999999999999' is not a "
                                  "number from 1 to 9");
    strcpy(opt.value, "0");
    assert_int_equal(option_uint(&opt, 1, 9, &value, &err), -EINVAL);
    strcpy(opt.value, "4294967295");
    assert_int_equal(option_uint(&opt, 0, UINT32_MAX, &value, &err), 0);
    assert_int_equal(value, UINT32_MAX);
    opts = options_of("x,max");
    options_next(&opts, &opt, &err);
    options_next(&opts, &opt, &err);
    assert_int_equal(option_uint(&opt, 1, 9, &value, &err), -EINVAL);
    assert_string_equal(err.text, "option max: '' is not a number from 1 to 9");
}

TEST(strings)
{
    char out[4];

    opt = (struct option){.key = "name", .value = "abc"};
    assert_int_equal(option_string(&opt, out, sizeof(out), &err), 0);
    assert_string_equal(out, "abc");
    strcpy(opt.value, "abcd");
    assert_int_equal(option_string(&opt, out, sizeof(out), &err), -EINVAL);
    assert_string_equal(err.text, "option name: 'abcd' is longer than 3 bytes");
    assert_string_equal(out, "abc");
    opt = (struct option){.key = "name", .value = "on", .bare = true};
    assert_int_equal(option_string(&opt, out, sizeof(out), &err), -EINVAL);
    assert_string_equal(err.text, "option name: needs a value");
    opt = (struct option){.key = "", .value = "x", .bare = true};
    assert_int_equal(option_string(&opt, out, sizeof(out), &err), 0);
}

TEST(an_unknown_option_is_told_what_is_accepted)
{
    opt = (struct option){.key = "wiat", .value = "on", .bare = true};
    assert_int_equal(option_unknown(&opt, "unix", "server, wait", &err), -EINVAL);
    assert_string_equal(err.text, "unix: unknown option 'wiat' (accepted: server, wait)");
}
