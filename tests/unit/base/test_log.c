// SPDX-License-Identifier: BSD-3-Clause
// The log: levels, sinks, one event one line, token buckets, escapes.
#include "test.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct captured {
    enum log_level level;
    char line[2048];
    int count;
};

static void
capture(void *ctx, enum log_level level, const char *line)
{
    struct captured *c = ctx;

    c->level = level;
    c->count++;
    assert_true(strlen(line) < sizeof(c->line));
    strcpy(c->line, line);
    errno = EBADF; // a sink's errno must not get out
}

TEST(a_line_reaches_the_sink_and_errno_stays)
{
    struct captured c = {0};
    log_set_sink(capture, &c);
    errno = EAGAIN;
    log_warn("vm1: channel %d: refused", 600);
    int after = errno;
    log_set_sink(NULL, NULL);
    assert_int_equal(after, EAGAIN);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.level, LOG_WARN);
    assert_string_equal(c.line, "vm1: channel 600: refused");
}

static int evaluated;

static int
evaluate(void)
{
    return ++evaluated;
}

TEST(lines_above_the_level_cost_nothing)
{
    struct captured c = {0};
    log_set_sink(capture, &c);
    evaluated = 0;
    log_debug("%d", evaluate());
    log_set_level(LOG_TRACE);
    log_debug("%d", evaluate());
    assert_true(log_enabled(LOG_TRACE));
    log_set_level(LOG_ERROR);
    log_warn("%d", evaluate());
    assert_true(log_enabled(LOG_ERROR));
    assert_false(log_enabled(LOG_WARN));
    log_set_level(LOG_INFO);
    log_set_sink(NULL, NULL);
    assert_int_equal(evaluated, 1);
    assert_string_equal(c.line, "1");
    assert_int_equal(c.count, 1);
}

TEST(a_line_stays_one_line)
{
    struct captured c = {0};
    log_set_sink(capture, &c);
    log_info("path /a\nvmchannel: forged\033[2J\x7f end");
    log_set_sink(NULL, NULL);
    assert_string_equal(c.line, "path /a?vmchannel: forged?[2J? end");
}

TEST(a_long_line_is_cut)
{
    static char text[5000];
    struct captured c = {0};

    memset(text, 'x', sizeof(text) - 1);
    log_set_sink(capture, &c);
    log_info("%s", text);
    log_set_sink(NULL, NULL);
    assert_int_equal(strlen(c.line), 1023);
}

TEST(stderr_gets_the_program_name_in_front)
{
    int pipe_fds[2];
    char out[200] = "";
    int saved = dup(STDERR_FILENO);

    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_error("vm1: link lost");
    dup2(saved, STDERR_FILENO);
    ssize_t n = read(pipe_fds[0], out, sizeof(out) - 1);
    close(saved);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    assert_int_equal(n, strlen("vmchannel: vm1: link lost\n"));
    assert_string_equal(out, "vmchannel: vm1: link lost\n");
}

TEST(a_bucket_gives_its_burst_then_one_per_interval)
{
    struct log_limit limit = {.burst = 3, .interval_us = 1000};
    uint64_t now_us = 5000000;
    uint32_t left_out;

    for (int i = 0; i < 3; i++) {
        assert_true(log_limit_pass(&limit, now_us, &left_out));
        assert_int_equal(left_out, 0);
    }
    for (int i = 0; i < 7; i++)
        assert_false(log_limit_pass(&limit, now_us + 999, &left_out));
    assert_true(log_limit_pass(&limit, now_us + 1000, &left_out));
    assert_int_equal(left_out, 7);
    assert_false(log_limit_pass(&limit, now_us + 1999, &left_out));
    assert_true(log_limit_pass(&limit, now_us + 2000, &left_out));
    assert_int_equal(left_out, 1);
}

TEST(a_bucket_never_holds_more_than_its_burst)
{
    struct log_limit limit = {.burst = 2, .interval_us = 1000};
    uint32_t left_out;
    int passed = 0;

    assert_true(log_limit_pass(&limit, 1, &left_out));
    for (int i = 0; i < 100; i++)
        passed += log_limit_pass(&limit, UINT64_MAX / 2, &left_out);
    assert_int_equal(passed, 2);
}

TEST(a_bucket_works_at_time_zero_and_survives_time_running_back)
{
    struct log_limit limit = {.burst = 1, .interval_us = 1000};
    uint32_t left_out;

    assert_true(log_limit_pass(&limit, 0, &left_out));
    assert_false(log_limit_pass(&limit, 0, &left_out));
    assert_true(log_limit_pass(&limit, 5000, &left_out));
    assert_false(log_limit_pass(&limit, 10, &left_out));
    assert_true(log_limit_pass(&limit, 6000, &left_out));
    assert_int_equal(left_out, 1);
}

TEST(a_bucket_without_burst_passes_nothing)
{
    struct log_limit limit = {.burst = 0, .interval_us = 1000};
    uint32_t left_out;

    for (uint64_t now_us = 0; now_us < 100000; now_us += 500)
        assert_false(log_limit_pass(&limit, now_us, &left_out));
    assert_int_equal(limit.suppressed, 200);
}

TEST(escaping_leaves_printable_ascii)
{
    char out[100];
    assert_string_equal(log_escape(out, sizeof(out), "a b~", 4), "a b~");
    assert_string_equal(log_escape(out, sizeof(out), "\0\n\033\x7f\xff\\", 6),
                        "\\x00\\x0a\\x1b\\x7f\\xff\\x5c");
    assert_string_equal(log_escape(out, sizeof(out), NULL, 0), "");
}

TEST(escaping_cuts_at_whole_characters)
{
    char out[10];
    for (size_t size = 1; size <= sizeof(out); size++) {
        memset(out, '#', sizeof(out));
        log_escape(out, size, "ab\ncd", 5);
        assert_true(strlen(out) < size);
        size_t expect = size - 1 < 2 ? size - 1 : size - 1 < 6 ? 2 : size - 1 < 8 ? size - 1 : 8;
        assert_int_equal(strlen(out), expect);
        if (size < sizeof(out))
            assert_int_equal(out[size], '#');
    }
    assert_string_equal(out, "ab\\x0acd");
}
