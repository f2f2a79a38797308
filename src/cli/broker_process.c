// SPDX-License-Identifier: BSD-3-Clause
// See broker_process.h. Who forks the process, and what ends it, is the command's.
#include "cli/broker_process.h"

#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct report {
    int rc; // 0: ready
    struct error err;
};

int
broker_process_run(const struct broker_config *config, int stop_fd, int status_fd)
{
    struct report report = {.rc = 0};

    setsid();
    detach_stdio();
    signal(SIGPIPE, SIG_IGN);
    struct broker *b = broker_start(config, &report.err);
    if (!b)
        report.rc = -EIO;
    // Below PIPE_BUF: written whole or not at all. Nobody there any more: the stop comes by itself.
    ssize_t n = write(status_fd, &report, sizeof(report));
    (void)n;
    if (!b)
        return EXIT_FAILED;
    int rc = broker_run(b, stop_fd);
    broker_free(b);
    return rc < 0 ? EXIT_FAILED : EXIT_SUCCESS;
}

int
broker_process_await(int status_fd, struct error *err)
{
    struct report report;
    ssize_t n;
    do {
        n = read(status_fd, &report, sizeof(report));
    } while (n < 0 && errno == EINTR);
    if (n != sizeof(report))
        return error_set(err, EPIPE, "broker: ended before it was ready");
    if (report.rc < 0)
        *err = report.err;
    return report.rc;
}
