// SPDX-License-Identifier: BSD-3-Clause
// Which devices may be added to a broker that runs, and what is said about the others.
#include "test.h"

#include "broker/admission.h"

struct row {
    const char *text;
    const char *free, *locked_up; // pieces of what is said; NULL: it may be opened
};

static const struct row rows[] = {
    {"600:unix:/s", NULL, NULL},
    {"600:null", NULL, NULL},
    {"600:unix:/s,server", NULL, "not in the sandbox"},
    {"600:unix:s,abstract", NULL, "not in the sandbox"},
    {"600:null,logfile=/log", NULL, "not in the sandbox"},
    {"600:pty:/tty", NULL, "not in the sandbox"},
    {"600:file:/out", NULL, "not in the sandbox"},
    {"600:pipe:/fifo", NULL, "not in the sandbox"},
    {"600:/dev/ttyS0", NULL, "not in the sandbox"},
    {"600:vsock:3:9", NULL, "not in the sandbox"},
    {"600:tcp:127.0.0.1:9", NULL, "not in the sandbox"},
    {"600:tcp:[::1]:9", NULL, "not in the sandbox"},
    {"600:tcp::9,server", NULL, "not in the sandbox"},
    {"600:tcp:localhost:9", NULL, "not in the sandbox"},
    {"600:tcp:service.example:9", "service.example: a name", "not in the sandbox"},
    {"600:telnet:service.example:9", "service.example: a name", "not in the sandbox"},
    {"600:websocket:service.example:9,server", "service.example: a name", "not in the sandbox"},
    {"600:udp:127.0.0.1:9", NULL, "not in the sandbox"},
    {"600:udp:service.example:9", "service.example: a name", "not in the sandbox"},
    {"600:udp:127.0.0.1:9@here.example:7", "here.example: a name", "not in the sandbox"},
    {"600:stdio", "only when the daemon is started", "not in the sandbox"},
    {"600:cmd:cat", "a program can be named only when", "not in the sandbox"},
};

static void
expect(const struct row *row, bool locked_up, const char *piece)
{
    struct channel_spec spec;
    struct error err = {{0}};
    if (channel_spec_parse(row->text, &spec, &err) < 0)
        fail_msg("%s", err.text);
    int rc = broker_may_open(&spec.device, locked_up, &err);
    if ((rc < 0) != (piece != NULL) || (piece && !strstr(err.text, piece)))
        fail_msg("%s: %d, %s", row->text, rc, err.text);
}

TEST(devices_that_may_be_added)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(&rows[i], false, rows[i].free);
}

TEST(devices_that_may_be_added_to_a_broker_that_is_locked_up)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect(&rows[i], true, rows[i].locked_up);
}
