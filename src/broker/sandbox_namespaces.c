// SPDX-License-Identifier: BSD-3-Clause
// What the worker can see, and what it may do with it. What it can ask of the kernel at all is
// sandbox_seccomp.c's; descriptors, signals and the process flags are worker.c's. Step by step:
//
// 1. Namespaces, by sandbox_fork: one clone3 instead of a fork, so that the worker is the broker's
//    child like any other (its pidfd, its exit status, its death with the broker) and yet pid 1 of
//    its own. It gives up: other processes (none can be named, so none can be signalled), System V
//    objects, host names, and the network: an interface lo that is down. A socket keeps working in
//    the namespace it was made in, and those are all made by the broker.
// 2. Ids, while the child waits: the broker writes the maps, since only it may map what is not the
//    child's own. Where it may (as root), the worker becomes nobody; else it stays who we are, as
//    the only user there is in its namespace. It gives up: every other user and group, and with a
//    privileged broker the supplementary groups. (Without privilege they cannot be given up,
//    user_namespaces(7); there is no file left that they would open.)
// 3. Root: a tmpfs that is read-only from birth, and has room for no file but its root directory,
//    takes the place of "/", and the old root is detached with all that is mounted in it. It gives
//    up: the file system. What is open stays open.
// 4. Capabilities: after a clone with CLONE_NEWUSER the worker has all of them over its namespaces,
//    which steps 2 and 3 took. Securebits first, since they need one: no id and no program gives
//    any back. Then the bounding, ambient and other sets.
// 5. Limits: no core dump (guest bytes belong into no file), no process, no message queue. File
//    sizes are not limited: devices may be files.
//
// Between 1 and 2 both processes are dumpable, since /proc/PID/uid_map else belongs to root alone.
// Who could trace them by that is the user we run as, not the guest: of a guest's process with our
// uid (vmchannel run) another user namespace would ask a capability in ours.
#include "broker/sandbox.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define NAMESPACES                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)
#define FORBIDDEN "the kernel forbids it here: see SECURITY in vmchannel(1), or use --sandbox=off"

struct ids {
    uid_t uid;
    gid_t gid;
};

// --- the broker's side ---------------------------------------------------------------------------

static int
write_file(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int
map_one(pid_t pid, const char *name, unsigned id)
{
    char text[64];
    snprintf(text, sizeof(text), "%u %u 1\n", id, id);
    return write_file(pid, name, text);
}

// A failed write leaves a map unwritten, so that a second one may be tried.
static int
map_ids(pid_t pid, struct ids *ids, struct error *err)
{
    *ids = (struct ids){NOBODY, NOBODY};
    int rc = map_one(pid, "uid_map", ids->uid);
    if (rc < 0) {
        ids->uid = geteuid();
        rc = map_one(pid, "uid_map", ids->uid);
    }
    if (rc < 0)
        return error_set(err, -rc, "worker: sandbox: map of its user (%s)", FORBIDDEN);
    rc = map_one(pid, "gid_map", ids->gid);
    if (rc < 0) {
        ids->gid = getegid();
        write_file(pid, "setgroups", "deny"); // without it the kernel wants privilege
        rc = map_one(pid, "gid_map", ids->gid);
    }
    return rc < 0 ? error_set(err, -rc, "worker: sandbox: map of its group (%s)", FORBIDDEN) : 0;
}

// --- the worker's side ---------------------------------------------------------------------------

// Until the ids are mapped; the broker closes the pipe when it gives up.
static void
take_ids(const int go[2])
{
    struct ids ids;
    ssize_t n;
    close(go[1]);
    do
        n = read(go[0], &ids, sizeof(ids));
    while (n < 0 && errno == EINTR);
    if (n != sizeof(ids))
        _exit(1);
    close(go[0]);
    (void)setgroups(0, NULL); // denied where it is not possible, see above
    if (setresgid(ids.gid, ids.gid, ids.gid) == 0 && setresuid(ids.uid, ids.uid, ids.uid) == 0)
        return;
    log_error("worker: sandbox: cannot become user %u: %s", ids.uid, strerror(errno));
    _exit(1);
}

// Over /proc, which is there, or no map could have been written.
static int
empty_root(struct error *err)
{
    const char *step = "private mounts";
    int rc = mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);
    if (rc == 0) {
        step = "an empty file system";
        rc = mount("empty", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                   "size=4k,nr_inodes=1,mode=0555");
    }
    if (rc == 0) {
        step = "pivot_root";
        rc = chdir("/proc") < 0 ? -1 : (int)syscall(SYS_pivot_root, ".", ".");
    }
    if (rc == 0) { // the old one lies over the new one, pivot_root(2)
        step = "detaching the old root";
        rc = umount2(".", MNT_DETACH) < 0 ? -1 : chdir("/");
    }
    return rc < 0 ? error_set(err, errno, "%s (%s)", step, FORBIDDEN) : 0;
}

static int
give_up_capabilities(struct error *err)
{
    unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                         SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                         SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0)
        return error_set(err, errno, "securebits");
    // As many as the kernel knows.
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return error_set(err, errno, "capability %lu", cap);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set(err, errno, "ambient capabilities");
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &head, none) < 0)
        return error_set(err, errno, "capabilities");
    return 0;
}

static int
limit(struct error *err)
{
    static const int resources[] = {RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_MSGQUEUE};
    const struct rlimit none = {0, 0};
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
        if (setrlimit((__rlimit_resource_t)resources[i], &none) < 0)
            return error_set(err, errno, "resource limit %d", resources[i]);
    return 0;
}

// 0 in the child, with *pid 0. *pid is set as soon as there is a child, also on failure.
static int
clone_mapped(struct clone_args *args, pid_t *pid, struct error *err)
{
    struct ids ids;
    int go[2];

    *pid = -1;
    if (pipe2(go, O_CLOEXEC) < 0)
        return error_set(err, errno, "worker: cannot make a pipe");
    bool was_dumpable = prctl(PR_GET_DUMPABLE) == 1;
    prctl(PR_SET_DUMPABLE, 1);
    *pid = (pid_t)syscall(SYS_clone3, args, sizeof(*args));
    if (*pid == 0) {
        take_ids(go);
        return 0;
    }
    int rc = *pid < 0 ? error_set(err, errno,
                                  "worker: sandbox: new user, mount, pid, ipc, uts "
                                  "and network namespace (%s)",
                                  FORBIDDEN)
                      : map_ids(*pid, &ids, err);
    if (!was_dumpable)
        prctl(PR_SET_DUMPABLE, 0);
    if (rc == 0 && write(go[1], &ids, sizeof(ids)) < 0)
        rc = error_set(err, errno, "worker: pipe");
    close(go[0]);
    close(go[1]);
    return rc;
}

pid_t
sandbox_fork(struct error *err)
{
    struct clone_args args = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    pid_t pid;
    int rc = clone_mapped(&args, &pid, err);
    if (rc == 0 || pid < 0)
        return rc < 0 ? rc : pid;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return rc;
}

int
sandbox_fork_sibling(pid_t *pid, int *pidfd, struct error *err)
{
    struct clone_args args = {.flags = NAMESPACES | CLONE_PARENT | CLONE_PIDFD,
                              .pidfd = (uintptr_t)pidfd};
    return clone_mapped(&args, pid, err);
}

int
sandbox_keep_capabilities(uint64_t keep, struct error *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_set(err, errno, "ambient capabilities");
    if (syscall(SYS_capget, &head, caps) < 0)
        return error_set(err, errno, "capabilities");
    for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        caps[i].permitted &= (uint32_t)(keep >> (32 * i));
        caps[i].effective = caps[i].permitted;
        caps[i].inheritable = 0;
    }
    return syscall(SYS_capset, &head, caps) < 0 ? error_set(err, errno, "capabilities") : 0;
}

int
sandbox_give_up(struct error *err)
{
    int rc = empty_root(err);
    if (rc == 0)
        rc = give_up_capabilities(err);
    return rc == 0 ? limit(err) : rc;
}
