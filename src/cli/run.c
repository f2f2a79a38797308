// SPDX-License-Identifier: BSD-3-Clause
// vmchannel run: COMMAND in a network namespace of its own, without privilege. Three processes:
//
//   parent   starts the other two, passes signals on, returns COMMAND's exit status
//   child    enters new namespaces, makes the link there, hands it over, becomes COMMAND
//   broker   stays in the caller's namespaces and serves the link
//
// In this order: the child is in its namespaces and the link is ours; the parent and what it forks
// from then on are closed to ptrace(2), as COMMAND runs under the same uid (across user namespaces
// the kernel refuses it anyway; this is the second lock); the broker is ready; only then is COMMAND
// executed. It starts with no capability over anything outside of its namespaces, and cannot set
// itself back: they belong to a user namespace that is not its own. The child dies with the parent
// (PR_SET_PDEATHSIG), the broker when the pipe from the parent closes.
#include "base/fdpass.h"
#include "base/log.h"
#include "cli/broker_process.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run_netns.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRAIN_MS 2000 // for a host program that reads slowly what COMMAND sent last

// What child and parent tell each other, over a SOCK_SEQPACKET pair; descriptors may come with it.
struct message {
    int rc;              // 0, or -errno: the child gave up
    enum link_kind kind; // with descriptors: of the link
    struct error err;    // with rc
};

// What the child left to the parent.
struct guest_side {
    enum link_kind kind;
    struct link_listener *ends; // the link as fd of the one; for LINK_NETNS one for each channel
    size_t count;
};

// --- child -------------------------------------------------------------------------------------

static void
send_message(int sock, const struct message *m, const struct link_listener *end)
{
    int fds[2] = {end ? end->fd : -1, end ? end->fd6 : -1};
    size_t count = fds[0] < 0 ? 0 : fds[1] < 0 ? 1 : 2;
    if (fdpass_send(sock, m, sizeof(*m), fds, count) < 0)
        _exit(EXIT_FAILED); // the parent is gone
}

_Noreturn static void
child_give_up(int sock, int rc, const struct error *err)
{
    struct message m = {.rc = rc, .err = *err};
    send_message(sock, &m, NULL);
    _exit(EXIT_FAILED);
}

// Until the parent says go on. It closes the socket when there is nothing to go on for.
static void
child_wait(int sock)
{
    struct message m;
    size_t nfds = 0;
    if (fdpass_recv(sock, &m, sizeof(m), NULL, &nfds) != sizeof(m))
        _exit(EXIT_FAILED);
}

static void
child_send_link(int sock, const struct guest_config *guest, enum run_link link)
{
    struct message m = {.rc = 0};
    size_t room = guest->channel_count;
    struct link_listener *ends = calloc(room, sizeof(*ends));
    if (!ends)
        _exit(EXIT_FAILED);
    for (size_t i = 0; i < room; i++)
        ends[i] = LINK_LISTENER_NONE;
    int rc = run_netns_set_up(guest, link, &m.kind, ends, &m.err);
    if (rc < 0)
        child_give_up(sock, rc, &m.err);
    size_t count = m.kind == LINK_NETNS ? guest->channel_count : 1;
    for (size_t i = 0; i < count; i++) {
        send_message(sock, &m, &ends[i]);
        link_listener_close(&ends[i]);
    }
    free(ends);
}

_Noreturn static void
child_main(int sock, pid_t parent, const struct guest_config *guest, enum run_link link,
           const sigset_t *mask, char **command)
{
    struct message m = {.rc = 0};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    int rc = run_netns_enter(&m.err);
    if (rc < 0)
        child_give_up(sock, rc, &m.err);
    send_message(sock, &m, NULL);
    child_wait(sock); // ids are mapped
    child_send_link(sock, guest, link);
    child_wait(sock); // the broker is ready

    prctl(PR_SET_PDEATHSIG, SIGKILL); // a change of credentials would have cleared it
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(command[0], command);
    error_set(&m.err, errno, "%s", command[0]);
    child_give_up(sock, -errno, &m.err);
}

// --- parent ------------------------------------------------------------------------------------

// One message of the child, with its descriptors. 0, or what the child or the socket said.
static int
parent_receive(int sock, struct message *m, struct link_listener *end)
{
    int fds[2] = {-1, -1};
    size_t nfds = 2;
    ssize_t n = fdpass_recv(sock, m, sizeof(*m), fds, &nfds);
    *end = (struct link_listener){fds[0], fds[1]};
    if (n != sizeof(*m))
        return error_set(&m->err, n < 0 ? (int)-n : EPIPE, "new namespaces");
    return m->rc;
}

static void
parent_go(int sock)
{
    struct message m = {.rc = 0};
    send_message(sock, &m, NULL);
}

// Steps the child through its set-up. On failure the program ends, and the child with it.
static struct guest_side
parent_set_up(int sock, pid_t child, const struct guest_config *guest)
{
    struct guest_side side = {.count = 1};
    struct link_listener none;
    struct message m;

    if (parent_receive(sock, &m, &none) < 0 || run_netns_map_ids(child, &m.err) < 0)
        die(&m.err);
    parent_go(sock);

    side.ends = calloc(guest->channel_count, sizeof(*side.ends));
    if (!side.ends)
        die_errno(ENOMEM, "channels");
    for (size_t i = 0; i < side.count; i++) {
        if (parent_receive(sock, &m, &side.ends[i]) < 0)
            die(&m.err);
        side.kind = m.kind;
        side.count = m.kind == LINK_NETNS ? guest->channel_count : 1;
    }
    return side;
}

static void
guest_side_close(struct guest_side *side)
{
    for (size_t i = 0; i < side->count; i++)
        link_listener_close(&side->ends[i]);
    free(side->ends);
}

static int
broker_main(const struct guest_config *guest, const struct guest_side *side, const char *control,
            int stop_fd, int status_fd)
{
    bool frames = link_kind_is_frames(side->kind);
    struct broker_config config = {
        .guest = guest,
        .link = {.kind = side->kind, .fd = frames ? side->ends[0].fd : -1},
        .listeners = frames ? NULL : side->ends,
        .lock_up = !guest->sandbox_off && !guest->sandbox_worker,
        .exit_on_link_down = true,
        .control_path = control,
        .drain_ms = DRAIN_MS,
    };
    return broker_process_run(&config, stop_fd, status_fd);
}

// Starts the broker and waits until it is ready. *stop_fd: closing it ends the broker.
static pid_t
start_broker(const struct guest_config *guest, const struct guest_side *side, const char *control,
             int sock, int *stop_fd)
{
    int stop[2], status[2];
    struct error err;

    if (pipe2(stop, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0)
        die_errno(errno, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        die_errno(errno, "fork");
    if (pid == 0) {
        close(sock);
        close(stop[1]);
        close(status[0]);
        exit(broker_main(guest, side, control, stop[0], status[1]));
    }
    close(stop[0]);
    close(status[1]);
    if (broker_process_await(status[0], &err) < 0) {
        waitpid(pid, NULL, 0);
        die(&err);
    }
    close(status[0]);
    *stop_fd = stop[1];
    return pid;
}

// Lets the child become COMMAND. 0, or the exit status when it could not.
static int
execute_command(int sock, pid_t child)
{
    struct message m;
    size_t nfds = 0;

    parent_go(sock);
    // The socket is closed by the exec: nothing to read is the good answer.
    if (fdpass_recv(sock, &m, sizeof(m), NULL, &nfds) != sizeof(m))
        return 0;
    waitpid(child, NULL, 0);
    log_error("%s", m.err.text);
    return exec_failure_status(-m.rc);
}

static int
run(const struct guest_config *guest, enum run_link link, const char *control, char **command)
{
    int sock[2], stop_fd;
    sigset_t mask;
    pid_t parent = getpid();

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0)
        die_errno(errno, "socketpair");
    signal(SIGCHLD, SIG_DFL); // ignored by our caller, it would eat COMMAND's exit status
    signals_block(&mask);
    // What COMMAND leaves behind becomes ours, to be ended with the network it was in.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t child = fork();
    if (child < 0)
        die_errno(errno, "fork");
    if (child == 0) {
        close(sock[0]);
        child_main(sock[1], parent, guest, link, &mask, command);
    }
    close(sock[1]);
    signal(SIGPIPE, SIG_IGN);

    struct guest_side side = parent_set_up(sock[0], child, guest);
    prctl(PR_SET_DUMPABLE, 0);
    pid_t broker = start_broker(guest, &side, control, sock[0], &stop_fd);
    guest_side_close(&side);

    int status = execute_command(sock[0], child);
    close(sock[0]);
    if (status == 0)
        status = signals_supervise(child, broker);
    // First what COMMAND left behind, so that nothing more is sent; then the broker, which still
    // brings to the host what was.
    signals_kill_children(broker);
    close(stop_fd);
    signals_reap(broker);
    return status;
}

static enum run_link
parse_link(const char *text)
{
    if (!text)
        return RUN_LINK_AUTO;
    if (strcmp(text, "tap") == 0)
        return RUN_LINK_TAP;
    if (strcmp(text, "packet") == 0)
        return RUN_LINK_PACKET;
    if (strcmp(text, "netns") == 0)
        return RUN_LINK_NETNS;
    die_usage("run: link '%s': unknown (accepted: tap, packet, netns)", text);
}

static int
run_main(const struct command *self, char **argv)
{
    struct settings s;

    settings_init(&s);
    char **command = settings_parse(&s, self, argv);
    enum run_link link = parse_link(s.link);
    if (link == RUN_LINK_NETNS)
        settings_check_link(&s, LINK_NETNS);
    settings_need_channel(&s, self);
    if (!*command)
        die_usage("run: no command given (accepted: options, then a program and its arguments)");
    settings_apply_verbosity(&s, LOG_WARN);
    // By name alone there is none: COMMAND runs as our user and could open itself more doors.
    bool by_name;
    int status = run(&s.guest, link, settings_control(&s, &by_name), command);
    settings_fini(&s);
    return status;
}

const struct command command_run = {
    .id = COMMAND_RUN,
    .name = "run",
    .synopsis = "-vmchannel PORT:DEVICE... [OPTION...] [--] COMMAND [ARGUMENT...]",
    .summary = "run a command that reaches nothing but its channels",
    .text = "Runs COMMAND in a network namespace whose only way out are the channels. Needs no\n"
            "privilege. Exits with COMMAND's status, 128+N when signal N killed it.",
    .main = run_main,
};
