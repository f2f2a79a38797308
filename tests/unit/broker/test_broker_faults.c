// SPDX-License-Identifier: BSD-3-Clause
// Brokers of all kinds of devices, with control clients, under another name and user, while one
// call after the other fails. Each time they start or say why not, come back or end, and leave
// nothing.
#include "broker_faults.h"

TEST(locked_up_broker_loses_its_worker)
{
    struct setup s;
    setup_init(&s, true);
    listen_at_path(&s);
    be_controlled(&s);
    s.config.removes_link_dir = true;
    s.meanwhile = lose_worker;
    s.nth_max = NTH_MAX;
    add(&s, "600:unix:", "/s,server");
    add(&s, "601:unix:", "/host");
    try_all(&s, 30);
}

TEST(locked_up_broker_of_other_devices)
{
    struct setup s;
    char fifo[80];
    setup_init(&s, true);
    listen_at_path(&s);
    snprintf(fifo, sizeof(fifo), "%s/fifo", s.dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    add(&s, "600:pty:", "/tty");
    add(&s, "601:pipe:", "/fifo");
    add(&s, "602:file:", "/out");
    add(&s, "603:tcp:127.0.0.1:9", NULL);
    add(&s, "604:tcp:127.0.0.1:47604,server", NULL);
    add(&s, "605:udp:127.0.0.1:9", NULL);
    add(&s, "606:null,logfile=", "/log");
    add(&s, "607:telnet:127.0.0.1:9", NULL);
    add(&s, "608:unix:vmchannel-test,abstract", NULL);
    try_all(&s, 30);
}

TEST(broker_serves_a_control_client)
{
    struct setup s;
    setup_init(&s, false);
    listen_at_path(&s);
    be_controlled(&s);
    s.meanwhile = be_asked;
    s.nth_max = NTH_MAX;
    add(&s, "600:unix:", "/s,server");
    add(&s, "601:null,logfile=", "/log");
    try_all(&s, 30);
}

TEST(broker_serves_a_control_client_on_a_hybrid_link)
{
    struct setup s;
    setup_init(&s, false);
    s.config.link.kind = LINK_HYBRID;
    snprintf(s.config.link.path, sizeof(s.config.link.path), "%s/h", s.dir);
    be_controlled(&s);
    s.guest.access.mode = 0660;
    s.meanwhile = be_asked;
    s.nth_max = 6;
    add(&s, "600:unix:", "/s,server");
    add(&s, "601:null", NULL);
    try_all(&s, 30);
}

TEST(broker_drains)
{
    struct setup s;
    setup_init(&s, false);
    listen_at_path(&s);
    s.config.drain_ms = 1000;
    s.meanwhile = drain;
    add(&s, "600:null", NULL);
    try_all(&s, 30);
}

TEST(control_socket_by_the_name_of_a_guest)
{
    struct setup s;
    char runtime[80];
    setup_init(&s, true);
    listen_at_path(&s);
    snprintf(runtime, sizeof(runtime), "%s/run", s.dir);
    setenv("VMCHANNEL_RUNTIME_DIR", runtime, 1);
    s.config.control_by_name = true;
    add(&s, "600:null", NULL);
    struct faults f = {
        .work = serve, .ctx = &s, .errors = FAULTS_FIRST, .nth_max = 6, .locked_up = true};
    assert_true(faults_try_all(&f) >= 30);
    char text[300];
    snprintf(text, sizeof(text), "rm -r %s/run %s/l*", s.dir, s.dir);
    (void)!system(text); // what failed removals have left
    unsetenv("VMCHANNEL_RUNTIME_DIR");
    setup_fini(&s);
}

TEST(broker_becomes_another_user)
{
    static const struct run_as nobody = {"nobody", 65534, 65534, 65534};
    struct setup s;
    if (geteuid() != 0)
        skip();
    setup_init(&s, true);
    assert_int_equal(chown(s.dir, 65534, 65534), 0);
    listen_at_path(&s);
    be_controlled(&s);
    s.config.user = &nobody;
    s.guest.access = (struct unix_access){0660, (uid_t)-1, (gid_t)-1};
    add(&s, "600:unix:", "/s,server");
    try_all(&s, 30);
}
