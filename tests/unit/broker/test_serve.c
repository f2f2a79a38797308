// SPDX-License-Identifier: BSD-3-Clause
// Broker and worker for real, between a guest of ours and host programs.
#include "broker/world.h"
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

TEST(guest_and_service_converse_and_the_service_knows_who)
{
    struct world w;
    uint32_t conn;
    struct sockaddr_un sa = {0};
    socklen_t len = sizeof(sa);
    char name[96];
    world_init(&w, "");
    int l = world_listen(w.path);
    world_start_with_guest(&w);
    int fd = world_converse(&w, l, &conn);
    assert_int_equal(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(name, sizeof(name), "vmchannel/%s/600/1", w.config.name);
    assert_int_equal(sa.sun_path[0], 0);
    assert_string_equal(sa.sun_path + 1, name);
    close(fd);
    guest_end_until(&w.guest, &w.guest.conns[conn].eof);
    close(l);
    world_fini(&w);
}

TEST(absent_service_refuses_within_50_ms_and_is_logged)
{
    struct world w;
    char line[256];
    world_init(&w, "");
    world_start_with_guest(&w);
    guest_end_turns(&w.guest, 20);
    for (int i = 0; i < 3; i++) {
        uint64_t start = loop_clock_us();
        uint32_t conn = guest_end_connect(&w.guest, 600);
        guest_end_until(&w.guest, &w.guest.conns[conn].closed);
        assert_int_equal(w.guest.conns[conn].reason, STACK_REFUSED);
        assert_in_range(loop_clock_us() - start, 0, 50000);
    }
    snprintf(line, sizeof(line), "%s: channel 600: unix:%s: No such file or directory",
             w.config.name, w.path);
    char *first = strstr(w.log, line);
    assert_non_null(first);
    assert_null(strstr(first + 1, line));
    world_fini(&w);
}

TEST(waiting_server_holds_the_guest_until_a_client_comes)
{
    struct world w;
    world_init(&w, ",server");
    world_start_with_guest(&w);
    uint32_t conn = guest_end_connect(&w.guest, 600);
    guest_end_turns(&w.guest, 300);
    assert_false(w.guest.conns[conn].established || w.guest.conns[conn].closed);
    int fd = world_client(w.path);
    guest_end_until(&w.guest, &w.guest.conns[conn].established);
    assert_int_equal(write(fd, "hello", 5), 5);
    guest_end_until_received(&w.guest, conn, "hello");
    close(fd);
    world_fini(&w);
}

TEST(nowait_server_takes_the_guest_at_once_and_keeps_its_bytes)
{
    struct world w;
    world_init(&w, ",server,nowait");
    world_start_with_guest(&w);
    uint32_t conn = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[conn].established);
    guest_end_send(&w.guest, conn, "early");
    guest_end_turns(&w.guest, 50);
    int fd = world_client(w.path);
    world_expect_bytes(&w, fd, "early");
    close(fd);
    world_fini(&w);
}

TEST(worker_holds_nothing_but_its_own)
{
    struct world w;
    char path[64], line[256], target[128];
    bool no_new_privs = false;
    world_init(&w, ",server");
    world_start_with_guest(&w);
    guest_end_turns(&w.guest, 50);
    pid_t worker = world_worker(&w);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)worker);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        no_new_privs |= strcmp(line, "NoNewPrivs:\t1\n") == 0;
    fclose(f);
    assert_true(no_new_privs);

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)worker);
    DIR *fds = opendir(path);
    if (!fds) { // not dumpable: root's alone
        world_fini(&w);
        skip();
    }
    int sockets = 0, others = 0;
    for (struct dirent *e; (e = readdir(fds));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "2") == 0)
            continue;
        ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);
        assert_true(n > 0);
        target[n] = '\0';
        if (strncmp(target, "socket:", 7) == 0)
            sockets++; // the broker's, the link
        else if (strcmp(target, "/dev/null") != 0 && strcmp(target, "anon_inode:[eventpoll]") != 0)
            others++;
    }
    closedir(fds);
    assert_int_equal(sockets, 2);
    assert_int_equal(others, 0);
    world_fini(&w);
}

TEST(broker_out_of_descriptors_refuses_and_recovers)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = world_listen(w.path);
    world_start_with_guest(&w);
    close(world_converse(&w, l, &conn));

    // From outside; the broker has that many open already.
    struct rlimit tight, was;
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, NULL, &was), 0);
    tight = (struct rlimit){.rlim_cur = 4, .rlim_max = was.rlim_max};
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, &tight, NULL), 0);
    conn = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[conn].closed);
    assert_int_equal(w.guest.conns[conn].reason, STACK_REFUSED);
    assert_non_null(strstr(w.log, "Too many open files"));
    assert_int_equal(prlimit(w.pid, RLIMIT_NOFILE, &was, NULL), 0);
    close(world_converse(&w, l, &conn));
    close(l);
    world_fini(&w);
}

TEST(inherited_listeners_serve_without_frames)
{
    struct world w;
    char bytes[8];
    world_init(&w, "");
    int l = world_listen(w.path);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    assert_int_equal(bind(tcp, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(listen(tcp, 8), 0);
    assert_int_equal(getsockname(tcp, (struct sockaddr *)&sin, &len), 0);
    w.broker.link = (struct link_spec){.kind = LINK_NETNS, .fd = -1};
    w.broker.listeners = &(struct link_listener){tcp, -1};
    world_start(&w);
    close(tcp);

    for (int i = 0; i < 2; i++) { // the second one with another worker
        int guest = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(guest, (struct sockaddr *)&sin, sizeof(sin)), 0);
        int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
        assert_int_equal(write(guest, "ping", 4), 4);
        assert_int_equal(read(fd, bytes, sizeof(bytes)), 4);
        assert_int_equal(write(fd, "pong", 4), 4);
        assert_int_equal(read(guest, bytes, sizeof(bytes)), 4);
        assert_memory_equal(bytes, "pong", 4);
        if (i == 0)
            kill(world_worker(&w), SIGKILL);
        world_expect_eof(i == 0 ? guest : (close(guest), fd));
        if (i == 0)
            close(guest);
        close(fd);
    }
    close(l);
    world_fini(&w);
}
