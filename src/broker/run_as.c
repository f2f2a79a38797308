// SPDX-License-Identifier: BSD-3-Clause
// The broker's user. The kernel takes all capabilities from who stops being root; that nothing
// leads back is looked at, since a mistake here would show nowhere else. What is opened before is
// broker.c's to decide.
#include "broker/run_as.h"

#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <unistd.h>

#define GROUPS_MAX 256

static int
take_groups(const struct run_as *user)
{
    gid_t groups[GROUPS_MAX + 1];
    int count = GROUPS_MAX;
    if (getgrouplist(user->name, user->gid, groups, &count) < 0)
        return -ENOSPC;
    if (user->group != (gid_t)-1)
        groups[count++] = user->group;
    return setgroups((size_t)count, groups) < 0 ? -errno : 0;
}

// A way back to root would be one for whoever takes this process over.
static bool
is_for_good(uid_t uid)
{
    return uid == 0 || (setresuid(0, 0, 0) < 0 && geteuid() == uid);
}

int
run_as_become(const struct run_as *user, struct error *err)
{
    if (geteuid() != 0 && geteuid() == user->uid)
        return 0;
    int rc = geteuid() == 0 ? take_groups(user) : -EPERM;
    if (rc == 0 && (setresgid(user->gid, user->gid, user->gid) < 0 ||
                    setresuid(user->uid, user->uid, user->uid) < 0))
        rc = -errno;
    if (rc < 0)
        return error_set(err, -rc, "--user: cannot become %s", user->name);
    return is_for_good(user->uid) ? 0 : error_set(err, EPERM, "--user: root is still in reach");
}
