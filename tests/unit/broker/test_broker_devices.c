// SPDX-License-Identifier: BSD-3-Clause
// The broker and the devices that it must be told about: ends that are counted, logs, commands.
#include "fake_worker.h"

// An exclusive device has one connection until the worker says that it is over.
static void
shares_a_file(int sock, int number)
{
    int fd;
    say(sock, (struct message){.type = MESSAGE_READY});
    struct message m = hear(sock, &fd);
    if (m.type != MESSAGE_LOG || m.channel != 0 || fd < 0 || write(fd, "logged", 6) != 6)
        _exit(1);
    hear(sock, &fd);                                                   // the link
    say(sock, (struct message){.type = MESSAGE_CLOSED, .session = 9}); // it was never opened
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1});
    m = hear(sock, &fd);
    if (m.type != MESSAGE_OPENED || m.session != 1 || m.fds != 1 || write(fd, "one ", 4) != 4)
        _exit(1);
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1}); // open already: garbage
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 2});
    m = hear(sock, &fd);
    if (m.type != MESSAGE_REFUSED || m.session != 2 || m.why != -EBUSY)
        _exit(1);
    say(sock, (struct message){.type = MESSAGE_CLOSED, .session = 1});
    say(sock, (struct message){.type = MESSAGE_CLOSED, .session = 1}); // twice: garbage
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 3});
    m = hear(sock, &fd);
    if (m.type != MESSAGE_OPENED || m.session != 3 || write(fd, "two", 3) != 3)
        _exit(1);
    say(sock, (struct message){.type = MESSAGE_CANCEL, .session = 3}); // the answer came too late
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 4});
    m = hear(sock, &fd);
    if (m.type == MESSAGE_OPENED && m.session == 4)
        stop_broker(sock);
}

static void
expect_file(const char *path, const char *text)
{
    char got[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    assert_string_equal(got, text);
    close(fd);
    unlink(path);
}

TEST(exclusive_device_and_its_log_pass_from_one_connection_to_the_next)
{
    int peer;
    struct error err = {{0}};
    device = "600:file:/tmp/test-broker-file,logfile=/tmp/test-broker-log";
    int rc = run(shares_a_file, "", link_pair(&peer), &err);
    device = NULL;
    if (rc != 0)
        fail_msg("%d %s", rc, err.text);
    assert_int_equal(times_logged("malformed message number"), 3);
    assert_int_equal(times_logged("channel 600: refused, the device has a connection"), 1);
    expect_file("/tmp/test-broker-file", "one two");
    expect_file("/tmp/test-broker-log", "logged");
    close(peer);
}

// A worker that dies leaves no device in use and no command running.
static void
dies_with_a_command(int sock, int number)
{
    int fd;
    char pid[16] = "";
    say(sock, (struct message){.type = MESSAGE_READY});
    hear(sock, &fd);
    say(sock, (struct message){.type = MESSAGE_OPEN, .session = 1});
    struct message m = hear(sock, &fd);
    if (m.type != MESSAGE_OPENED || m.fds != 1)
        _exit(1);
    fcntl(fd, F_SETFL, 0);
    if (read(fd, pid, sizeof(pid) - 1) < 1)
        _exit(1);
    if (number == 1) {
        shared->answers = (uint32_t)atoi(pid);
        raise(SIGKILL);
    }
    for (int i = 0; i < 100 && kill((pid_t)shared->answers, 0) == 0; i++)
        usleep(10000);
    if (kill((pid_t)shared->answers, 0) < 0)
        stop_broker(sock);
}

TEST(commands_of_a_worker_that_died_are_ended)
{
    device = "600:cmd:echo $$; exec sleep 1000";
    assert_int_equal(run_with_listener(dies_with_a_command, ""), 0);
    device = NULL;
    assert_int_equal(shared->workers, 2);
}
