// SPDX-License-Identifier: BSD-3-Clause
// cmd: a process for each connection, behind a channel on both kinds of link; commands that do not
// behave.
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bench b;
static struct guest_end g, h;

static void
expect_no_children(int within_ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)within_ms * 1000;
    siginfo_t si;
    while (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (loop_clock_us() > end)
            fail_msg("a process is left");
        bench_turn(&b);
    }
    assert_int_equal(errno, ECHILD);
}

// The number that a command writes as its first words; it is told apart by what follows.
static pid_t
pid_from_guest(struct guest_end *from)
{
    for (int i = 0; i < 3000 && !memchr(from->data, '\n', sizeof(from->data)); i++) {
        bench_turn(&b);
        guest_poll(from);
    }
    pid_t pid = atoi((const char *)from->data);
    assert_true(pid > 1);
    return pid;
}

static bool
is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

static void
expect_gone(pid_t pid, int within_ms)
{
    uint64_t end = loop_clock_us() + (uint64_t)within_ms * 1000;
    while (!is_gone(pid)) {
        if (loop_clock_us() > end)
            fail_msg("process %d is left", (int)pid);
        bench_turn(&b);
    }
}

ON_BOTH_LINKS(each_connection_has_a_process_of_its_own)
{
    bench_init(&b, socket_link, "cmd:echo $$; read line; echo got $line");
    guest_join(&g, &b);
    pid_t first = pid_from_guest(&g);
    guest_join(&h, &b);
    pid_t second = pid_from_guest(&h);
    assert_int_not_equal(first, second);
    h.received = 0;
    guest_send(&h, "this\n", 5);
    guest_expect(&h, "got this\n", 9);
    guest_expect_eof(&h);
    assert_false(is_gone(first));
    guest_close(&h);
    guest_close(&g); // EOF to its read
    expect_gone(first, 1000);
    expect_no_children(1000);
    bench_fini(&b);
}

ON_BOTH_LINKS(command_carries_bulk_and_half_closes)
{
    static uint8_t bytes[65536];
    size_t sent = 0;
    bench_init(&b, socket_link, "cmd:cat");
    guest_join(&g, &b);
    g.seed = 1;
    for (int i = 0; i < 200000 && g.received < 16 << 20; i++) {
        stream_fill(1, sent, bytes, sizeof(bytes));
        size_t room = (16 << 20) - sent;
        if (room > 0)
            sent += guest_try_send(&g, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
        bench_turn(&b);
        guest_poll(&g);
    }
    assert_int_equal(g.received, 16 << 20);
    guest_shutdown(&g);
    guest_expect_eof(&g); // cat ends, and with it the stream
    guest_close(&g);
    expect_no_children(1000);
    assert_int_equal(bench_logged(&b, "command"), 0);
    bench_fini(&b);
}

ON_BOTH_LINKS(command_that_exits_at_once_is_an_end_and_is_told_when_it_failed)
{
    bench_init(&b, socket_link, "cmd:true");
    guest_join(&g, &b);
    guest_expect_eof(&g);
    guest_close(&g);
    expect_no_children(1000);
    assert_int_equal(bench_logged(&b, "command"), 0);
    bench_fini(&b);

    bench_init(&b, socket_link, "cmd:no-such-command-anywhere");
    guest_join(&g, &b);
    guest_expect_eof(&g);
    bench_turns(&b, 100);
    assert_int_equal(bench_logged(&b, "vm1: channel 600: command "), 2);
    assert_int_equal(bench_logged(&b, "not found"), 1);
    assert_int_equal(bench_logged(&b, "exit status 127"), 1);
    guest_close(&g);
    expect_no_children(1000);
    bench_fini(&b);
}

ON_BOTH_LINKS(command_that_ignores_eof_is_killed_with_its_connection)
{
    bench_init(&b, socket_link, "cmd:echo $$; exec sleep 1000");
    guest_join(&g, &b);
    pid_t pid = pid_from_guest(&g);
    guest_abort(&g);
    expect_gone(pid, 1000);
    bench_fini(&b);
}

ON_BOTH_LINKS(command_that_ignores_sigterm_is_killed_two_seconds_later)
{
    bench_init(&b, socket_link, "cmd:trap '' TERM; echo $$; while :; do sleep 0.1; done");
    guest_join(&g, &b);
    pid_t pid = pid_from_guest(&g);
    uint64_t start = loop_clock_us();
    guest_abort(&g);
    expect_gone(pid, 3000);
    assert_in_range(loop_clock_us() - start, 1800000, 3000000);
    guest_join(&g, &b); // the channel lives on
    pid_from_guest(&g);
    guest_abort(&g);
    bench_fini(&b); // ends the last one
}

ON_BOTH_LINKS(what_a_command_left_in_the_background_goes_with_it)
{
    bench_init(&b, socket_link, "cmd:sleep 1000 >/dev/null & echo $!; wait");
    guest_join(&g, &b);
    pid_t pid = pid_from_guest(&g);
    guest_abort(&g);
    expect_gone(pid, 3000);
    bench_fini(&b);

    bench_init(&b, socket_link, "cmd:sleep 1000 >/dev/null <&1 & echo $!");
    guest_join(&g, &b);
    pid = pid_from_guest(&g);
    bench_turns(&b, 50);
    guest_abort(&g);
    expect_gone(pid, 3000);
    bench_fini(&b);
}

ON_BOTH_LINKS(stderr_is_logged_by_line_and_escaped)
{
    bench_init(&b, socket_link,
               "cmd:printf 'one\\ntwo\\033[31m\\n\\nno newline' >&2; exec >&- <&- 2>&-; sleep 1");
    guest_join(&g, &b);
    guest_expect_eof(&g);
    bench_turns(&b, 50);
    assert_int_equal(bench_logged(&b, ": one\n"), 1);
    assert_int_equal(bench_logged(&b, ": two\\x1b[31m\n"), 1);
    assert_int_equal(bench_logged(&b, ": no newline\n"), 1);
    assert_int_equal(bench_logged(&b, "command"), 3);
    guest_close(&g);
    expect_no_children(3000);
    bench_fini(&b);
}

ON_BOTH_LINKS(flood_on_stderr_is_limited_and_stalls_nothing)
{
    bench_init(&b, socket_link, "cmd:yes flood >&2 & cat; kill $!");
    guest_join(&g, &b);
    bench_turns(&b, 300);
    guest_send(&g, "still here", 10);
    guest_expect(&g, "still here", 10);
    assert_in_range(bench_logged(&b, "flood"), 1, 25);
    guest_close(&g);
    expect_no_children(3000);
    bench_fini(&b);
}

ON_BOTH_LINKS(commands_are_bounded_and_those_that_linger_count)
{
    enum { MANY = 32 }; // the bench's max_conns
    static struct guest_end many[MANY];
    bench_init(&b, socket_link, "cmd:trap '' TERM; echo $$; while :; do sleep 0.2; done");
    for (int i = 0; i < 15; i++) {
        guest_join(&many[i], &b);
        pid_from_guest(&many[i]);
    }
    for (int i = 0; i < 15; i++)
        guest_abort(&many[i]);
    bench_turns(&b, 50);
    for (int i = 0; i < 15; i++) {
        guest_join(&many[i], &b);
        pid_from_guest(&many[i]);
    }
    for (int i = 0; i < 15; i++)
        guest_abort(&many[i]);
    bench_turns(&b, 50);
    guest_join(&g, &b);
    guest_join(&h, &b);
    struct guest_end refused;
    guest_expect_refusal(&refused, &b);
    assert_int_equal(bench_logged(&b, "32 commands run already"), 1);
    guest_abort(&g);
    guest_abort(&h);
    bench_turns(&b, 2500);
    expect_no_children(1000);
    guest_join(&g, &b);
    guest_abort(&g);
    bench_fini(&b);
}

ON_BOTH_LINKS(command_has_none_of_our_descriptors_and_default_signals)
{
    // 32 and 33 are the C library's own: who was started by posix_spawn may have them ignored, and
    // signal() does not touch them.
    bench_init(&b, socket_link,
               "cmd:ls /proc/self/fd; grep -cE 'SigIgn:.0000000[01][08]0000000' "
               "/proc/self/status");
    guest_join(&g, &b);
    guest_expect_eof(&g);
    char text[64] = "";
    memcpy(text, g.data, g.received < 63 ? g.received : 63);
    assert_string_equal(text, "0\n1\n2\n3\n1\n"); // 3: ls reading the directory
    guest_close(&g);
    expect_no_children(1000);
    bench_fini(&b);
}
