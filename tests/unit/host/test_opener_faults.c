// SPDX-License-Identifier: BSD-3-Clause
// Host ends of each kind of device are opened, used and closed while one call after the other
// fails, with each error that it can have. Each request is answered once, with an end or a reason,
// or it waits; no descriptor, process or socket is left.
#include "test.h"

#include "base/unix_listener.h"
#include "faults.h"
#include "host/opener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_US 20000 // for what waits for ever, when the next client's accept has failed
#define NTH_MAX   12
#define SESSIONS  2

struct bench {
    char dir[64];
    struct channel_spec spec;
    struct unix_access access;
    struct sockaddr_un client_of; // a host client connects there, sun_family 0: none
    bool ends_early;              // what was asked for is cancelled at once
    uint64_t talk_us;             // so long the ends are used, and end
    int errors;
    const char *terminal; // is our own, and standard input and output
    struct loop *loop;
    struct opener *opener;
    int answers[SESSIONS + 1];
    bool wrong;
};

static void
on_opened(void *ctx, uint64_t session, const int *fds, size_t nfds)
{
    struct bench *b = ctx;
    char byte = 'x';
    b->answers[session]++;
    for (size_t i = 0; i < nfds; i++) {
        if (i + 1 == nfds && write(fds[i], &byte, 1) < 0 && errno == EBADF)
            b->wrong = true;
        close(fds[i]);
    }
}

static void
on_refused(void *ctx, uint64_t session, int why)
{
    struct bench *b = ctx;
    b->answers[session]++;
    b->wrong |= why >= 0;
}

static bool
is_answered(const struct bench *b)
{
    for (int i = 1; i <= SESSIONS; i++)
        if (b->answers[i] == 0)
            return false;
    return true;
}

static void
turns(struct bench *b, uint64_t us)
{
    uint64_t end = loop_clock_us() + us;
    do
        loop_turn(b->loop, 1);
    while (loop_clock_us() < end);
}

// Also with a client that has left already.
static void
connect_clients(const struct bench *b, int fds[SESSIONS])
{
    for (int i = 0; i < SESSIONS; i++) {
        fds[i] = -1;
        if (b->client_of.sun_family == 0)
            continue;
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fds[i] >= 0)
            connect(fds[i], (const struct sockaddr *)&b->client_of, sizeof(b->client_of));
    }
}

static void
use(struct bench *b)
{
    const struct proxy_peer peer = {.addr = 0x0a00020f, .port = 40000};
    int clients[SESSIONS];
    for (uint64_t session = 1; session <= SESSIONS; session++)
        b->wrong |= !opener_open(b->opener, session, 0, &peer);
    b->wrong |= opener_open(b->opener, SESSIONS, 0, &peer) && opener_counts(&b->spec.device) &&
                b->answers[SESSIONS] == 0;
    connect_clients(b, clients);
    if (b->ends_early)
        opener_cancel(b->opener, 1);
    uint64_t end = loop_clock_us() + ANSWER_US;
    while (!is_answered(b) && loop_clock_us() < end)
        loop_turn(b->loop, 1);
    turns(b, b->talk_us);
    for (uint64_t session = 1; session <= SESSIONS; session++)
        if (!opener_closed(b->opener, session))
            opener_cancel(b->opener, session);
    turns(b, b->talk_us);
    for (int i = 0; i < SESSIONS; i++)
        if (clients[i] >= 0)
            close(clients[i]);
}

// As a daemon started by hand has it.
static void
take_terminal(const char *name)
{
    setsid();
    int fd = open(name, O_RDWR | O_CLOEXEC);
    ioctl(fd, TIOCSCTTY, 0);
    dup2(fd, 0);
    dup2(fd, 1);
    close(fd);
}

static enum faults_end
serve(void *ctx)
{
    struct bench *b = ctx;
    struct error err = {{0}};
    if (b->terminal)
        take_terminal(b->terminal);
    b->loop = loop_new();
    if (!b->loop)
        return FAULTS_FAILED;
    struct opener_config config = {.loop = b->loop,
                                   .guest = "vm1",
                                   .channels = &b->spec,
                                   .channel_count = 1,
                                   .has_stdio = true,
                                   .access = &b->access,
                                   .max_pending = 8,
                                   .events = {on_opened, on_refused},
                                   .ctx = b};
    b->opener = opener_new(&config, &err);
    enum faults_end end = b->opener ? FAULTS_WENT_WELL : faults_failed(&err);
    if (b->opener)
        use(b);
    opener_free(b->opener);
    loop_free(b->loop);
    return b->wrong ? FAULTS_WRONG : end;
}

static void
check_no_child(void *ctx, const char *failed_call)
{
    if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
        fail_msg("a process is left when %s failed", failed_call);
}

// The device's text has DIR where the bench's directory is to be.
static void
bench_init(struct bench *b, const char *device)
{
    char text[200];
    struct error err = {{0}};
    memset(b, 0, sizeof(*b));
    b->access = UNIX_ACCESS_AS_MADE;
    b->talk_us = 1000;
    b->errors = FAULTS_ALL;
    snprintf(b->dir, sizeof(b->dir), "/tmp/test-faults-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    const char *dir = strstr(device, "DIR");
    snprintf(text, sizeof(text), "600:%.*s%s%s", dir ? (int)(dir - device) : 200, device,
             dir ? b->dir : "", dir ? dir + 3 : "");
    if (channel_spec_parse(text, &b->spec, &err) < 0)
        fail_msg("%s", err.text);
}

static void
bench_try(struct bench *b)
{
    char text[128];
    struct faults f = {
        .work = serve, .check = check_no_child, .ctx = b, .errors = b->errors, .nth_max = NTH_MAX};
    assert_true(faults_try_all(&f) >= 10);
    snprintf(text, sizeof(text), "rm -r %s", b->dir); // with what failed removals have left
    assert_int_equal(system(text), 0);
}

// One that needs nothing around it.
static void
try_device(const char *device)
{
    struct bench b;
    bench_init(&b, device);
    bench_try(&b);
}

static int
listener_at(const struct bench *b, const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", b->dir, name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    return fd;
}

TEST(unix_client)
{
    struct bench b;
    bench_init(&b, "unix:DIR/s,proxy=v2,logfile=DIR");
    int l = listener_at(&b, "s");
    snprintf(b.spec.device.logfile, sizeof(b.spec.device.logfile), "%s/log", b.dir);
    bench_try(&b);
    close(l);
}

TEST(unix_client_that_tries_again)
{
    struct bench b;
    bench_init(&b, "unix:DIR/s,reconnect=1");
    b.ends_early = true;
    b.errors = FAULTS_FIRST;
    bench_try(&b);
}

TEST(unix_server)
{
    struct bench b;
    bench_init(&b, "unix:DIR/s,server,proxy=v2");
    b.access = (struct unix_access){0660, (uid_t)-1, getegid()};
    b.client_of.sun_family = AF_UNIX;
    snprintf(b.client_of.sun_path, sizeof(b.client_of.sun_path), "%s/s", b.dir);
    bench_try(&b);
}

static int
tcp_listener(char *device, size_t size)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 4096), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(device, size, "tcp:127.0.0.1:%u,nodelay,proxy=v2", ntohs(sa.sin_port));
    return fd;
}

TEST(tcp_client)
{
    char device[80];
    int l = tcp_listener(device, sizeof(device));
    try_device(device);
    close(l);
}

TEST(tcp_client_of_nobody)
{
    char device[80];
    close(tcp_listener(device, sizeof(device)));
    try_device(device);
}

TEST(tcp_server)
{
    try_device("tcp:127.0.0.1:47605,server,nowait");
}

TEST(udp)
{
    try_device("udp:127.0.0.1:9@127.0.0.1:47606");
}

TEST(vsock)
{
    try_device("vsock:1:47607");
}

TEST(pty)
{
    try_device("pty:DIR/tty");
}

TEST(file)
{
    try_device("file:DIR/out");
}

static void
make_fifo(const struct bench *b, const char *name)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/%s", b->dir, name);
    assert_int_equal(mkfifo(path, 0600), 0);
}

TEST(single_fifo)
{
    struct bench b;
    bench_init(&b, "pipe:DIR/fifo");
    make_fifo(&b, "fifo");
    bench_try(&b);
}

TEST(pair_of_fifos)
{
    struct bench b;
    bench_init(&b, "pipe:DIR/fifo");
    make_fifo(&b, "fifo.in");
    make_fifo(&b, "fifo.out");
    bench_try(&b);
}

static int
make_terminal(char *name, size_t size)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    assert_int_equal(ptsname_r(master, name, size), 0);
    return master;
}

TEST(terminal)
{
    char device[100], name[64];
    int master = make_terminal(name, sizeof(name));
    snprintf(device, sizeof(device), "serial:%s", name);
    try_device(device);
    close(master);
}

TEST(own_terminal)
{
    static const char *const devices[] = {"stdio", "stdio,signal=off"};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        char name[64];
        int master = make_terminal(name, sizeof(name));
        bench_init(&b, devices[i]);
        b.terminal = name;
        bench_try(&b);
        close(master);
    }
}

TEST(half_a_pair_of_fifos_is_none)
{
    static const char *const halves[] = {"fifo.in", "fifo.out"};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        bench_init(&b, "pipe:DIR/fifo");
        make_fifo(&b, "fifo");
        make_fifo(&b, halves[i]);
        bench_try(&b);
    }
}

TEST(udp_from_a_port_of_its_own_and_host_by_default)
{
    try_device("udp::9@:47608");
}

TEST(pty_with_a_name_and_a_log_that_grows)
{
    try_device("pty,name=console,logfile=DIR/log,logappend");
}

TEST(command)
{
    struct bench b;
    bench_init(&b, "cmd:cat");
    b.errors = FAULTS_FIRST;
    bench_try(&b);
}

TEST(command_that_talks_and_ends)
{
    struct bench b;
    bench_init(&b, "cmd:echo something >&2; exit 3");
    b.errors = FAULTS_FIRST;
    b.talk_us = 20000;
    bench_try(&b);
}
