// SPDX-License-Identifier: BSD-3-Clause
// Links, workers and brokers that go away, and what comes back.
#include "broker/world.h"
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/socket.h>

TEST(end_of_the_inherited_link_closes_host_ends_and_ends_the_broker)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = world_listen(w.path);
    world_start_with_guest(&w);
    int fd = world_converse(&w, l, &conn);
    guest_end_detach(&w.guest);
    world_expect_eof(fd);
    assert_int_equal(world_broker_status(&w), 0);
    close(fd);
    close(l);
    world_fini(&w);
}

TEST(link_that_comes_back_works)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = world_listen(w.path);
    int link_listener = world_start_connecting(&w);
    int fd = world_converse(&w, l, &conn);
    guest_end_detach(&w.guest);
    world_expect_eof(fd); // a link that goes away closes all its host ends
    close(fd);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    fd = world_converse(&w, l, &conn);
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    close(l);
    world_fini(&w);
}

TEST(request_of_a_guest_that_went_leaves_the_client_to_the_next)
{
    struct world w;
    world_init(&w, ",server");
    int link_listener = world_start_connecting(&w);
    guest_end_connect(&w.guest, 600);
    guest_end_turns(&w.guest, 50);
    guest_end_detach(&w.guest);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    int fd = world_client(w.path);
    guest_end_turns(&w.guest, 50);
    uint32_t second = guest_end_connect(&w.guest, 600);
    guest_end_until(&w.guest, &w.guest.conns[second].established);
    guest_end_send(&w.guest, second, "second");
    world_expect_bytes(&w, fd, "second");
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    world_fini(&w);
}

TEST(killed_worker_is_replaced_and_the_link_comes_back)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    int l = world_listen(w.path);
    int link_listener = world_start_connecting(&w);
    int fd = world_converse(&w, l, &conn);
    pid_t worker = world_worker(&w);
    assert_int_equal(kill(worker, SIGKILL), 0);
    world_expect_eof(fd);
    close(fd);
    guest_end_until(&w.guest, &w.guest.link_down);
    guest_end_attach(&w.guest, accept4(link_listener, NULL, NULL, SOCK_CLOEXEC));
    fd = world_converse(&w, l, &conn);
    assert_int_not_equal(world_worker(&w), worker);
    assert_non_null(strstr(w.log, ": worker: ended by signal 9 (Killed)"));
    close(fd);
    close(link_listener);
    unlink(w.broker.link.path);
    close(l);
    world_fini(&w);
}

TEST(listening_link_takes_one_guest_at_a_time)
{
    struct world w;
    uint32_t conn;
    world_init(&w, "");
    snprintf(w.broker.link.path, sizeof(w.broker.link.path), "%s/link", w.dir);
    w.broker.link.server = true;
    int l = world_listen(w.path);
    world_start(&w);
    guest_end_init(&w.guest, world_client(w.broker.link.path));
    int next = world_client(w.broker.link.path); // waits for its turn
    close(world_converse(&w, l, &conn));
    guest_end_detach(&w.guest);
    guest_end_attach(&w.guest, next);
    close(world_converse(&w, l, &conn));
    close(l);
    world_fini(&w); // and leaves no file behind
}

TEST(worker_dies_with_its_broker)
{
    struct world w;
    world_init(&w, "");
    world_start_with_guest(&w);
    pid_t worker = world_worker(&w);
    kill(w.pid, SIGKILL);
    assert_int_equal(world_broker_status(&w), -1);
    guest_end_until(&w.guest, &w.guest.link_down);
    for (int i = 0; i < 1000 && kill(worker, 0) == 0; i++)
        usleep(1000);
    // It is a zombie at most, of whoever reaps here.
    char path[64], run_state = 'Z';
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)worker);
    FILE *f = fopen(path, "re");
    if (f) {
        assert_int_equal(fscanf(f, "%*d %*s %c", &run_state), 1);
        fclose(f);
    }
    assert_int_equal(run_state, 'Z');
    world_fini(&w);
}
