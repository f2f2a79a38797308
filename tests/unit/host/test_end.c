// SPDX-License-Identifier: BSD-3-Clause
// Host ends at the edges that relays seldom come to: the wrong descriptors, no memory, datagrams
// that fail or come empty, a log that takes nothing more, bytes that change while they are written.
#include "test.h"

#include "faults.h"
#include "host/end.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static struct device
device_of(const char *text)
{
    struct device dev;
    struct error err = {{0}};
    if (device_parse(text, &dev, &err) < 0)
        fail_msg("%s", err.text);
    return dev;
}

static void
pair(int type, int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

static bool
is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

TEST(descriptors_that_a_device_does_not_have_are_refused_and_closed)
{
    struct host_end e;
    int fds[2];
    struct device unix_dev = device_of("unix:/s"), null = device_of("null");
    pair(SOCK_STREAM, fds);
    assert_int_equal(host_end_init(&e, &unix_dev, -1, fds, 2), -EPROTO);
    assert_true(is_closed(fds[0]) && is_closed(fds[1]));
    assert_int_equal(host_end_init(&e, &unix_dev, -1, fds, 0), -EPROTO);
    pair(SOCK_STREAM, fds);
    assert_int_equal(host_end_init(&e, &null, -1, fds, 1), -EPROTO);
    assert_true(is_closed(fds[0]));
    close(fds[1]);
}

static enum faults_end
init_end(void *ctx)
{
    struct host_end e;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return FAULTS_FAILED;
    int rc = host_end_init(&e, ctx, -1, &fd, 1);
    host_end_close(&e); // also of one that failed
    return rc == 0 ? FAULTS_WENT_WELL : rc == -ENOMEM ? FAULTS_FAILED : FAULTS_WRONG;
}

TEST(end_without_memory_is_none)
{
    static const char *const texts[] = {"udp:127.0.0.1:9", "telnet:127.0.0.1:9",
                                        "websocket:127.0.0.1:9,server", "unix:/s,telnet=on"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct device dev = device_of(texts[i]);
        struct faults f = {.work = init_end, .ctx = &dev, .errors = FAULTS_ALL};
        assert_true(faults_try_all(&f) > 2);
    }
}

TEST(memory_of_each_kind_of_end)
{
    struct device udp = device_of("udp:127.0.0.1:9"), telnet = device_of("telnet:127.0.0.1:9");
    struct device file = device_of("file:/f"), null = device_of("null");
    size_t one = host_end_memory(&udp);
    assert_true(one >= 64 * 1024);
    assert_true(host_end_memory(&telnet) > 2 * one);
    assert_int_equal(host_end_memory(&file), 0);
    assert_int_equal(host_end_memory(&null), 0);
    assert_int_equal(host_end_memory(NULL), 0);
}

// --- datagrams -----------------------------------------------------------------------------------

static void
datagram_end(struct host_end *e, int fd)
{
    struct device udp = device_of("udp:127.0.0.1:9");
    assert_int_equal(host_end_init(e, &udp, -1, &fd, 1), 0);
}

TEST(datagrams_that_nobody_takes_are_lost)
{
    struct host_end e;
    struct iovec iov[2] = {{"abc", 3}, {"de", 2}};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); // with no peer
    datagram_end(&e, fd);
    assert_int_equal(host_end_write(&e, iov, 2), 5);
    host_end_close(&e);
}

TEST(error_of_an_earlier_datagram_does_not_lose_the_next)
{
    struct host_end e;
    struct iovec iov = {"abc", 3};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    char byte;
    int peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(peer, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(peer, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    close(peer);
    datagram_end(&e, fd);
    assert_int_equal(host_end_write(&e, &iov, 1), 3); // ICMP: nobody there
    peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(peer, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(host_end_write(&e, &iov, 1), 3);
    assert_int_equal(recv(peer, &byte, 1, MSG_TRUNC), 3);
    close(peer);
    host_end_close(&e);
}

TEST(datagrams_wait_for_room)
{
    struct host_end e;
    int fds[2];
    struct iovec iov[2] = {{"abc", 3}, {"de", 2}};
    char byte;
    ssize_t n = 0;
    pair(SOCK_DGRAM, fds);
    datagram_end(&e, fds[0]);
    for (int i = 0; i < 100000 && (n = host_end_write(&e, iov, 1)) == 3; i++)
        ;
    assert_int_equal(n, -EAGAIN);
    assert_int_equal(recv(fds[1], &byte, 1, 0), 1);
    assert_int_equal(host_end_write(&e, iov, 2), 3); // room for one
    close(fds[1]);
    host_end_close(&e);
}

TEST(empty_datagrams_are_passed_over_a_few_at_a_time)
{
    struct host_end e;
    int fds[2], sent = 0;
    char bytes[4];
    struct iovec iov = {bytes, sizeof(bytes)};
    const int size = 1 << 20;
    pair(SOCK_DGRAM, fds);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    close(fds[0]);
    close(fds[1]);
    for (int i = 0; i < 2; i++)
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&sa, &len), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    assert_int_equal(connect(fds[1], (struct sockaddr *)&sa, len), 0);
    for (; sent < 100; sent++)
        assert_int_equal(send(fds[1], "", 0, 0), 0);
    assert_int_equal(send(fds[1], "abcdef", 6, 0), 6);
    datagram_end(&e, fds[0]);
    assert_int_equal(host_end_read(&e, &iov, 1), -EINTR);
    assert_int_equal(host_end_read(&e, &iov, 1), 4); // the rest stays
    assert_memory_equal(bytes, "abcd", 4);
    assert_int_equal(host_end_read(&e, &iov, 1), 2);
    assert_int_equal(host_end_read(&e, &iov, 1), -EAGAIN);
    close(fds[1]);
    host_end_close(&e);
}

// --- files and logs ------------------------------------------------------------------------------

TEST(file_that_takes_nothing_is_full)
{
    struct host_end e;
    struct device file = device_of("file:/f");
    struct iovec iov = {"", 0};
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(host_end_init(&e, &file, -1, &fd, 1), 0);
    assert_int_equal(host_end_write(&e, &iov, 1), -EAGAIN);
    host_end_close(&e);
}

TEST(log_gets_what_was_taken_and_its_failure_is_told_once)
{
    struct host_end e;
    int fds[2], log[2];
    char bytes[8];
    static char many[1 << 20];
    struct iovec iov[3] = {{"ab", 2}, {"cd", 2}, {many, sizeof(many)}};
    struct device dev = device_of("unix:/s");
    pair(SOCK_STREAM, fds);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(host_end_init(&e, &dev, log[1], fds, 1), 0);
    assert_int_equal(host_end_write(&e, iov, 2), 4);
    assert_int_equal(read(log[0], bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "abcd", 4);
    assert_int_equal(e.log_error, 0);
    assert_true(host_end_write(&e, iov, 3) > 65536); // more than the log's pipe holds
    assert_int_equal(e.log_error, EAGAIN);
    assert_false(host_end_is_raw_socket(&e));
    close(fds[1]);
    close(log[0]);
    close(log[1]);
    host_end_close(&e);
}

TEST(pieces_of_any_number_and_length_are_written_and_logged_in_order)
{
    enum { COUNT = 300, SMALL = 70, LAST = 200000, ALL = COUNT * SMALL + LAST };
    static uint8_t bytes[ALL], got[ALL];
    struct iovec iov[COUNT + 1];
    struct host_end e;
    struct device file = device_of("file:/f");
    int fd = memfd_create("file", MFD_CLOEXEC), log = memfd_create("log", MFD_CLOEXEC);
    for (size_t i = 0; i < ALL; i++)
        bytes[i] = (uint8_t)(i * 7 / 5);
    for (size_t i = 0; i < COUNT; i++)
        iov[i] = (struct iovec){bytes + i * SMALL, SMALL};
    iov[COUNT] = (struct iovec){bytes + COUNT * SMALL, LAST};
    assert_int_equal(host_end_init(&e, &file, log, &fd, 1), 0);
    assert_int_equal(host_end_write(&e, iov, COUNT + 1), ALL);
    assert_int_equal(pread(fd, got, ALL, 0), ALL);
    assert_memory_equal(got, bytes, ALL);
    assert_int_equal(pread(log, got, ALL, 0), ALL);
    assert_memory_equal(got, bytes, ALL);
    close(log);
    host_end_close(&e);
}

// What is written in several goes may be full after the first: those bytes are taken, and logged.
TEST(pipe_that_is_full_between_two_goes_has_taken_the_first)
{
    enum { PIPE = 65536 };
    static uint8_t bytes[2 * PIPE], got[PIPE];
    const struct iovec iov = {bytes, sizeof(bytes)};
    struct host_end e;
    int fds[2], log = memfd_create("log", MFD_CLOEXEC);
    struct device dev = device_of("pipe:/p");
    memset(bytes, 'b', sizeof(bytes));
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, PIPE), PIPE);
    assert_int_equal(host_end_init(&e, &dev, log, fds, 2), 0);
    assert_int_equal(host_end_write(&e, &iov, 1), PIPE);
    assert_int_equal(host_end_write(&e, &iov, 1), -EAGAIN);
    assert_int_equal(read(fds[0], got, sizeof(got)), PIPE);
    assert_memory_equal(got, bytes, PIPE);
    assert_int_equal(lseek(log, 0, SEEK_END), PIPE);
    close(log);
    host_end_close(&e);
}

TEST(datagrams_that_are_logged_stay_what_they_are)
{
    struct host_end e;
    int fds[2], log[2];
    char got[16];
    struct iovec iov[2] = {{"abc", 3}, {"de", 2}};
    struct device udp = device_of("udp:127.0.0.1:9");
    pair(SOCK_DGRAM, fds);
    assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(host_end_init(&e, &udp, log[1], fds, 1), 0);
    assert_int_equal(host_end_write(&e, iov, 2), 5);
    assert_int_equal(read(fds[1], got, sizeof(got)), 3);
    assert_int_equal(read(fds[1], got, sizeof(got)), 2);
    assert_int_equal(read(log[0], got, sizeof(got)), 5);
    assert_memory_equal(got, "abcde", 5);
    close(fds[1]);
    close(log[0]);
    close(log[1]);
    host_end_close(&e);
}

// --- bytes in a guest's memory -------------------------------------------------------------------

enum { RACE_BYTES = 32768, RACE_ROUNDS = 10000, IAC = 255 };

struct race {
    volatile uint8_t bytes[RACE_BYTES];
    atomic_bool over;
    pthread_t thread;
};

static void *
race(void *ctx)
{
    struct race *r = ctx;
    for (uint8_t byte = 'a'; !r->over; byte = byte == 'a' ? IAC : 'a')
        r->bytes[1] = byte;
    return NULL;
}

static void
race_start(struct race *r)
{
    *r = (struct race){.over = false};
    memset((void *)(uintptr_t)r->bytes, 'a', sizeof(r->bytes));
    assert_int_equal(pthread_create(&r->thread, NULL, race, r), 0);
}

static void
race_end(struct race *r)
{
    r->over = true;
    pthread_join(r->thread, NULL);
}

static size_t
write_and_take(struct host_end *e, const struct race *r, int fd, uint8_t *out, size_t size)
{
    const struct iovec iov = {(void *)(uintptr_t)r->bytes, sizeof(r->bytes)};
    assert_int_equal(host_end_write(e, &iov, 1), sizeof(r->bytes));
    ssize_t n = read(fd, out, size);
    assert_true(n >= (ssize_t)sizeof(r->bytes));
    return (size_t)n;
}

TEST(guest_that_rewrites_its_bytes_gets_no_telnet_command_through)
{
    static struct race r;
    struct host_end e;
    int fds[2];
    uint8_t wire[2 * RACE_BYTES];
    struct device dev = device_of("telnet:127.0.0.1:9");
    pair(SOCK_STREAM, fds);
    assert_int_equal(host_end_init(&e, &dev, -1, fds, 1), 0);
    race_start(&r);
    for (int i = 0; i < RACE_ROUNDS; i++) {
        size_t n = write_and_take(&e, &r, fds[1], wire, sizeof(wire));
        assert_int_equal(n == RACE_BYTES ? 'a' : IAC, wire[1]);
    }
    race_end(&r);
    close(fds[1]);
    host_end_close(&e);
}

TEST(log_says_what_was_sent_whatever_the_guest_writes_meanwhile)
{
    static const char *const texts[] = {"unix:/s", "udp:127.0.0.1:9", "pipe:/p"};
    static struct race r;
    for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
        struct host_end e;
        int fds[2], log[2];
        static uint8_t sent[RACE_BYTES], logged[RACE_BYTES];
        struct device dev = device_of(texts[t]);
        pair(dev.kind == DEVICE_UDP ? SOCK_DGRAM : SOCK_STREAM, fds);
        assert_int_equal(pipe2(log, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(host_end_init(&e, &dev, log[1], fds, 1), 0);
        race_start(&r);
        for (int i = 0; i < RACE_ROUNDS; i++) {
            write_and_take(&e, &r, fds[1], sent, sizeof(sent));
            assert_int_equal(read(log[0], logged, sizeof(logged)), sizeof(logged));
            assert_memory_equal(sent, logged, sizeof(sent));
        }
        race_end(&r);
        close(fds[1]);
        close(log[0]);
        close(log[1]);
        host_end_close(&e);
    }
}
