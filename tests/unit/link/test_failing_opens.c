// SPDX-License-Identifier: BSD-3-Clause
// Opening when the kernel refuses a call: what was to be opened is named in the error, nothing
// stays open. The helper in a namespace fails as the work in it does. Run as root and once more as
// a user without any privilege.
#include "link/datagram.h"
#include "link/netns.h"
#include "link/open.h"
#include "link/socket_links.h"

#include "failing.h"
#include "guest.h"
#include "ns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static struct error err;

static void
expect_error(int rc, int errnum, const char *text)
{
    assert_int_equal(rc, -errnum);
    if (strcmp(err.text, text) != 0)
        fail_msg("'%s', not '%s'", err.text, text);
}

// --- here ----------------------------------------------------------------------------------------

static struct link_spec
spec_of(enum link_kind kind, const char *path)
{
    struct link_spec spec = {.kind = kind, .fd = -1};
    snprintf(spec.path, sizeof(spec.path), "%s", path);
    return spec;
}

static struct link_spec
inet_spec(const char *host, const char *port)
{
    struct link_spec spec = {.kind = LINK_STREAM, .fd = -1};
    snprintf(spec.addr.host, sizeof(spec.addr.host), "%s", host);
    snprintf(spec.addr.port, sizeof(spec.addr.port), "%s", port);
    return spec;
}

TEST(connect_says_what_failed)
{
    bool pending;
    struct link_spec spec = spec_of(LINK_STREAM, "/nonexistent/s");
    fail_next("socket", EMFILE);
    expect_error(link_connect(&spec, &pending, &err), EMFILE,
                 "/nonexistent/s: cannot make a socket: Too many open files");
    failed(1);
    spec = inet_spec("::1", "1");
    fail_some("socket", 1, 10, EACCES);
    expect_error(link_connect(&spec, &pending, &err), EACCES,
                 "[::1]:1: cannot connect: Permission denied");
    failed(1);
    spec = inet_spec("127.0.0.1", "1");
    fail_next("connect", ENETUNREACH);
    expect_error(link_connect(&spec, &pending, &err), ENETUNREACH,
                 "127.0.0.1:1: cannot connect: Network is unreachable");
    failed(1);
    fail_next("getsockopt", ENOBUFS);
    assert_int_equal(link_connect(&spec, &pending, &err), -ENOBUFS);
    failed(1);
}

TEST(connect_that_is_there_at_once_is_not_pending)
{
    // No host is the local one.
    struct link_spec spec = inet_spec("", "0");
    struct unix_listener l;
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    bool pending = true;
    assert_int_equal(link_listen(&spec, &l, &err), 0);
    assert_int_equal(getsockname(l.fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(spec.addr.port, sizeof(spec.addr.port), "%u",
             ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port));
    snprintf(spec.addr.host, sizeof(spec.addr.host), "localhost");
    int fd = link_connect(&spec, &pending, &err);
    assert_true(fd >= 0);
    assert_false(pending);
    close(fd);
    unix_listener_close(&l);
}

TEST(listen_says_what_failed)
{
    struct link_spec spec = inet_spec("127.0.0.1", "0");
    struct unix_listener l;
    const char *const calls[] = {"setsockopt", "bind", "listen"};
    for (int i = 0; i < 3; i++) {
        fail_next(calls[i], ENOMEM);
        expect_error(link_listen(&spec, &l, &err), ENOMEM,
                     "127.0.0.1:0: cannot listen: Cannot allocate memory");
        failed(1);
    }
    spec = spec_of(LINK_MESSAGE, "/nonexistent/s");
    assert_int_equal(link_listen(&spec, &l, &err), -ENOENT);
}

static void
expect_given(enum link_kind kind, int fd, const char *text)
{
    struct link_spec spec = {.kind = kind, .fd = fd};
    bool pending;
    char want[120];
    int rc = kind == LINK_TAP      ? link_open_tap(&spec, &err)
             : kind == LINK_PACKET ? link_open_packet(&spec, &err)
                                   : link_connect(&spec, &pending, &err);
    snprintf(want, sizeof(want), "fd %d: %s", fd, text);
    if (text[0])
        expect_error(rc, rc < 0 ? -rc : 0, want);
    assert_int_equal(rc < 0, text[0] != '\0');
}

TEST(given_descriptors_are_what_they_have_to_be)
{
    int pipes[2], stream[2], seqpacket[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, seqpacket), 0);
    int dgram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const enum link_kind kinds[] = {LINK_MESSAGE, LINK_VHOST_USER, LINK_TAP, LINK_PACKET};
    for (int i = 0; i < 4; i++)
        expect_given(kinds[i], 999, "Bad file descriptor");
    expect_given(LINK_MESSAGE, pipes[0], "not a datagram or SOCK_SEQPACKET socket");
    expect_given(LINK_MESSAGE, stream[0], "not a datagram or SOCK_SEQPACKET socket");
    expect_given(LINK_MESSAGE, dgram,
                 "a socket that is connected to nobody: Transport endpoint is not connected");
    expect_given(LINK_MESSAGE, seqpacket[0], "");
    expect_given(LINK_STREAM, pipes[0], "not a stream socket");
    expect_given(LINK_VHOST_USER, dgram, "not a Unix stream socket");
    expect_given(LINK_VHOST_USER, tcp, "not a Unix stream socket");
    expect_given(LINK_VHOST_USER, stream[0], "");
    fail_some("getsockopt", 2, 0, ENOBUFS);
    expect_given(LINK_VHOST_USER, stream[0], "not a Unix stream socket");
    failed(1);
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(stream[i]);
        close(seqpacket[i]);
    }
    close(dgram);
    close(tcp);
}

// --- datagrams -----------------------------------------------------------------------------------

TEST(udp_says_what_failed)
{
    struct link_spec spec = inet_spec("127.0.0.1", "0");
    struct unix_listener l;
    spec.carrier = LINK_CARRIER_UDP;
    spec.peer_addr = spec.addr;
    snprintf(spec.peer_addr.port, sizeof(spec.peer_addr.port), "9");
    fail_next("socket", EMFILE);
    expect_error(datagram_open(&spec, &l, &err), EMFILE,
                 "cannot make a UDP socket: Too many open files");
    failed(1);
    fail_next("connect", EACCES);
    expect_error(datagram_open(&spec, &l, &err), EACCES,
                 "127.0.0.1:9: cannot be the peer: Permission denied");
    failed(1);
    // One end has names of IPv6 alone.
    snprintf(spec.peer_addr.host, sizeof(spec.peer_addr.host), "::1");
    assert_true(datagram_open(&spec, &l, &err) < 0);
    snprintf(spec.peer_addr.host, sizeof(spec.peer_addr.host), "no name");
    assert_int_equal(datagram_open(&spec, &l, &err), -EHOSTUNREACH);
    spec.peer_addr = spec.addr;
    snprintf(spec.addr.host, sizeof(spec.addr.host), "no name");
    assert_int_equal(datagram_open(&spec, &l, &err), -EHOSTUNREACH);
}

// Of the local end's two families the peer's is taken.
TEST(udp_binds_in_the_family_of_its_peer)
{
    struct link_spec spec = inet_spec("", "0");
    struct unix_listener l;
    const char *const peers[] = {"127.0.0.1", "::1"};
    const int families[] = {AF_INET, AF_INET6};
    spec.carrier = LINK_CARRIER_UDP;
    snprintf(spec.peer_addr.port, sizeof(spec.peer_addr.port), "9");
    for (int i = 0; i < 2; i++) {
        snprintf(spec.peer_addr.host, sizeof(spec.peer_addr.host), "%s", peers[i]);
        if (datagram_open(&spec, &l, &err) < 0) {
            assert_int_equal(i, 1); // no IPv6 here
            continue;
        }
        struct sockaddr_storage sa;
        socklen_t len = sizeof(sa);
        assert_int_equal(getsockname(l.fd, (struct sockaddr *)&sa, &len), 0);
        assert_int_equal(sa.ss_family, families[i]);
        unix_listener_close(&l);
    }
}

struct scratch {
    char dir[64], ours[80], peers[80];
};

static struct scratch
scratch_new(void)
{
    struct scratch s = {.dir = "/tmp/vmc-test-fail-XXXXXX"};
    assert_non_null(mkdtemp(s.dir));
    snprintf(s.ours, sizeof(s.ours), "%s/ours", s.dir);
    snprintf(s.peers, sizeof(s.peers), "%s/peer", s.dir);
    return s;
}

static int
bound(const char *path)
{
    struct sockaddr_un sa;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int len = unix_address(&sa, path, false, false);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

static void
send_to(int fd, const char *path)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, path, false, false);
    assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, (socklen_t)len), 1);
}

TEST(peer_of_datagrams_is_found_in_spite_of_interruptions)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(LINK_MESSAGE, s.ours);
    struct unix_listener l;
    struct datagram_peer peer;
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    int guest = bound(s.peers);
    send_to(guest, s.ours);
    fail_next("recvmsg", EINTR);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    failed(1);
    // Not to be asked any more: taken as there, since nothing says otherwise.
    fail_next("socket", EMFILE);
    assert_true(datagram_peer_is_there(&peer));
    failed(1);
    peer.dev++; // another file system
    assert_false(datagram_peer_is_there(&peer));
    peer.ino = 0; // never seen
    assert_true(datagram_peer_is_there(&peer));
    // Who we are cannot be told: what is there is a stranger's.
    datagram_part(l.fd);
    fail_next("getsockname", ENOBUFS);
    assert_int_equal(datagram_meet(l.fd, &spec, &peer, &err), 0);
    failed(1);
    fail_next("connect", ENOMEM);
    datagram_part(l.fd);
    failed(1);
    fail_next("getsockname", ENOBUFS);
    datagram_part(l.fd);
    failed(1);
    close(guest);
    unix_listener_close(&l);
    unlink(s.peers);
    assert_int_equal(rmdir(s.dir), 0);
}

TEST(peer_without_a_path_that_is_gone_is_named_so)
{
    struct scratch s = scratch_new();
    struct link_spec spec = spec_of(LINK_MESSAGE, s.ours);
    struct unix_listener l;
    struct datagram_peer peer;
    const sa_family_t family = AF_UNIX; // autobind, unix(7)
    assert_int_equal(datagram_open(&spec, &l, &err), 0);
    int guest = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(guest, (const struct sockaddr *)&family, sizeof(family)), 0);
    send_to(guest, s.ours);
    close(guest);
    expect_error(datagram_meet(l.fd, &spec, &peer, &err), ECONNREFUSED,
                 "a peer without a path: cannot connect: Connection refused");
    unix_listener_close(&l);
    assert_int_equal(rmdir(s.dir), 0);
}

TEST(vsock_says_what_failed)
{
    struct link_spec spec = {.kind = LINK_VSOCK, .fd = -1, .cid = 1};
    const uint16_t ports[] = {60011, 60012};
    int fds[2] = {-1, -1};
    fail_next("socket", EAFNOSUPPORT);
    expect_error(link_open_vsock(&spec, ports, 2, fds, &err), EAFNOSUPPORT,
                 "vsock: cannot make a socket: Address family not supported by protocol");
    failed(1);
    assert_int_equal(fds[0], -1);
    fail_next("listen", EADDRINUSE);
    assert_true(link_open_vsock(&spec, ports, 2, fds, &err) < 0);
    fail_page()->armed = 0;
    assert_int_equal(fds[0], -1);
    // A guest that is none of this host's: where nothing could bring it here, that is said.
    spec.cid = 3;
    if (link_open_vsock(&spec, ports, 2, fds, &err) < 0) {
        assert_int_equal(strncmp(err.text, "vsock: ", 7), 0);
        return;
    }
    close(fds[0]);
    close(fds[1]);
}

// --- namespaces ----------------------------------------------------------------------------------

static int
nothing(void *arg, int *fds, size_t *count, struct error *out)
{
    return arg ? error_set(out, ENOSPC, "nothing") : 0;
}

static int
two_descriptors(void *arg, int *fds, size_t *count, struct error *out)
{
    fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fds[1] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *count = 2;
    return 0;
}

static void
expect_no_helper(const struct ns *ns, const char *call, int errnum, int rc, const char *text)
{
    int fds[NETNS_FDS_MAX];
    size_t count;
    char want[200];
    fail_next(call, errnum);
    snprintf(want, sizeof(want), "%s: %s", ns->path, text);
    expect_error(netns_run(ns->path, two_descriptors, NULL, fds, &count, &err), rc, want);
    failed(1);
}

TEST(ns_helper_that_cannot_be_is_told)
{
    struct ns ns = ns_open();
    int fds[NETNS_FDS_MAX];
    size_t count;
    expect_no_helper(&ns, "socketpair", EMFILE, EMFILE,
                     "cannot make a socket for the helper: Too many open files");
    expect_no_helper(&ns, "fork", EAGAIN, EAGAIN,
                     "cannot start the helper: Resource temporarily unavailable");
    expect_no_helper(&ns, "sendmsg", ENOMEM, EIO, "no answer from the helper: Input/output error");
    expect_no_helper(&ns, "recvmsg", ENOMEM, ENOMEM,
                     "no answer from the helper: Cannot allocate memory");
    expect_no_helper(&ns, "open64", EMFILE, EMFILE, "Too many open files");
    fail_next("waitpid", EINTR);
    assert_int_equal(netns_run(ns.path, nothing, NULL, fds, &count, &err), 0);
    failed(1);
    fail_next("waitpid", ECHILD); // somebody else has reaped it
    assert_int_equal(netns_run(ns.path, nothing, NULL, fds, &count, &err), 0);
    failed(1);
    assert_true(waitpid(-1, NULL, 0) > 0);
    assert_int_equal(netns_run(ns.path, nothing, &ns, fds, &count, NULL), -ENOSPC);
    ns_close(&ns);
}

// A namespace that we may look at and not enter.
TEST(namespace_of_others_is_not_entered)
{
    enum { NOBODY = 65534 };
    int status, fds[NETNS_FDS_MAX];
    size_t count;
    if (getuid() != 0)
        skip();
    struct ns ns = ns_open();
    int fd = open(ns.path, O_RDONLY | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
        fail_page();
        if (setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0)
            _exit(1);
        int rc = netns_run(path, nothing, NULL, fds, &count, &err);
        if (rc != -EPERM || !strstr(err.text, "cannot enter the namespace"))
            _exit(2);
        fail_next("ioctl", ENOTTY); // nor whose it is
        rc = netns_run(path, nothing, NULL, fds, &count, &err);
        _exit(rc == -EPERM && fail_page()->injected == 1 ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
    close(fd);
    ns_close(&ns);
}

// One that an unprivileged user has made, entered by that user.
TEST(namespace_of_our_own_user_namespace_is_entered)
{
    enum { NOBODY = 65534 };
    int status, fds[NETNS_FDS_MAX];
    size_t count;
    if (getuid() != 0)
        skip();
    pid_t pid = fork();
    if (pid == 0) {
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
            prctl(PR_SET_DUMPABLE, 1) < 0)
            _exit(1);
        struct ns ns = ns_open();
        int rc = netns_run(ns.path, nothing, NULL, fds, &count, &err);
        close(ns.hold);
        waitpid(ns.pid, NULL, 0);
        _exit(rc == 0 ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int
do_work(void *arg, int *fds, size_t *count, struct error *out)
{
    int rc = ((int (*)(struct error *))arg)(out);
    if (rc >= 0 && rc != 0) {
        fds[0] = rc;
        *count = 1;
    }
    return rc < 0 ? rc : 0;
}

// How often the helper calls ioctl to get in.
static uint32_t
ioctls_before(void)
{
    return getuid() != 0;
}

// Work inside the namespace whose nth call of that name fails.
static void
expect_failing(const struct ns *ns, int (*fn)(struct error *), const char *call, uint32_t nth,
               int errnum, const char *text)
{
    int fds[NETNS_FDS_MAX];
    size_t count;
    fail_some(call, nth, 0, errnum);
    expect_error(netns_run(ns->path, do_work, (void *)fn, fds, &count, &err), errnum, text);
    failed(1);
}

static int
lo_up(struct error *out)
{
    return netns_link_up("lo", out);
}

static int
lo_mtu(struct error *out)
{
    return netns_set_mtu("lo", 2000, out);
}

static int
lo_addr(struct error *out)
{
    return netns_add_addr("lo", PEER_ADDR, 32, out);
}

static int
nowhere_addr(struct error *out)
{
    return netns_add_addr("eth9", PEER_ADDR, 32, out);
}

static int
packet_of_lo(struct error *out)
{
    return netns_open_packet("lo", out);
}

static int
tap(struct error *out)
{
    return netns_open_tap("tap0", out);
}

static int
listener(struct error *out)
{
    const struct ipv6_addr none = {{0}};
    const uint16_t port = 600;
    struct link_listener made = LINK_LISTENER_NONE;
    int rc = netns_listen(PEER_ADDR, &none, &port, 1, &made, out);
    return rc < 0 ? rc : made.fd;
}

// What was made by IPv4 is closed again.
static int
listener6(struct error *out)
{
    const struct ipv6_addr addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
    const uint16_t port = 600;
    struct link_listener made = LINK_LISTENER_NONE;
    int rc = netns_listen(PEER_ADDR, &addr6, &port, 1, &made, out);
    return rc < 0 ? rc : made.fd6;
}

TEST(ns_interface_work_says_what_failed)
{
    struct ns ns = ns_open();
    int fds[NETNS_FDS_MAX];
    size_t count;
    const char *const up = "lo: cannot set the interface up: Cannot allocate memory";
    const char *const mtu = "lo: cannot set the MTU to 2000: Cannot allocate memory";
    const char *const addr = "lo: cannot add the address 10.0.2.4/32: Cannot allocate memory";
    const char *const packet =
        "lo: cannot open a packet socket on the interface: Cannot allocate memory";
    const char *const listens = "10.0.2.4:600: cannot listen: Cannot allocate memory";
    expect_failing(&ns, lo_up, "socket", 1, ENOMEM, up);
    expect_failing(&ns, lo_up, "ioctl", ioctls_before() + 1, ENOMEM, up);
    expect_failing(&ns, lo_up, "ioctl", ioctls_before() + 2, ENOMEM, up);
    expect_failing(&ns, lo_mtu, "socket", 1, ENOMEM, mtu);
    expect_failing(&ns, lo_mtu, "ioctl", ioctls_before() + 1, ENOMEM, mtu);
    expect_failing(&ns, lo_addr, "socket", 1, ENOMEM, addr);
    expect_failing(&ns, lo_addr, "send", 1, ENOMEM, addr);
    expect_failing(&ns, lo_addr, "recv", 1, ENOMEM, addr);
    expect_failing(&ns, packet_of_lo, "socket", 1, ENOMEM,
                   "lo: cannot make a packet socket: Cannot allocate memory");
    expect_failing(&ns, packet_of_lo, "bind", 1, ENOMEM, packet);
    for (uint32_t nth = 1; nth <= 3; nth++)
        expect_failing(&ns, packet_of_lo, "setsockopt", nth, ENOMEM, packet);
    // Less room than was wished for is room.
    fail_some("setsockopt", 4, 0, EPERM);
    assert_int_equal(netns_run(ns.path, do_work, (void *)packet_of_lo, fds, &count, &err), 0);
    failed(1);
    close(fds[0]);
    expect_failing(&ns, listener, "socket", 3, ENOMEM,
                   "10.0.2.4:600: cannot make a socket: Cannot allocate memory");
    expect_failing(&ns, listener, "setsockopt", 1, ENOMEM, listens);
    expect_failing(&ns, listener, "bind", 1, ENOMEM, listens);
    assert_int_equal(netns_run(ns.path, do_work, (void *)lo_up, fds, &count, &err), 0);
    assert_int_equal(netns_run(ns.path, do_work, (void *)lo_addr, fds, &count, &err), 0);
    expect_failing(&ns, listener, "listen", 1, ENOMEM, listens);
    // That its address is local is waited for if it can be.
    fail_some("socket", 4, 0, ENOMEM);
    assert_int_equal(netns_run(ns.path, do_work, (void *)listener6, fds, &count, &err), 0);
    failed(1);
    close(fds[0]);
    fail_some("bind", 1, 0, ENOMEM);
    assert_int_equal(netns_run(ns.path, do_work, (void *)listener6, fds, &count, &err), 0);
    failed(1);
    close(fds[0]);
    expect_failing(&ns, listener6, "listen", 2, ENOMEM,
                   "[fd10:0:2::4]:600: cannot listen: Cannot allocate memory");
    struct link_spec spec = {.kind = LINK_NETNS, .fd = -1};
    const uint16_t port = 601;
    snprintf(spec.path, sizeof(spec.path), "%s", ns.path);
    fail_next("socket", ENOMEM);
    struct link_listener made;
    expect_error(link_open_netns(&spec, PEER_ADDR, &(struct ipv6_addr){{0}}, &port, 1, &made, &err),
                 ENOMEM, up);
    failed(1);
    expect_error(netns_run(ns.path, do_work, (void *)nowhere_addr, fds, &count, &err), ENODEV,
                 "eth9: cannot add the address 10.0.2.4/32: No such device");
    ns_close(&ns);
}

TEST(ns_tap_says_what_failed)
{
    struct ns ns = ns_open();
    int fds[NETNS_FDS_MAX];
    size_t count;
    // The first file is the namespace.
    expect_failing(&ns, tap, "open64", 2, EMFILE, "/dev/net/tun: Too many open files");
    expect_failing(&ns, tap, "ioctl", ioctls_before() + 1, EBUSY,
                   "tap0: cannot open the tap interface: Device or resource busy");
    // Given with other flags than ours.
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &ifr) == 0)
        expect_given(LINK_TAP, fd,
                     "opened with other flags than IFF_TAP | IFF_NO_PI | IFF_VNET_HDR");
    close(fd);
    struct link_spec spec = spec_in(&ns, LINK_TAP, "tap0");
    fd = link_open_tap(&spec, &err);
    assert_true(fd >= 0);
    expect_given(LINK_TAP, fd, "");
    close(fd);
    spec = spec_in(&ns, LINK_PACKET, "lo");
    assert_int_equal(netns_run(ns.path, do_work, (void *)lo_up, fds, &count, &err), 0);
    fd = link_open_packet(&spec, &err);
    expect_given(LINK_PACKET, fd, "");
    close(fd);
    ns_close(&ns);
}

TEST(names_that_no_interface_has_are_refused)
{
    const char *const names[] = {"", "a-name-that-is-too-long"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(netns_link_up(names[i], &err), -ENODEV);
        assert_int_equal(netns_set_mtu(names[i], 1500, &err), -ENODEV);
        assert_int_equal(netns_open_tap(names[i], &err), -ENODEV);
        assert_int_equal(netns_add_addr(names[i], PEER_ADDR, 32, &err), -ENODEV);
    }
    assert_int_equal(netns_add_veth(names[1], "b", &err), -ENAMETOOLONG);
    assert_int_equal(netns_add_veth("a", names[1], &err), -ENAMETOOLONG);
    // Nothing is to be seen of these, but that they open nothing.
    fail_some("open64", 1, 10, EMFILE);
    netns_disable_ipv6("../../x");
    netns_disable_ipv6(names[1]);
    failed(0);
    netns_disable_ipv6("no-such-one");
    struct link_spec spec = {.kind = LINK_PACKET, .fd = -1, .ifname = "no-such-one"};
    assert_true(link_open_packet(&spec, &err) < 0);
    assert_int_equal(strncmp(err.text, "no-such-one: ", 13), 0);
}

TEST(all_of_it_without_privilege)
{
    ns_rerun_as_nobody();
}
