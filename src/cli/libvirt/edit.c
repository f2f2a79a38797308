// SPDX-License-Identifier: BSD-3-Clause
// See edit.h.
#include "cli/libvirt/edit.h"

#include "cli/cli.h"
#include "cli/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *
editor(void)
{
    static const char *const variables[] = {"VISUAL", "EDITOR"};
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *value = getenv(variables[i]);
        if (value && *value)
            return value;
    }
    return "vi";
}

// The editor may be a command with arguments, so a shell reads it.
static void
run_editor(const char *file)
{
    char command[4096];
    int status;
    snprintf(command, sizeof(command), "%s \"$1\"", editor());
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, "sh", file, (char *)NULL);
        _exit(EXIT_NOT_FOUND);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die_errno(errno, "edit");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        struct error err;
        unlink(file);
        error_set(&err, 0, "edit: the editor '%s' failed: nothing was changed", editor());
        die(&err);
    }
}

void
edit_text(const struct buffer *before, struct buffer *after, char file[PATH_MAX])
{
    const char *directory = getenv("TMPDIR");
    snprintf(file, PATH_MAX, "%s/vmchannel-XXXXXX.xml",
             directory && *directory ? directory : "/tmp");
    int fd = mkstemps(file, (int)strlen(".xml"));
    if (fd < 0)
        die_errno(errno, file);
    FILE *f = fdopen(fd, "w");
    if (!f || fwrite(before->data, 1, before->len, f) != before->len || fclose(f) != 0)
        die_errno(errno, file);
    run_editor(file);
    struct error err;
    if (document_read(file, after, &err) < 0)
        die(&err);
}
