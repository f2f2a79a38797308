// SPDX-License-Identifier: BSD-3-Clause
// What each device and link makes a broker that locks itself up keep; and that with each of them
// the lock closes.
#include "test.h"

#include "broker/sandbox_broker.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct row {
    const char *text;
    unsigned needs;
    bool cannot; // there is nothing by that name here: Landlock must say so
};

static const struct row devices[] = {
    {"unix:/tmp/s", NEED_UNIX, false},
    {"unix:/tmp/s,server", NEED_REMOVE, false},
    {"unix:/nonexistent/s,server", NEED_REMOVE, true},
    {"unix:s,server,abstract", 0, false},
    {"tcp:127.0.0.1:9", NEED_INET, false},
    {"tcp:127.0.0.1:discard", NEED_INET, false},
    {"tcp:127.0.0.1:9,server", 0, false},
    {"telnet:127.0.0.1:9", NEED_INET, false},
    {"websocket:127.0.0.1:9,server", 0, false},
    {"vsock:3:9", NEED_VSOCK, false},
    {"pty", 0, false},
    {"pty:/tmp/tty", NEED_REMOVE, false},
    {"pipe:/tmp/fifo", NEED_PIPE, false},
    {"pipe:/nonexistent/fifo", NEED_PIPE, true},
    {"/dev/null", NEED_TERMINAL, false},
    {"serial:/nonexistent/tty", NEED_TERMINAL, true},
    {"stdio", NEED_TERMINAL, false},
    {"udp:127.0.0.1:9", 0, false},
    {"file:/tmp/out", 0, false},
    {"null", 0, false},
    {"cmd:cat", 0, false},
};

static const struct row links[] = {
    {"stream,path=/tmp/l,server=on", NEED_REMOVE, false},
    {"stream,path=/nonexistent/l,server=on", NEED_REMOVE, true},
    {"stream,path=/tmp/l", NEED_UNIX, false},
    {"stream,addr=127.0.0.1:9,server=on", 0, false},
    {"stream,addr=host.example:9", NEED_INET | NEED_NAMES, false},
    {"vhost-user,path=/tmp/l", NEED_UNIX, false},
    {"vhost-user,path=/tmp/l,server=on", NEED_REMOVE, false},
    {"message,path=/tmp/l", NEED_UNIX | NEED_REMOVE, false},
    {"message,path=/nonexistent/l", NEED_UNIX | NEED_REMOVE, true},
    {"message,udp=127.0.0.1:9,peer=127.0.0.1:10", 0, false},
    {"message,seqpacket=/tmp/l", NEED_UNIX, false},
    {"message,seqpacket=/tmp/l,server=on", NEED_REMOVE, false},
    {"hybrid,path=/tmp/h", NEED_REMOVE, false},
    {"tap,ifname=tap0", 0, false},
    {"packet,ifname=eth0", 0, false},
    {"netns,path=/proc/self/ns/net", 0, false},
    {"vsock,cid=3", 0, false},
};

// In a process of its own: 0, or 1 when Landlock could not name a place, or 2 otherwise.
static int
lock_up(const struct broker_config *config)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = {{0}};
        int rc = sandbox_broker(config, &err);
        _exit(rc == 0 ? 0 : strstr(err.text, "broker: sandbox: Landlock: /nonexistent") ? 1 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool
has_landlock(void)
{
    struct guest_config guest;
    guest_config_init(&guest);
    struct broker_config config = {.guest = &guest, .link = {.kind = LINK_TAP, .fd = -1}};
    int rc = lock_up(&config);
    guest_config_fini(&guest);
    return rc == 0;
}

static void
check(const struct broker_config *config, const struct row *row)
{
    if (sandbox_broker_needs(config) != row->needs)
        fail_msg("%s: needs %u", row->text, sandbox_broker_needs(config));
    int rc = lock_up(config);
    if (rc != row->cannot)
        fail_msg("%s: %d", row->text, rc);
}

TEST(each_device_needs_what_it_needs)
{
    if (!has_landlock())
        skip();
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        char text[100];
        struct guest_config guest;
        struct error err = {{0}};
        guest_config_init(&guest);
        snprintf(text, sizeof(text), "600:%s", devices[i].text);
        if (guest_config_add_channel(&guest, text, &err) < 0)
            fail_msg("%s", err.text);
        struct broker_config config = {.guest = &guest, .link = {.kind = LINK_TAP, .fd = -1}};
        assert_int_equal(sandbox_broker_is_possible(&guest),
                         strcmp(devices[i].text, "cmd:cat") != 0);
        check(&config, &devices[i]);
        guest_config_fini(&guest);
    }
}

TEST(each_link_needs_what_it_needs)
{
    if (!has_landlock())
        skip();
    struct guest_config guest;
    guest_config_init(&guest);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        struct error err = {{0}};
        struct broker_config config = {.guest = &guest};
        if (link_spec_parse(links[i].text, &config.link, &err) < 0)
            fail_msg("%s", err.text);
        check(&config, &links[i]);
        config.link.fd = 0; // given: nothing is opened again or removed
        assert_int_equal(sandbox_broker_needs(&config), 0);
    }
    guest_config_fini(&guest);
}

TEST(control_socket_and_directory_are_removed)
{
    if (!has_landlock())
        skip();
    struct guest_config guest;
    guest_config_init(&guest);
    struct broker_config config = {.guest = &guest,
                                   .removes_link_dir = true,
                                   .control_path = "/tmp/vm/control",
                                   .control_by_name = true};
    struct error err = {{0}};
    assert_int_equal(link_spec_parse("stream,path=/tmp/vm/l,server=on", &config.link, &err), 0);
    const unsigned needs = NEED_REMOVE | NEED_REMOVE_DIR | NEED_UNIX | NEED_CONTROL;
    assert_int_equal(sandbox_broker_needs(&config), needs);
    assert_int_equal(lock_up(&config), 2); // there is no /tmp/vm
    char dir[] = "/tmp/test-needs-XXXXXX", control[64];
    assert_non_null(mkdtemp(dir));
    snprintf(control, sizeof(control), "%s/control", dir);
    snprintf(config.link.path, sizeof(config.link.path), "%s/l", dir);
    config.control_path = control;
    assert_int_equal(lock_up(&config), 0);
    assert_int_equal(rmdir(dir), 0);
    guest_config_fini(&guest);
}
