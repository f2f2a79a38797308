// SPDX-License-Identifier: BSD-3-Clause
// Whom QEMU runs as: libvirt's qemu.conf as people write it, and a domain's own label.
#include "test.h"

#include "cli/qemu_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
find(const char *owner, const char *conf, struct run_as *out, struct error *err)
{
    char path[] = "/tmp/test-qemu-conf-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, conf, strlen(conf)), strlen(conf));
    close(fd);
    int rc = qemu_user_find(owner, path, out, err);
    unlink(path);
    return rc;
}

static void
expect(const char *owner, const char *conf, const char *user, gid_t group)
{
    struct run_as found;
    struct error err = {""};
    if (find(owner, conf, &found, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(found.name, user);
    assert_int_equal(found.group, group);
}

TEST(conf_names_user_and_group)
{
    expect("", "user = \"daemon\"\ngroup = \"root\"\n", "daemon", 0);
    expect("", "# user = \"root\"\n\tuser=\"daemon\" # why\n", "daemon", (gid_t)-1);
    expect("", "user = \"+0\"\n", "root", (gid_t)-1);
    expect("", "user = 'daemon'\ngroup = 'root' # or so\n", "daemon", 0);
    expect("", "user_is = \"root\"\nuser = \"daemon\"\n", "daemon", (gid_t)-1);
}

TEST(last_setting_counts)
{
    expect("", "user = \"root\"\nuser = \"daemon\"\n", "daemon", (gid_t)-1);
}

TEST(label_of_the_domain_comes_first)
{
    expect("+0:+0", "user = \"daemon\"\n", "root", 0);
    expect("daemon:root", "", "daemon", 0);
    expect("daemon", "group = \"root\"\n", "daemon", (gid_t)-1);
}

TEST(unknown_names_are_told)
{
    struct run_as found;
    struct error err;
    assert_int_equal(find("", "user = \"no-such-user\"\n", &found, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-user"));
    assert_int_equal(find("root:no-such-group", "", &found, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no-such-group"));
    assert_int_equal(find("+4294967296:+0", "", &found, &err), -ENOENT);
}

TEST(without_conf_there_is_a_user)
{
    struct run_as found;
    struct error err;
    assert_int_equal(qemu_user_find("", "/nonexistent/qemu.conf", &found, &err), 0);
    assert_true(found.name[0] != '\0');
}
