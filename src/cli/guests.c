// SPDX-License-Identifier: BSD-3-Clause
// See guests.h. Sockets that daemons left behind when they were killed are passed over.
#include "cli/guests.h"

#include "base/log.h"
#include "cli/cli.h"
#include "control/path.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool
look_at(const char *name, bool must, void (*each)(void *ctx, const struct control_status *status),
        void *ctx)
{
    struct error err = {{0}};
    bool gone;
    struct control_status status = {.channels = NULL};
    struct control_client *c = control_client_new(name, &gone, &err);
    if (!c && gone && !must)
        return true;
    bool ok = c && control_client_status(c, &status, &err) == 0;
    if (ok)
        each(ctx, &status);
    control_status_fini(&status);
    control_client_free(c);
    if (!ok && must)
        die(&err);
    if (!ok)
        log_error("%s", err.text);
    return ok;
}

static int
is_guest(const struct dirent *entry)
{
    return control_name_is_valid(entry->d_name);
}

bool
guests_each(const char *name, void (*each)(void *ctx, const struct control_status *status),
            void *ctx)
{
    char dir[CONTROL_PATH_SIZE], path[CONTROL_PATH_SIZE];
    struct dirent **entries;
    struct error err;
    struct stat st;
    bool ok = true;
    if (name)
        return look_at(name, true, each, ctx);
    if (control_runtime_dir(dir, &err) < 0)
        die(&err);
    int count = scandir(dir, &entries, is_guest, alphasort);
    if (count < 0 && errno == ENOENT)
        return true;
    if (count < 0)
        die_errno(errno, dir);
    for (int i = 0; i < count; i++) {
        // Others may keep other things there.
        if (control_path(entries[i]->d_name, path, &err) == 0 && lstat(path, &st) == 0 &&
            S_ISSOCK(st.st_mode))
            ok &= look_at(entries[i]->d_name, false, each, ctx);
        free(entries[i]);
    }
    free(entries);
    return ok;
}

const char *
guests_port(const struct control_channel *ch, char out[16])
{
    if (ch->inward && ch->port == 0)
        snprintf(out, 16, "in *");
    else
        snprintf(out, 16, "%s%u", ch->inward ? "in " : "", ch->port);
    return out;
}
