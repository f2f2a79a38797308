// SPDX-License-Identifier: BSD-3-Clause
// Devices that are files: file, pipe, pty, tty; each behind a channel on both kinds of link, and
// what can go wrong with it.
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <termios.h>
#include <unistd.h>

#define BULK (16 << 20)

static struct bench b;
static struct guest_end g, h;
static char path[128], in_path[sizeof(path) + 3], out_path[sizeof(path) + 4];

static void
expect_file(const char *text)
{
    char got[256] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    assert_string_equal(got, text);
    close(fd);
}

// --- file ----------------------------------------------------------------------------------------

static void
file_says(const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

ON_BOTH_LINKS(file_is_truncated_and_takes_one_guest_after_the_other)
{
    snprintf(path, sizeof(path), "/tmp/test-files-%d", (int)getpid());
    char text[200];
    file_says("before\n");
    snprintf(text, sizeof(text), "file:%s", path);
    bench_init(&b, socket_link, text);
    expect_file("");
    guest_join(&g, &b);
    guest_expect_refusal(&h, &b);
    guest_send(&g, "one\n", 4);
    guest_close(&g);
    assert_false(g.reset);
    guest_join(&g, &b);
    guest_send(&g, "two\n", 4);
    guest_close(&g);
    expect_file("one\ntwo\n");
    bench_fini(&b);
    unlink(path);
}

ON_BOTH_LINKS(file_is_appended_to)
{
    snprintf(path, sizeof(path), "/tmp/test-files-%d", (int)getpid());
    char text[200];
    file_says("before\n");
    snprintf(text, sizeof(text), "file:%s,append=on", path);
    bench_init(&b, socket_link, text);
    guest_join(&g, &b);
    guest_send(&g, "after\n", 6);
    guest_close(&g);
    expect_file("before\nafter\n");
    bench_fini(&b);
    unlink(path);
}

ON_BOTH_LINKS(file_carries_bulk)
{
    static uint8_t got[BULK], wanted[BULK];
    bench_init(&b, socket_link, "file:%s/f");
    bench_path(&b, "f", path, sizeof(path));
    guest_join(&g, &b);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    exchange(&g, -1, fd, BULK);
    guest_close(&g);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(read(fd, got, sizeof(got)), BULK);
    stream_fill(1, 0, wanted, sizeof(wanted));
    assert_memory_equal(got, wanted, BULK);
    close(fd);
    unlink(path);
    bench_fini(&b);
}

// What fits is there, the guest is reset, the log says why, and the channel lives on.
static void
fill_up(const char *mount_point, size_t size)
{
    static uint8_t bytes[1 << 20];
    struct stat st;
    stream_fill(1, 0, bytes, sizeof(bytes));
    guest_join(&g, &b);
    size_t sent = 0;
    for (int i = 0; i < 5000 && !g.reset; i++) {
        sent += guest_try_send(&g, bytes + sent % sizeof(bytes), 4096);
        bench_turn(&b);
        guest_poll(&g);
    }
    guest_expect_reset(&g);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(bench_logged(&b, "connection reset: No space left on device"), 1);
    bench_turns(&b, 20);
    guest_join(&g, &b);
    guest_send(&g, "more", 4);
    guest_expect_reset(&g);
}

ON_BOTH_LINKS(full_disk_resets_the_guest_after_what_was_written)
{
    char mount_point[64], text[200];
    snprintf(mount_point, sizeof(mount_point), "/tmp/test-files-XXXXXX");
    assert_non_null(mkdtemp(mount_point));
    if (mount("none", mount_point, "tmpfs", 0, "size=64k") < 0) {
        rmdir(mount_point);
        skip(); // not root
    }
    snprintf(path, sizeof(path), "%s/f", mount_point);
    snprintf(text, sizeof(text), "file:%s", path);
    bench_init(&b, socket_link, text);
    fill_up(mount_point, 65536);
    bench_fini(&b);
    assert_int_equal(umount(mount_point), 0);
    rmdir(mount_point);
}

ON_BOTH_LINKS(device_that_is_full_resets_the_guest)
{
    bench_init(&b, socket_link, "file:/dev/full");
    guest_join(&g, &b);
    guest_send(&g, "x", 1);
    guest_expect_reset(&g);
    assert_int_equal(bench_logged(&b, "file:/dev/full: connection reset: No space left"), 1);
    bench_fini(&b);
}

TEST(file_that_cannot_be_opened_fails_the_start)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "file:/nonexistent/f", &err));
    assert_string_equal(err.text, "channel 600: file:/nonexistent/f: No such file or directory");
    assert_false(bench_try_init(&b, false, "file:/tmp", &err));
    assert_non_null(strstr(err.text, "Is a directory"));
}

// --- pipe ----------------------------------------------------------------------------------------

static void
pipes_init(bool socket_link)
{
    char text[200];
    snprintf(path, sizeof(path), "/tmp/test-pipe-%d", (int)getpid());
    snprintf(in_path, sizeof(in_path), "%s.in", path);
    snprintf(out_path, sizeof(out_path), "%s.out", path);
    assert_int_equal(mkfifo(in_path, 0600), 0);
    assert_int_equal(mkfifo(out_path, 0600), 0);
    snprintf(text, sizeof(text), "pipe:%s", path);
    bench_init(&b, socket_link, text);
}

static void
pipes_fini(void)
{
    bench_fini(&b);
    unlink(in_path);
    unlink(out_path);
}

static int
reader(void)
{
    int fd = open(out_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int
writer(void)
{
    int fd = open(in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

ON_BOTH_LINKS(pipes_carry_bulk)
{
    pipes_init(socket_link);
    int r = reader(), w = writer();
    guest_join(&g, &b);
    guest_expect_refusal(&h, &b);
    if (!socket_link)
        b.rig.ctx = &g;
    exchange(&g, w, r, BULK);
    close(w);
    bench_turns(&b, 20);
    guest_poll(&g);
    assert_false(g.eof || g.reset); // its writers may come and go
    w = writer();
    assert_int_equal(write(w, "again", 5), 5);
    guest_expect(&g, "again", 5);
    guest_close(&g);
    assert_false(g.reset);
    close(w);
    close(r);
    pipes_fini();
}

ON_BOTH_LINKS(reader_that_leaves_resets_the_guest)
{
    pipes_init(socket_link);
    int r = reader();
    guest_join(&g, &b);
    guest_send(&g, "read", 4);
    host_expect(&b, r, "read");
    close(r);
    guest_send(&g, "unread", 6);
    guest_expect_reset(&g);
    bench_turns(&b, 20);
    r = reader();
    guest_join(&g, &b); // and the next one is served
    guest_send(&g, "next", 4);
    host_expect(&b, r, "next");
    guest_close(&g);
    close(r);
    pipes_fini();
}

ON_BOTH_LINKS(reader_that_comes_late_finds_what_was_sent)
{
    pipes_init(socket_link);
    guest_join(&g, &b);
    guest_send(&g, "one, ", 5);
    guest_close(&g);
    guest_join(&g, &b);
    guest_send(&g, "two", 3);
    guest_close(&g);
    int r = reader();
    host_expect(&b, r, "one, two");
    guest_join(&g, &b);
    close(r);
    bench_turns(&b, 20);
    guest_send(&g, "x", 1); // the reader was seen this time
    guest_expect_reset(&g);
    pipes_fini();
}

ON_BOTH_LINKS(bytes_wait_in_the_pipe_for_a_guest)
{
    pipes_init(socket_link);
    int w = writer();
    assert_int_equal(write(w, "waiting", 7), 7);
    guest_join(&g, &b);
    guest_expect(&g, "waiting", 7);
    guest_close(&g);
    close(w);
    pipes_fini();
}

ON_BOTH_LINKS(single_pipe_is_both_ways)
{
    char text[200];
    snprintf(path, sizeof(path), "/tmp/test-pipe-%d", (int)getpid());
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(text, sizeof(text), "pipe:%s", path);
    bench_init(&b, socket_link, text);
    guest_join(&g, &b);
    guest_send(&g, "echo", 4); // as QEMU: it reads what it wrote
    guest_expect(&g, "echo", 4);
    guest_close(&g);
    bench_fini(&b);
    unlink(path);
}

TEST(pipe_that_is_not_there_fails_the_start)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "pipe:/nonexistent/p", &err));
    assert_non_null(strstr(err.text, "/nonexistent/p.in and /nonexistent/p.out: No such file"));
}

// --- pty and tty ---------------------------------------------------------------------------------

static int
open_user_side(void)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

ON_BOTH_LINKS(pty_carries_bulk_and_survives_its_user)
{
    struct stat st;
    bench_init(&b, socket_link, "pty:%s/tty");
    bench_path(&b, "tty", path, sizeof(path));
    guest_join(&g, &b);
    guest_expect_refusal(&h, &b);
    if (!socket_link)
        b.rig.ctx = &g;
    int fd = open_user_side();
    exchange(&g, fd, fd, 4 << 20);
    close(fd);
    bench_turns(&b, 20);
    guest_send(&g, "while away\n", 11);
    bench_turns(&b, 20);
    guest_poll(&g);
    assert_false(g.eof || g.reset);
    fd = open_user_side();
    host_expect(&b, fd, "while away\n");
    assert_int_equal(write(fd, "back\r\n\3", 7), 7);
    guest_expect(&g, "back\r\n\3", 7);
    guest_close(&g);
    assert_false(g.reset);
    // What comes with no guest there waits for the next one.
    assert_int_equal(write(fd, "later", 5), 5);
    guest_join(&g, &b);
    guest_expect(&g, "later", 5);
    guest_close(&g);
    close(fd);
    bench_fini(&b);
    assert_int_equal(lstat(path, &st), -1); // the link is gone
}

TEST(link_of_a_pty_replaces_a_link_to_a_terminal_alone)
{
    struct error err = {{0}};
    char text[200], target[64] = "";
    snprintf(path, sizeof(path), "/tmp/test-pty-%d", (int)getpid());
    snprintf(text, sizeof(text), "pty:%s", path);
    file_says("mine");
    assert_false(bench_try_init(&b, false, text, &err));
    assert_non_null(strstr(err.text, "File exists"));
    expect_file("mine");
    unlink(path);
    assert_int_equal(symlink("/dev/pts/4711", path), 0);
    bench_init(&b, false, text);
    assert_true(readlink(path, target, sizeof(target) - 1) > 0);
    assert_string_not_equal(target, "/dev/pts/4711");
    unlink(path);
    file_says("somebody else's by now");
    bench_fini(&b);
    expect_file("somebody else's by now");
    unlink(path);
}

// A pseudo-terminal of the test's own plays a serial line: its far end.
static int
serial_init(bool socket_link, struct termios *was)
{
    char text[200];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    assert_int_equal(ptsname_r(master, path, sizeof(path)), 0);
    int user = open_user_side();
    assert_int_equal(tcgetattr(user, was), 0);
    cfsetspeed(was, B9600);
    assert_int_equal(tcsetattr(user, TCSANOW, was), 0);
    assert_int_equal(tcgetattr(user, was), 0);
    snprintf(text, sizeof(text), "serial:%s", path);
    bench_init(&b, socket_link, text);
    close(user);
    return master;
}

ON_BOTH_LINKS(tty_is_raw_keeps_its_speed_and_is_put_back)
{
    struct termios was, is;
    int master = serial_init(socket_link, &was);
    int user = open_user_side();
    assert_int_equal(tcgetattr(user, &is), 0);
    assert_int_equal(is.c_lflag & (ICANON | ECHO | ISIG), 0);
    assert_int_equal(is.c_oflag & OPOST, 0);
    assert_int_equal(cfgetospeed(&is), B9600);
    guest_join(&g, &b);
    guest_expect_refusal(&h, &b);
    if (!socket_link)
        b.rig.ctx = &g;
    exchange(&g, master, master, 4 << 20);
    guest_close(&g);
    assert_false(g.reset);
    bench_fini(&b);
    assert_int_equal(tcgetattr(user, &is), 0);
    assert_int_equal(is.c_lflag, was.c_lflag);
    assert_int_equal(is.c_oflag, was.c_oflag);
    close(user);
    close(master);
}

ON_BOTH_LINKS(tty_that_hangs_up_ends_the_guest_and_refuses_the_next)
{
    struct termios was;
    int master = serial_init(socket_link, &was);
    guest_join(&g, &b);
    assert_int_equal(write(master, "last", 4), 4);
    guest_expect(&g, "last", 4);
    close(master);
    guest_expect_reset(&g);
    bench_turns(&b, 20);
    guest_expect_refusal(&h, &b); // and it is no longer there to be opened anew
    assert_true(bench_logged(&b, path) >= 1);
    bench_fini(&b);
}

ON_BOTH_LINKS(device_without_poll_is_read_as_fast_as_the_guest_takes)
{
    bench_init(&b, socket_link, "serial:/dev/zero");
    guest_join(&g, &b);
    for (int i = 0; i < 5000 && g.received < BULK; i++) {
        bench_turn(&b);
        guest_poll(&g);
    }
    assert_true(g.received >= BULK);
    guest_abort(&g);
    bench_turns(&b, 20);
    bench_fini(&b);
}

TEST(tty_that_is_none_fails_the_start)
{
    struct error err = {{0}};
    assert_false(bench_try_init(&b, false, "/dev/no-such-tty", &err));
    assert_string_equal(err.text, "channel 600: /dev/no-such-tty: No such file or directory");
    assert_false(bench_try_init(&b, false, "serial:/tmp", &err));
    assert_non_null(strstr(err.text, "channel 600: /tmp: "));
    char text[200];
    snprintf(path, sizeof(path), "/tmp/test-files-%d", (int)getpid());
    file_says("a file");
    snprintf(text, sizeof(text), "serial:%s", path);
    assert_false(bench_try_init(&b, false, text, &err));
    assert_non_null(strstr(err.text, "not a character device"));
    unlink(path);
}
