// SPDX-License-Identifier: BSD-3-Clause
// Brokers of each kind of link, while one call after the other fails. Each time they start or say
// why not, come back or end, and leave nothing behind.
#include "broker_faults.h"

TEST(queues_are_opened_anew_by_the_starter)
{
    struct setup s;
    struct ns ns = ns_open();
    if (geteuid() != 0) {
        ns_close(&ns);
        skip();
    }
    setup_init(&s, true);
    s.config.link.kind = LINK_TAP;
    snprintf(s.config.link.ifname, sizeof(s.config.link.ifname), "vmct0");
    snprintf(s.config.link.netns, sizeof(s.config.link.netns), "%s", ns.path);
    s.meanwhile = lose_worker;
    s.nth_max = 2;
    add(&s, "600:null", NULL);
    try_all(&s, 30);
    ns_close(&ns);
}

TEST(packet_socket_is_opened_anew_by_the_starter)
{
    struct setup s;
    if (geteuid() != 0)
        skip();
    setup_init(&s, true);
    s.config.link.kind = LINK_PACKET;
    snprintf(s.config.link.ifname, sizeof(s.config.link.ifname), "lo");
    s.meanwhile = lose_worker;
    s.nth_max = 2;
    add(&s, "600:null", NULL);
    try_all(&s, 20);
}

TEST(broker_of_a_namespace)
{
    struct setup s;
    struct ns ns = ns_open();
    setup_init(&s, true);
    s.config.link.kind = LINK_NETNS;
    snprintf(s.config.link.path, sizeof(s.config.link.path), "%s", ns.path);
    be_controlled(&s);
    s.meanwhile = be_asked;
    s.nth_max = 2;
    add(&s, "600-602:null", NULL);
    try_all(&s, 30);
    ns_close(&ns);
}

TEST(broker_of_a_datagram_socket)
{
    struct setup s;
    setup_init(&s, true);
    s.config.link.kind = LINK_MESSAGE;
    s.config.link.carrier = LINK_CARRIER_UNIX;
    snprintf(s.config.link.path, sizeof(s.config.link.path), "%s/l", s.dir);
    add(&s, "600:null", NULL);
    try_all(&s, 30);
}

TEST(broker_of_a_link_that_is_given)
{
    struct setup s;
    int sv[2];
    setup_init(&s, true);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    s.config.link.fd = sv[0];
    s.config.exit_on_link_down = true;
    add(&s, "600:null", NULL);
    try_all(&s, 30);
    close(sv[0]);
    close(sv[1]);
}

TEST(broker_that_forks_its_workers_itself)
{
    struct setup s;
    setup_init(&s, false);
    s.guest.sandbox_off = false; // the workers' alone: no starter
    listen_at_path(&s);
    s.meanwhile = lose_worker;
    s.nth_max = NTH_MAX;
    add(&s, "600:null", NULL);
    try_all(&s, 50);
}

TEST(broker_of_given_listeners)
{
    struct setup s;
    setup_init(&s, false);
    struct link_listener given = {socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), -1};
    assert_int_equal(listen(given.fd, 4), 0);
    s.config.link.kind = LINK_NETNS;
    s.config.listeners = &given;
    add(&s, "600:null", NULL);
    try_all(&s, 20);
    close(given.fd);
}

TEST(broker_of_a_hybrid_link)
{
    struct setup s;
    setup_init(&s, true);
    s.config.link.kind = LINK_HYBRID;
    snprintf(s.config.link.path, sizeof(s.config.link.path), "%s/h", s.dir);
    add(&s, "600-601:null", NULL);
    try_all(&s, 50);
}
