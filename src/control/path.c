// SPDX-License-Identifier: BSD-3-Clause
// See path.h.
#include "control/path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_DIR "/run/vmchannel"
#define SOCKET     "/control"

int
control_runtime_dir(char out[CONTROL_PATH_SIZE], struct error *err)
{
    const char *given = getenv("VMCHANNEL_RUNTIME_DIR");
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int len;
    if (given && given[0] == '/')
        len = snprintf(out, CONTROL_PATH_SIZE, "%s", given);
    else if (geteuid() == 0)
        len = snprintf(out, CONTROL_PATH_SIZE, "%s", SYSTEM_DIR);
    else if (xdg && xdg[0] == '/')
        len = snprintf(out, CONTROL_PATH_SIZE, "%s/vmchannel", xdg);
    else
        return error_set(err, 0,
                         "control: neither XDG_RUNTIME_DIR nor VMCHANNEL_RUNTIME_DIR is an "
                         "absolute path, so there is no place for its socket");
    if (len >= CONTROL_PATH_SIZE)
        return error_set(err, ENAMETOOLONG, "control: %.80s...", out);
    return 0;
}

bool
control_name_is_valid(const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || strlen(name) > 63)
        return false;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '/')
            return false;
    return true;
}

int
control_path(const char *name, char out[CONTROL_PATH_SIZE], struct error *err)
{
    char dir[CONTROL_PATH_SIZE];
    int len;
    if (strchr(name, '/')) {
        len = snprintf(out, CONTROL_PATH_SIZE, "%s", name);
    } else {
        if (!control_name_is_valid(name))
            return error_set(err, 0,
                             "'%.64s': not the name of a guest (accepted: 1 to 63 bytes, "
                             "no control characters, no dot in front; or a path)",
                             name);
        int rc = control_runtime_dir(dir, err);
        if (rc < 0)
            return rc;
        len = snprintf(out, CONTROL_PATH_SIZE, "%s/%s" SOCKET, dir, name);
    }
    if (len >= CONTROL_PATH_SIZE)
        return error_set(err, ENAMETOOLONG, "control: %.80s...", out);
    return 0;
}

// 0 also when it is there already. Somebody else's directory is left to fail later, on its
// permissions.
static int
make_dir(const char *path, mode_t mode, struct error *err)
{
    mode_t mask = umask(0);
    int errnum = mkdir(path, mode) < 0 ? errno : 0;
    umask(mask);
    return errnum == 0 || errnum == EEXIST ? 0 : error_set(err, errnum, "control: %s", path);
}

int
control_path_make(const char *name, uid_t user, char out[CONTROL_PATH_SIZE], struct error *err)
{
    char dir[CONTROL_PATH_SIZE];
    int rc = control_path(name, out, err);
    if (rc == 0)
        rc = control_runtime_dir(dir, err);
    if (rc == 0)
        rc = make_dir(dir, 0711, err);
    if (rc < 0)
        return rc;
    memcpy(dir, out, sizeof(dir));
    *strrchr(dir, '/') = '\0';
    rc = make_dir(dir, 0700, err);
    struct stat st;
    bool ours = rc == 0 && lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && !(st.st_mode & 022) &&
                (st.st_uid == geteuid() || st.st_uid == user);
    if (rc == 0 && !ours)
        rc = error_set(err, 0, "control: %s: not a directory that is ours alone", dir);
    return rc;
}

void
control_path_remove(const char *path)
{
    char dir[CONTROL_PATH_SIZE];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return;
    *slash = '\0';
    rmdir(dir);
}
