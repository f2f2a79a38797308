// SPDX-License-Identifier: BSD-3-Clause
// After its start the worker calls no open, socket or connect: scenes of other tests, under strace.
#include "test.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16

static const char calls[] =
    "trace=open,openat,openat2,creat,socket,socketpair,connect,bind,execve,execveat,fork,vfork,"
    "clone,clone3,ptrace,prctl,recvmsg";

// Runs one scene of a test beside us under strace. False when strace is missing or may not trace.
static bool
traced(const char *test, const char *scene, const char *log)
{
    char self[512], exe[600];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(n > 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(exe, sizeof(exe), "%s/%s", self, test);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(TEST_TIMEOUT_S);
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); // a tracer itself, it cannot be traced
        if (!freopen("/dev/null", "w", stdout))      // its report is not ours
            _exit(126);
        execlp("strace", "strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", log, exe,
               scene, NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return false;
    if (status != 0)
        unlink(log);
    if (status != 0)
        fail_msg("%s under strace: status 0x%x", scene, status);
    return true;
}

// Fails on a forbidden call of a worker: a process after its PR_SET_NO_NEW_PRIVS. Gives the number
// of messages that workers took, so that a trace of nothing is no success.
static int
check(const char *log)
{
    long workers[WORKERS_MAX];
    int count = 0, messages = 0;
    char line[1024];
    FILE *f = fopen(log, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        char *call;
        long pid = strtol(line, &call, 10);
        call += strspn(call, " ");
        bool is_worker = false;
        for (int i = 0; i < count; i++)
            is_worker |= workers[i] == pid;
        if (strncmp(call, "prctl(PR_SET_NO_NEW_PRIVS", 25) == 0) {
            assert_false(is_worker);
            assert_true(count < WORKERS_MAX);
            workers[count++] = pid;
        } else if (is_worker && strncmp(call, "recvmsg(", 8) == 0) {
            messages++;
        } else if (is_worker && strncmp(call, "<...", 4) != 0) {
            fail_msg("the worker calls: %s", line);
        }
    }
    fclose(f);
    assert_true(count > 0);
    return messages;
}

static void
opens_nothing_in(const char *test, const char *scene)
{
    char log[] = "/tmp/test-worker-calls-XXXXXX";
    int fd = mkstemp(log);
    assert_true(fd >= 0);
    close(fd);
    bool ran = traced(test, scene, log);
    int messages = ran ? check(log) : 0;
    unlink(log);
    if (!ran)
        skip();
    assert_true(messages > 0);
}

TEST(worker_opens_nothing_in_a_conversation)
{
    opens_nothing_in("test_broker_serve", "guest_and_service_converse_and_the_service_knows_who");
}

TEST(worker_opens_nothing_when_refused)
{
    opens_nothing_in("test_broker_serve", "broker_out_of_descriptors_refuses_and_recovers");
}

TEST(worker_opens_nothing_for_a_server)
{
    opens_nothing_in("test_broker_serve",
                     "nowait_server_takes_the_guest_at_once_and_keeps_its_bytes");
}

TEST(worker_opens_nothing_when_its_link_goes_and_comes)
{
    opens_nothing_in("test_broker_comeback", "link_that_comes_back_works");
}

TEST(worker_opens_nothing_on_a_socket_link)
{
    opens_nothing_in("test_broker_serve", "inherited_listeners_serve_without_frames");
}
