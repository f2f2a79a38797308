// SPDX-License-Identifier: BSD-3-Clause
// See qemu_user.h. libvirt would tell by its capabilities, but a hook may not ask it. Its file has
// no other syntax than one setting per line.
#include "cli/qemu_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 512

// KEY = "VALUE" or KEY = 'VALUE', with white space anywhere and a comment behind.
static bool
take_value(const char *line, const char *key, char *out, size_t out_size)
{
    char value[LINE_SIZE];
    line += strspn(line, " \t");
    size_t len = strlen(key);
    if (strncmp(line, key, len) != 0 || (sscanf(line + len, " = \"%511[^\"]\"", value) != 1 &&
                                         sscanf(line + len, " = '%511[^']'", value) != 1))
        return false;
    snprintf(out, out_size, "%s", value);
    return true;
}

static int
read_conf(const char *conf, char *user, char *group, size_t size, struct error *err)
{
    char line[LINE_SIZE];
    FILE *f = fopen(conf, "re");
    if (!f)
        return errno == ENOENT ? 0 : error_set(err, errno, "%s", conf);
    while (fgets(line, sizeof(line), f))
        if (!take_value(line, "user", user, size))
            take_value(line, "group", group, size);
    fclose(f);
    return 0;
}

static bool
parse_id(const char *text, uint32_t *out)
{
    char *end;
    text += *text == '+';
    errno = 0;
    unsigned long id = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || id >= UINT32_MAX)
        return false;
    *out = (uint32_t)id;
    return true;
}

// A name, or a number, which libvirt wants to have a plus sign in front.
static const struct passwd *
find_user(const char *text)
{
    uint32_t uid;
    const struct passwd *p = *text == '+' ? NULL : getpwnam(text);
    return p || !parse_id(text, &uid) ? p : getpwuid(uid);
}

static const struct group *
find_group(const char *text)
{
    uint32_t gid;
    const struct group *g = *text == '+' ? NULL : getgrnam(text);
    return g || !parse_id(text, &gid) ? g : getgrgid(gid);
}

static const char *
compiled_in(void)
{
    static const char *const names[] = {"libvirt-qemu", "qemu"}; // Debian's; Fedora's and SUSE's
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (getpwnam(names[i]))
            return names[i];
    return "root";
}

static int
look_up(const char *user, const char *group, struct run_as *out, struct error *err)
{
    const struct passwd *p = find_user(user);
    if (!p || strlen(p->pw_name) >= sizeof(out->name))
        return error_set(err, ENOENT, "QEMU's user '%s'", user);
    *out = (struct run_as){.uid = p->pw_uid, .gid = p->pw_gid, .group = (gid_t)-1};
    strcpy(out->name, p->pw_name);
    const struct group *g = *group ? find_group(group) : NULL;
    if (*group && !g)
        return error_set(err, ENOENT, "QEMU's group '%s'", group);
    if (g)
        out->group = g->gr_gid;
    return 0;
}

int
qemu_user_find(const char *owner, const char *conf, struct run_as *out, struct error *err)
{
    char user[LINE_SIZE] = "", group[LINE_SIZE] = "";
    size_t len = strcspn(owner, ":");
    int rc = 0;
    snprintf(user, sizeof(user), "%.*s", (int)len, owner);
    if (owner[len] == ':')
        snprintf(group, sizeof(group), "%s", owner + len + 1);
    if (!*user)
        rc = read_conf(conf, user, group, sizeof(user), err);
    if (!*user)
        snprintf(user, sizeof(user), "%s", compiled_in());
    return rc < 0 ? rc : look_up(user, group, out, err);
}
