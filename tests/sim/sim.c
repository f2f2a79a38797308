// SPDX-License-Identifier: BSD-3-Clause
// The command: one seed with a trace, or a range of them, each in a process of its own (lwIP keeps
// its state in globals; a crash or a hang then costs one seed).

#include "node.h"
#include "world.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX      64
#define SEED_REAL_S   60 // a seed that runs longer hangs
#define FAILURES_MAX  1000
#define FAILURES_STOP 100 // then the rest of the range is not worth its time
#define EXIT_EXCUSED  3   // of a child: passed, but some connection gave up on a lossy link

#ifdef SIM_WITH_LWIP
#define WITH_LWIP true
#else
#define WITH_LWIP false

struct node *
lwip_node_new(struct world *w, enum side side)
{
    (void)w;
    (void)side;
    abort();
}
#endif

struct range {
    uint64_t from, count;
    int jobs;
    bool keep_going;
};

struct worker {
    pid_t pid; // 0: idle
    uint64_t seed;
};

struct tally {
    uint64_t passed, failed;
    uint64_t excused; // of those that passed
    uint64_t failure[FAILURES_MAX];
};

static const char usage[] =
    "usage: sim --seed N [-v] [--pcap FILE]           one seed, -v: with a trace of every frame\n"
    "       sim [--from A] [--count N] [--jobs J]     a range; --keep-going: past 100 failures\n"
    "       --self: our stack against itself only\n";

static uint64_t
number(const char *text)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 0);
    if (errno || end == text || *end) {
        fprintf(stderr, "sim: not a number: %s\n", text);
        exit(2);
    }
    return n;
}

static void
start(struct worker *worker, uint64_t seed, const struct world_options *options)
{
    int excused;

    fflush(NULL);
    worker->seed = seed;
    worker->pid = fork();
    if (worker->pid < 0) {
        perror("sim: fork");
        exit(1);
    }
    if (worker->pid > 0)
        return;
    alarm(SEED_REAL_S);
    excused = world_run(seed, options);
    fflush(NULL);
    exit(excused > 0 ? EXIT_EXCUSED : 0);
}

static void
record(struct tally *tally, uint64_t seed, int status)
{
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_EXCUSED)) {
        tally->passed++;
        tally->excused += WEXITSTATUS(status) == EXIT_EXCUSED;
        return;
    }
    if (tally->failed < FAILURES_MAX)
        tally->failure[tally->failed] = seed;
    tally->failed++;
    if (WIFSIGNALED(status))
        printf("seed %" PRIu64 ": %s\n", seed,
               WTERMSIG(status) == SIGALRM ? "hangs in real time" : strsignal(WTERMSIG(status)));
    printf("  reproduce: sim%s --seed %" PRIu64 " -v\n", WITH_LWIP ? "" : " --self", seed);
}

// Waits for one child.
static void
reap(struct worker *workers, int jobs, struct tally *tally)
{
    int status;
    pid_t pid = wait(&status);

    for (int i = 0; i < jobs; i++) {
        if (workers[i].pid != pid)
            continue;
        workers[i].pid = 0;
        record(tally, workers[i].seed, status);
    }
}

static void
progress(const struct tally *tally, uint64_t count, time_t *last)
{
    time_t t = time(NULL);

    if (t < *last + 5)
        return;
    *last = t;
    printf("%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n", tally->passed + tally->failed,
           count, tally->failed);
    fflush(stdout);
}

static int
run_range(const struct range *range, const struct world_options *options)
{
    struct worker workers[JOBS_MAX] = {0};
    struct tally tally = {0};
    uint64_t next = 0;
    int busy = 0;
    time_t last = time(NULL), began = last;

    while (next < range->count || busy > 0) {
        bool more = next < range->count && (range->keep_going || tally.failed < FAILURES_STOP);

        for (int i = 0; more && i < range->jobs && next < range->count; i++) {
            if (workers[i].pid != 0)
                continue;
            start(&workers[i], range->from + next++, options);
            busy++;
        }
        if (busy == 0)
            break;
        reap(workers, range->jobs, &tally);
        busy--;
        progress(&tally, range->count, &last);
    }
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " passed (%" PRIu64
           " with a give-up that loss excuses), %" PRIu64 " failed, %ld s\n",
           tally.passed + tally.failed, range->from, tally.passed, tally.excused, tally.failed,
           (long)(time(NULL) - began));
    if (tally.failed == 0)
        return 0;
    printf("failed:");
    for (uint64_t i = 0; i < tally.failed && i < FAILURES_MAX; i++)
        printf(" %" PRIu64, tally.failure[i]);
    printf("\n");
    return 1;
}

int
main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},  {"from", required_argument, NULL, 'f'},
        {"count", required_argument, NULL, 'c'}, {"jobs", required_argument, NULL, 'j'},
        {"pcap", required_argument, NULL, 'p'},  {"verbose", no_argument, NULL, 'v'},
        {"self", no_argument, NULL, 'S'},        {"keep-going", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},        {0},
    };
    struct world_options options = {.with_lwip = WITH_LWIP};
    struct range range = {.from = 1, .count = 300, .jobs = 2};
    uint64_t seed = 0;
    bool one = false;
    int c;

    while ((c = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            seed = number(optarg);
            one = true;
            break;
        case 'f':
            range.from = number(optarg);
            break;
        case 'c':
            range.count = number(optarg);
            break;
        case 'j':
            range.jobs = (int)number(optarg);
            break;
        case 'p':
            options.pcap = optarg;
            break;
        case 'v':
            options.trace = true;
            break;
        case 'S':
            options.with_lwip = false;
            break;
        case 'k':
            range.keep_going = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc || range.jobs < 1 || range.jobs > JOBS_MAX) {
        fputs(usage, stderr);
        return 2;
    }
    if (!one)
        return run_range(&range, &options);
    world_run(seed, &options);
    printf("seed %" PRIu64 " passes\n", seed);
    return 0;
}
