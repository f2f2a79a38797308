// SPDX-License-Identifier: BSD-3-Clause
// Opening of stream links: connect and listen, on paths and addresses, and descriptors given by
// number. What needs a namespace is in test_netns.c.
#include "link/open.h"

#include "../test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char dir[64];
    char path[96];
};

static struct scratch
scratch_new(void)
{
    struct scratch s = {.dir = "/tmp/vmc-test-open-XXXXXX"};
    assert_non_null(mkdtemp(s.dir));
    snprintf(s.path, sizeof(s.path), "%s/s", s.dir);
    return s;
}

static void
scratch_free(const struct scratch *s)
{
    unlink(s->path);
    assert_int_equal(rmdir(s->dir), 0); // no lock file either
}

static struct link_spec
unix_spec(const char *path)
{
    struct link_spec spec = {.kind = LINK_STREAM, .fd = -1};
    snprintf(spec.path, sizeof(spec.path), "%s", path);
    return spec;
}

static struct link_spec
tcp_spec(const char *host, unsigned port)
{
    struct link_spec spec = {.kind = LINK_STREAM, .fd = -1};
    snprintf(spec.addr.host, sizeof(spec.addr.host), "%s", host);
    snprintf(spec.addr.port, sizeof(spec.addr.port), "%u", port);
    return spec;
}

static void
expect_ready_socket(int fd)
{
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

// A port on which nobody listens.
static unsigned
free_port(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    getsockname(fd, (struct sockaddr *)&sin, &len);
    close(fd);
    return ntohs(sin.sin_port);
}

TEST(unix_server_and_client_meet)
{
    struct scratch s = scratch_new();
    struct link_spec spec = unix_spec(s.path);
    struct unix_listener l;
    struct error err;
    bool pending = true;
    assert_int_equal(link_listen(&spec, &l, &err), 0);
    expect_ready_socket(l.fd);
    int client = link_connect(&spec, &pending, &err);
    expect_ready_socket(client);
    assert_false(pending);
    int server = accept(l.fd, NULL, NULL);
    assert_int_equal(write(client, "hello", 5), 5);
    char got[8];
    assert_int_equal(read(server, got, sizeof(got)), 5);
    close(server);
    close(client);
    unix_listener_close(&l);
    assert_int_equal(access(s.path, F_OK), -1);
    scratch_free(&s);
}

TEST(connect_errors_name_the_path)
{
    struct scratch s = scratch_new();
    struct link_spec spec = unix_spec(s.path);
    struct error err;
    bool pending;
    char want[256];
    assert_int_equal(link_connect(&spec, &pending, &err), -ENOENT);
    snprintf(want, sizeof(want), "%s: cannot connect: No such file or directory", s.path);
    assert_string_equal(err.text, want);
    close(open(s.path, O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(link_connect(&spec, &pending, &err), -ECONNREFUSED);
    scratch_free(&s);
}

TEST(connect_to_a_full_backlog_does_not_block)
{
    struct scratch s = scratch_new();
    struct link_spec spec = unix_spec(s.path);
    struct error err;
    struct sockaddr_un sa;
    int len = unix_address(&sa, s.path, false, false);
    bool pending;
    int clients[16], count = 0, fd;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(listen(listener, 1), 0);
    while (count < 16 && (fd = link_connect(&spec, &pending, &err)) >= 0)
        clients[count++] = fd;
    assert_in_range(count, 1, 3);
    assert_int_equal(fd, -EAGAIN);
    while (count > 0)
        close(clients[--count]);
    close(listener);
    scratch_free(&s);
}

TEST(stale_socket_is_replaced_a_live_one_and_a_file_are_not)
{
    struct scratch s = scratch_new();
    struct link_spec spec = unix_spec(s.path);
    struct unix_listener l, second;
    struct error err;
    struct sockaddr_un sa;
    int len = unix_address(&sa, s.path, false, false);
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&sa, (socklen_t)len), 0);
    close(stale);
    assert_int_equal(link_listen(&spec, &l, &err), 0);
    assert_true(link_listen(&spec, &second, &err) < 0);
    assert_non_null(strstr(err.text, s.path));
    unix_listener_close(&l);

    close(open(s.path, O_CREAT | O_CLOEXEC, 0600));
    assert_true(link_listen(&spec, &l, &err) < 0);
    struct stat st;
    assert_int_equal(stat(s.path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    scratch_free(&s);
}

static void
expect_tcp_meeting(const char *server_host, const char *client_host)
{
    unsigned port = free_port();
    struct link_spec server_spec = tcp_spec(server_host, port);
    struct link_spec client_spec = tcp_spec(client_host, port);
    struct unix_listener l;
    struct error err = {{0}};
    bool pending;
    if (link_listen(&server_spec, &l, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(l.path, "");
    int client = link_connect(&client_spec, &pending, &err);
    expect_ready_socket(client);
    struct pollfd pfd = {.fd = client, .events = POLLOUT};
    assert_int_equal(poll(&pfd, 1, 2000), 1);
    int so_error = -1;
    socklen_t len = sizeof(so_error);
    getsockopt(client, SOL_SOCKET, SO_ERROR, &so_error, &len);
    assert_int_equal(so_error, 0);
    pfd = (struct pollfd){.fd = l.fd, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, 2000), 1);
    int server = accept(l.fd, NULL, NULL);
    assert_true(server >= 0);
    close(server);
    close(client);
    unix_listener_close(&l);
}

TEST(tcp_server_and_client_meet)
{
    expect_tcp_meeting("127.0.0.1", "127.0.0.1");
    expect_tcp_meeting("127.0.0.1", "localhost");
}

TEST(tcp_over_ipv6)
{
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has = probe >= 0 && bind(probe, (struct sockaddr *)&sin6, sizeof(sin6)) == 0;
    close(probe);
    if (!has)
        skip();
    expect_tcp_meeting("::1", "::1");
}

TEST(tcp_errors_name_the_address)
{
    unsigned port = free_port();
    struct link_spec spec = tcp_spec("127.0.0.1", port);
    struct error err;
    bool pending;
    char want[128];
    // On the loopback the refusal is there at once.
    assert_int_equal(link_connect(&spec, &pending, &err), -ECONNREFUSED);
    snprintf(want, sizeof(want), "127.0.0.1:%u: cannot connect: Connection refused", port);
    assert_string_equal(err.text, want);

    struct unix_listener l, second;
    assert_int_equal(link_listen(&spec, &l, &err), 0);
    assert_int_equal(link_listen(&spec, &second, &err), -EADDRINUSE);
    snprintf(want, sizeof(want), "127.0.0.1:%u: cannot listen: Address already in use", port);
    assert_string_equal(err.text, want);
    unix_listener_close(&l);

    spec = tcp_spec("not a name", port);
    assert_int_equal(link_connect(&spec, &pending, &err), -EHOSTUNREACH);
    assert_non_null(strstr(err.text, "not a name:"));
}

TEST(given_descriptors_are_checked)
{
    struct error err;
    bool pending;
    int fds[2], dgram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    char want[128];

    struct link_spec spec = {.kind = LINK_STREAM, .fd = fds[0]};
    assert_int_equal(link_connect(&spec, &pending, &err), fds[0]);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    spec.fd = dgram;
    assert_int_equal(link_connect(&spec, &pending, &err), -EINVAL);
    snprintf(want, sizeof(want), "fd %d: not a stream socket", dgram);
    assert_string_equal(err.text, want);
    spec.fd = 999;
    assert_int_equal(link_connect(&spec, &pending, &err), -EBADF);
    assert_string_equal(err.text, "fd 999: Bad file descriptor");

    spec = (struct link_spec){.kind = LINK_TAP, .fd = fds[0]};
    assert_int_equal(link_open_tap(&spec, &err), -EINVAL);
    snprintf(want, sizeof(want), "fd %d: not a queue of a tap interface", fds[0]);
    assert_string_equal(err.text, want);
    spec.kind = LINK_PACKET;
    assert_int_equal(link_open_packet(&spec, &err), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    close(dgram);
}
