// SPDX-License-Identifier: BSD-3-Clause
// Whose the directory of a control socket may be.
#include "test.h"

#include "control/path.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY ((uid_t)65534)

struct place {
    char all[32];
    char own[64]; // the guest's
    char path[CONTROL_PATH_SIZE];
};

static void
place_init(struct place *p)
{
    strcpy(p->all, "/tmp/vmc-path-XXXXXX");
    assert_non_null(mkdtemp(p->all));
    snprintf(p->own, sizeof(p->own), "%s/web", p->all);
    setenv("VMCHANNEL_RUNTIME_DIR", p->all, 1);
}

static void
place_fini(const struct place *p)
{
    unsetenv("VMCHANNEL_RUNTIME_DIR");
    if (rmdir(p->own) < 0)
        unlink(p->own);
    assert_int_equal(rmdir(p->all), 0);
}

static void
expect_refused(struct place *p, uid_t user)
{
    struct error err;
    assert_true(control_path_make("web", user, p->path, &err) < 0);
    assert_non_null(strstr(err.text, "/web: not a directory that is ours alone"));
}

TEST(a_directory_of_our_own_is_made_and_taken_again)
{
    struct place p;
    struct stat st;
    place_init(&p);
    for (int i = 0; i < 2; i++)
        assert_int_equal(control_path_make("web", (uid_t)-1, p.path, NULL), 0);
    assert_int_equal(stat(p.own, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(strncmp(p.path, p.own, strlen(p.own)), 0);
    assert_string_equal(p.path + strlen(p.own), "/control");
    place_fini(&p);
}

// What a killed daemon of that user's left behind: another one's socket would not be safe there.
TEST(a_directory_that_is_a_users_is_for_that_user)
{
    struct place p;
    if (geteuid() != 0)
        skip();
    place_init(&p);
    assert_int_equal(mkdir(p.own, 0700), 0);
    assert_int_equal(chown(p.own, NOBODY, (gid_t)-1), 0);
    expect_refused(&p, (uid_t)-1);
    expect_refused(&p, NOBODY - 1);
    assert_int_equal(control_path_make("web", NOBODY, p.path, NULL), 0);
    place_fini(&p);
}

TEST(what_others_may_write_to_is_refused)
{
    struct place p;
    place_init(&p);
    assert_int_equal(mkdir(p.own, 0700), 0);
    assert_int_equal(chmod(p.own, 0720), 0);
    expect_refused(&p, (uid_t)-1);
    assert_int_equal(rmdir(p.own), 0);
    assert_int_equal(symlink("/", p.own), 0);
    expect_refused(&p, (uid_t)-1);
    place_fini(&p);
}
