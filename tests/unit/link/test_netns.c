// SPDX-License-Identifier: BSD-3-Clause
// The helper that enters namespaces, and what it makes there: interfaces, listeners. Run as root
// and once more as a user without any privilege.
#include "link/netns.h"
#include "link/open.h"

#include "guest.h"
#include "ns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

static int
fail_with_text(void *arg, int *fds, size_t *count, struct error *err)
{
    return error_set(err, ENOSPC, "%s", (const char *)arg);
}

static int
die(void *arg, int *fds, size_t *count, struct error *err)
{
    _exit(3);
}

static int
make_pipes(void *arg, int *fds, size_t *count, struct error *err)
{
    for (*count = 0; *count < NETNS_FDS_MAX; *count += 2) {
        if (pipe2(fds + *count, O_CLOEXEC) < 0)
            return error_set(err, errno, "pipe");
    }
    return 0;
}

TEST(ns_run_carries_errors_and_descriptors)
{
    struct ns ns = ns_open();
    int fds[NETNS_FDS_MAX];
    size_t count = 7;
    struct error err = {{0}};
    assert_int_equal(netns_run(ns.path, fail_with_text, "tap9", fds, &count, &err), -ENOSPC);
    assert_string_equal(err.text, "tap9: No space left on device");
    assert_int_equal(count, 0);
    assert_int_equal(netns_run(ns.path, die, NULL, fds, &count, &err), -EIO);
    assert_non_null(strstr(err.text, "no answer from the helper"));
    assert_int_equal(netns_run(ns.path, make_pipes, NULL, fds, &count, &err), 0);
    assert_int_equal(count, NETNS_FDS_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
    ns_close(&ns);
}

TEST(ns_run_refuses_what_is_no_namespace)
{
    int fds[NETNS_FDS_MAX];
    size_t count;
    struct error err;
    assert_int_equal(netns_run("/nonexistent/ns", make_pipes, NULL, fds, &count, &err), -ENOENT);
    assert_string_equal(err.text, "/nonexistent/ns: No such file or directory");
    assert_int_equal(netns_run("/dev/null", make_pipes, NULL, fds, &count, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/dev/null: not a network namespace"));
}

TEST(ns_listeners_are_all_made_or_none)
{
    enum { COUNT = 150 };
    struct ns ns = ns_open();
    struct link_spec spec = {.kind = LINK_NETNS, .fd = -1};
    const struct ipv6_addr addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
    static const unsigned again[] = {1, COUNT - 1}; // of the first message, of the last
    snprintf(spec.path, sizeof(spec.path), "%s", ns.path);
    for (int i = 0; i < 2; i++) {
        uint16_t ports[COUNT];
        struct link_listener made[COUNT];
        struct error err = {{0}};
        for (unsigned p = 0; p < COUNT; p++)
            ports[p] = (uint16_t)(600 + p);
        ports[again[i]] = 600; // taken
        assert_int_equal(link_open_netns(&spec, PEER_ADDR, &addr6, ports, COUNT, made, &err),
                         -EADDRINUSE);
        assert_non_null(strstr(err.text, ":600: cannot listen"));
        for (unsigned p = 0; p < COUNT; p++)
            assert_true(made[p].fd < 0 && made[p].fd6 < 0);
    }
    ns_close(&ns);
}

static void
expect_connection(int guest, int listener)
{
    struct pollfd pfd = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 2000), 1);
    int host = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(host >= 0);
    close(guest);
    close(host);
}

TEST(ns_listeners_more_than_a_message_holds)
{
    enum { COUNT = 150 };
    struct ns ns = ns_open();
    struct link_spec spec = {.kind = LINK_NETNS, .fd = -1};
    struct error err = {{0}};
    uint16_t ports[COUNT];
    struct link_listener made[COUNT];
    const struct ipv6_addr addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
    snprintf(spec.path, sizeof(spec.path), "%s", ns.path);
    for (unsigned i = 0; i < COUNT; i++)
        ports[i] = (uint16_t)(600 + i);
    // Twice: what is there from before is no hindrance.
    for (int round = 0; round < 2; round++) {
        if (link_open_netns(&spec, PEER_ADDR, &addr6, ports, COUNT, made, &err) < 0)
            fail_msg("%s", err.text);
        for (unsigned i = 0; i < COUNT; i += 49) {
            expect_connection(guest_connect(&ns, ports[i]), made[i].fd);
            expect_connection(guest_connect6(&ns, &addr6, ports[i]), made[i].fd6);
        }
        for (unsigned i = 0; i < COUNT; i++)
            link_listener_close(&made[i]);
    }
    // One that fails in a later pass: nothing stays open (the descriptor count is checked).
    ports[120] = 600;
    assert_int_equal(link_open_netns(&spec, PEER_ADDR, &addr6, ports, COUNT, made, &err),
                     -EADDRINUSE);
    assert_string_equal(err.text, "10.0.2.4:600: cannot listen: Address already in use");
    assert_int_equal(made[0].fd, -1);
    ns_close(&ns);
}

static int
turn_ipv6_off(void *arg, int *fds, size_t *count, struct error *err)
{
    netns_disable_ipv6("lo");
    return 0;
}

TEST(ns_listeners_by_ipv6_where_there_is_any)
{
    struct ns ns = ns_open();
    struct link_spec spec = {.kind = LINK_NETNS, .fd = -1};
    struct error err = {{0}};
    const struct ipv6_addr none = {{0}}, addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
    const uint16_t ports[] = {600, 600};
    struct link_listener made[2];
    snprintf(spec.path, sizeof(spec.path), "%s", ns.path);
    assert_int_equal(link_open_netns(&spec, PEER_ADDR, &none, ports, 1, made, &err), 0);
    assert_true(made[0].fd >= 0);
    assert_int_equal(made[0].fd6, -1);
    link_listener_close(&made[0]);
    assert_int_equal(made[0].fd, -1);
    ns_do(&ns, turn_ipv6_off, NULL, NULL);
    assert_int_equal(link_open_netns(&spec, PEER_ADDR, &addr6, ports, 1, made, &err), 0);
    assert_int_equal(made[0].fd6, -1);
    link_listener_close(&made[0]);
    ns_close(&ns);
}

static int
be_quick(void *arg, int *fds, size_t *count, struct error *err)
{
    static const char *const names[] = {"tcp_keepalive_time", "tcp_keepalive_intvl",
                                        "tcp_fin_timeout"};
    char path[64];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", names[i]);
        if (!ns_write(path, "1"))
            return error_set(err, errno, "%s", path);
    }
    return 0;
}

// Its FIN alone could be the half of a conversation that goes on. Who waits for a host end, with
// nothing to send it, would wait for ever.
TEST(ns_guest_that_left_is_noticed_when_nothing_is_said_to_it)
{
    struct ns ns = ns_open();
    struct link_spec spec = {.kind = LINK_NETNS, .fd = -1};
    struct error err = {{0}};
    const uint16_t port = 600;
    struct link_listener made;
    snprintf(spec.path, sizeof(spec.path), "%s", ns.path);
    ns_do(&ns, be_quick, NULL, NULL);
    assert_int_equal(
        link_open_netns(&spec, PEER_ADDR, &(struct ipv6_addr){{0}}, &port, 1, &made, &err), 0);
    int guest = guest_connect(&ns, port);
    struct pollfd p = {.fd = made.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
    p = (struct pollfd){.fd = accept4(made.fd, NULL, NULL, SOCK_CLOEXEC)};
    assert_true(p.fd >= 0);
    close(guest);
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(p.revents & POLLHUP);
    close(p.fd);
    link_listener_close(&made);
    ns_close(&ns);
}

TEST(ns_errors_name_the_interface)
{
    struct ns ns = ns_open();
    struct link_spec spec = spec_in(&ns, LINK_PACKET, "nosuch");
    struct error err;
    assert_int_equal(link_open_packet(&spec, &err), -ENODEV);
    assert_string_equal(err.text,
                        "nosuch: cannot open a packet socket on the interface: No such device");
    uint16_t mtu = 1500;
    int fds[NETNS_FDS_MAX];
    size_t count;
    ns_do(&ns, set_up_veth, &mtu, NULL);
    assert_int_equal(netns_run(ns.path, set_up_veth, &mtu, fds, &count, &err), -EEXIST);
    assert_string_equal(err.text, "eth0, vmc0: cannot make a veth pair: File exists");
    mtu = 10;
    assert_int_equal(netns_run(ns.path, set_link_up, "eth9", fds, &count, &err), -ENODEV);
    assert_string_equal(err.text, "eth9: cannot set the interface up: No such device");
    spec = spec_in(&ns, LINK_TAP, "eth0");
    assert_int_equal(link_open_tap(&spec, &err), -EINVAL);
    assert_string_equal(err.text, "eth0: cannot open the tap interface: Invalid argument");
    ns_close(&ns);
}

TEST(all_of_it_without_privilege)
{
    ns_rerun_as_nobody();
}
