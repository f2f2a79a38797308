// SPDX-License-Identifier: BSD-3-Clause
// How a command gives up, and what else the programs of this folder share.
#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
die(const struct error *err)
{
    log_error("%s", err->text);
    exit(EXIT_FAILED);
}

void
die_errno(int errnum, const char *what)
{
    log_error("%s: %s", what, strerror(errnum));
    exit(EXIT_FAILED);
}

void
die_usage(const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    log_error("%s", text);
    exit(EXIT_USAGE);
}

void
finish_output(void)
{
    errno = EIO; // where an earlier write failed
    if (fflush(stdout) != 0 || ferror(stdout))
        die_errno(errno, "standard output");
}

int
exec_failure_status(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

void
detach_stdio(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}
