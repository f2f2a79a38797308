// SPDX-License-Identifier: BSD-3-Clause
// Datagram sockets and their peers: given or learned from the first sender, watched, parted from;
// and the listening sockets of the socket links.
#include "link/datagram.h"

#include "frames.h"
#include "link/socket_links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char dir[64];
    char ours[80], peers[80], others[80];
};

static struct scratch
scratch_new(void)
{
    struct scratch s = {.dir = "/tmp/vmc-test-dgram-XXXXXX"};
    assert_non_null(mkdtemp(s.dir));
    snprintf(s.ours, sizeof(s.ours), "%s/ours", s.dir);
    snprintf(s.peers, sizeof(s.peers), "%s/peer", s.dir);
    snprintf(s.others, sizeof(s.others), "%s/other", s.dir);
    return s;
}

static void
scratch_free(const struct scratch *s)
{
    unlink(s->peers);
    unlink(s->others);
    assert_int_equal(rmdir(s->dir), 0); // nothing of ours, no lock file either
}

static struct link_spec
spec_of(const char *path, const char *peer)
{
    struct link_spec spec = {.kind = LINK_MESSAGE, .fd = -1};
    snprintf(spec.path, sizeof(spec.path), "%s", path);
    snprintf(spec.peer_path, sizeof(spec.peer_path), "%s", peer);
    return spec;
}

static int
bound(const char *path)
{
    struct sockaddr_un sa;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int len = unix_address(&sa, path, false, false);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

static ssize_t
send_to(int fd, const char *path, const char *text)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, false);
    return sendto(fd, text, strlen(text), MSG_DONTWAIT, (struct sockaddr *)&sa, (socklen_t)len);
}

static void
expect_text(int fd, const char *text)
{
    char got[64] = "";
    assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

TEST(first_sender_becomes_the_peer)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, "");
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    struct stat st;
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    assert_int_equal(stat(s.ours, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), -EAGAIN);

    int guest = bound(s.peers), other = bound(s.others);
    assert_int_equal(send_to(guest, s.ours, "VFKT"), 4);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    assert_true(datagram_peer_is_there(&peer));
    expect_text(l.fd, "VFKT"); // still there, for the worker
    assert_int_equal(send(l.fd, "frame", 5, 0), 5);
    expect_text(guest, "frame");
    assert_int_equal(send_to(other, s.ours, "x"), -1);
    assert_int_equal(errno, EPERM);

    close(guest);
    assert_false(datagram_peer_is_there(&peer));
    datagram_part(l.fd);
    assert_int_equal(send_to(other, s.ours, "hello"), 5);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0); // past the wake of parting
    expect_text(l.fd, "hello");
    assert_int_equal(send(l.fd, "frame", 5, 0), 5);
    expect_text(other, "frame");
    close(other);
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(sender_without_a_name_is_passed_over)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, "");
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    int nameless = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), guest = bound(s.peers);
    assert_int_equal(send_to(nameless, s.ours, "x"), 1);
    assert_int_equal(send_to(guest, s.ours, "y"), 1);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), -EDESTADDRREQ);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    expect_text(l.fd, "y");
    close(nameless);
    close(guest);
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(sender_that_has_gone_again_is_passed_over)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, "");
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    int guest = bound(s.peers);
    assert_int_equal(send_to(guest, s.ours, "x"), 1);
    close(guest);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), -ECONNREFUSED);
    assert_non_null(strstr(err.text, s.peers));
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), -EAGAIN);
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(abstract_sender_becomes_the_peer)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, "");
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    int guest = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const sa_family_t family = AF_UNIX; // autobind, unix(7)
    assert_int_equal(bind(guest, (const struct sockaddr *)&family, sizeof(family)), 0);
    assert_int_equal(send_to(guest, s.ours, "x"), 1);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    assert_true(datagram_peer_is_there(&peer));
    assert_int_equal(send(l.fd, "frame", 5, 0), 5);
    expect_text(guest, "frame");
    close(guest);
    assert_false(datagram_peer_is_there(&peer));
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(given_peer_is_connected_to_when_it_is_there)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, s.peers);
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    char want[160];
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), -ENOENT);
    snprintf(want, sizeof(want), "%s: cannot connect: No such file or directory", s.peers);
    assert_string_equal(err.text, want);
    int guest = bound(s.peers);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    assert_true(datagram_peer_is_there(&peer));
    // Connected to us alone, as vfkit: still there. Its path removed: still there.
    struct sockaddr_un sa;
    int len = unix_address(&sa, s.ours, false, false);
    assert_int_equal(connect(guest, (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_true(datagram_peer_is_there(&peer));
    unlink(s.peers);
    assert_true(datagram_peer_is_there(&peer));
    // Another one in its place.
    int successor = bound(s.peers);
    assert_false(datagram_peer_is_there(&peer));
    close(guest);
    close(successor);
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(parting_ends_the_link_of_who_reads)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, s.peers);
    struct unix_listener l;
    struct datagram_peer peer;
    struct error err;
    int guest = bound(s.peers);
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    struct loop *loop = loop_new();
    struct receiver *r = receiver_new();
    r->link = link_new_message(loop, fcntl(l.fd, F_DUPFD_CLOEXEC, 0), &receiver_events, r);
    assert_non_null(r->link);
    static struct test_frame f;
    frame_fill(&f, 60, 1);
    assert_int_equal(send(l.fd, f.bytes, 60, 0), 60);
    struct sockaddr_un sa;
    int len = unix_address(&sa, s.ours, false, false);
    assert_int_equal(sendto(guest, f.bytes, 60, 0, (struct sockaddr *)&sa, (socklen_t)len), 60);
    turns(loop, 1);
    assert_int_equal(r->count, 1);
    close(guest);
    datagram_part(l.fd);
    turns(loop, 2);
    assert_int_equal(r->down, 1);
    assert_string_equal(r->why, "peer is gone");
    loop_free(loop);
    free(r);
    unix_listener_close(&l);
    scratch_free(&s);
}

TEST(path_in_use_is_refused_a_stale_one_replaced)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(s.ours, "");
    struct unix_listener l, second;
    struct error err;
    close(bound(s.ours)); // stale
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    assert_int_equal(datagram_open(&spec, &second, &err), -EADDRINUSE);
    unix_listener_close(&l);
    int foreign = bound(s.ours);
    assert_int_equal(datagram_open(&spec, &l, &err), -EADDRINUSE);
    close(foreign);
    unlink(s.ours);
    scratch_free(&s);
}

TEST(udp_is_bound_connected_and_empty)
{
    struct link_spec spec = {.kind = LINK_MESSAGE, .carrier = LINK_CARRIER_UDP, .fd = -1};
    struct unix_listener l, second;
    struct error err = {{0}};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int guest = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(guest, (struct sockaddr *)&sin, sizeof(sin)), 0);
    getsockname(guest, (struct sockaddr *)&sin, &len);
    snprintf(spec.peer_addr.host, sizeof(spec.peer_addr.host), "127.0.0.1");
    snprintf(spec.peer_addr.port, sizeof(spec.peer_addr.port), "%u", ntohs(sin.sin_port));
    snprintf(spec.addr.host, sizeof(spec.addr.host), "127.0.0.1");
    snprintf(spec.addr.port, sizeof(spec.addr.port), "%u", ntohs(sin.sin_port) ^ 1u);
    if (datagram_open(&spec, &l, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(send(l.fd, "frame", 5, 0), 5);
    expect_text(guest, "frame");
    assert_int_equal(datagram_open(&spec, &second, &err), -EADDRINUSE);
    char want[80];
    snprintf(want, sizeof(want), "127.0.0.1:%s: cannot bind: Address already in use",
             spec.addr.port);
    assert_string_equal(err.text, want);
    assert_int_equal(second.fd, -1);
    unix_listener_close(&l);
    close(guest);
}

TEST(hybrid_listens_at_each_port)
{
    struct scratch s = scratch_new();
    struct link_spec spec = {.kind = LINK_HYBRID, .fd = -1};
    struct unix_listener l[3];
    struct error err;
    struct stat st;
    char path[100];
    static const uint16_t ports[] = {600, 1, 65535};
    snprintf(spec.path, sizeof(spec.path), "%s/v", s.dir);
    assert_int_equal(link_open_hybrid(&spec, ports, 3, l, &err), 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/v_%u", s.dir, ports[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
    }
    // The second of them is taken: none is left behind.
    struct unix_listener m[2];
    static const uint16_t more[] = {700, 600};
    assert_int_equal(link_open_hybrid(&spec, more, 2, m, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "/v_600"));
    snprintf(path, sizeof(path), "%s/v_700", s.dir);
    assert_int_equal(stat(path, &st), -1);
    for (size_t i = 0; i < 3; i++)
        unix_listener_close(&l[i]);
    scratch_free(&s);
}

TEST(vsock_listens_or_says_why_not)
{
    struct link_spec spec = {.kind = LINK_VSOCK, .fd = -1, .cid = 1};
    struct error err = {{0}};
    static const uint16_t ports[] = {60001, 60002};
    int fds[2] = {-1, -1};
    int rc = link_open_vsock(&spec, ports, 2, fds, &err);
    if (rc < 0) {
        assert_true(strncmp(err.text, "vsock: ", 7) == 0);
        assert_int_equal(fds[0], -1);
        skip();
    }
    // A port of ours is not given twice, and the other one is closed again.
    static const uint16_t again[] = {60003, 60002};
    int more[2];
    assert_int_equal(link_open_vsock(&spec, again, 2, more, &err), -EADDRINUSE);
    assert_string_equal(err.text, "vsock: port 60002: cannot listen: Address already in use");
    assert_int_equal(more[0], -1);
    close(fds[0]);
    close(fds[1]);
}
