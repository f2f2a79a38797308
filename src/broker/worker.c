// SPDX-License-Identifier: BSD-3-Clause
// The worker, stage by stage; each gives something up, and none comes after a guest byte:
//   namespaces   of its own, from birth (broker/sandbox_namespaces)
//   signals      back to their defaults; those of a terminal or a service manager are ignored,
//                since the broker decides when we end, and ends us by closing our socket
//   descriptors  all closed but stderr and the broker's socket; 0 and 1 become /dev/null
//   files        an empty root; then capabilities and limits (broker/sandbox_namespaces)
//   process      killed when the broker dies, not dumpable or traceable, no new privileges
//   calls        but for those that relaying takes (broker/sandbox_seccomp), once all that can be
//                made beforehand is made
// From then on no open, socket or connect: what needs one is asked of the broker. With
// --sandbox=off only signals, descriptors and process are done. The relaying is lib/vmchannel's.
#include "broker/worker.h"

#include "base/log.h"
#include "broker/courier.h"
#include "broker/sandbox.h"
#include "host/opener.h"
#include "lib/vmchannel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SOCK_FD       3
#define DRAIN_LOOK_US 1000
#define QUEUE_EXTRA   8 // messages that are neither OPEN nor CANCEL

struct worker {
    const struct guest_config *guest;
    struct hub_counters *counters; // shared with the broker
    struct vmc *vmc;
    struct courier broker;
    uint32_t link; // number of the link attached, 0: none
    int drain_timer;
    int exit_status;
};

// Each live connection may cancel once, so an open must leave room for as many cancels.
static void
ask_open(void *ctx, uint64_t session, uint16_t channel, const struct stack_peer *peer)
{
    struct worker *w = ctx;
    struct message m = {.type = MESSAGE_OPEN,
                        .session = session,
                        .channel = channel,
                        .guest_addr = peer->addr,
                        .guest_addr6 = peer->addr6,
                        .guest_port = peer->port};
    if (courier_room(&w->broker) <= w->guest->max_conns + QUEUE_EXTRA ||
        !courier_send(&w->broker, &m, -1))
        vmc_refused(w->vmc, session, -EBUSY);
}

static void
ask_cancel(void *ctx, uint64_t session)
{
    struct worker *w = ctx;
    courier_send(&w->broker, &(struct message){.type = MESSAGE_CANCEL, .session = session}, -1);
}

// Counted devices alone; the courier has room as for a cancel, since a session has but one of the
// two.
static void
tell_closed(void *ctx, uint64_t session, uint16_t channel)
{
    struct worker *w = ctx;
    if (opener_counts(&w->guest->channels[channel].device))
        courier_send(&w->broker, &(struct message){.type = MESSAGE_CLOSED, .session = session}, -1);
}

static void
on_link_down(void *ctx)
{
    struct worker *w = ctx;
    if (w->link == 0)
        return;
    courier_send(&w->broker, &(struct message){.type = MESSAGE_LINK_DOWN, .link = w->link}, -1);
    w->link = 0;
}

static void
take_link(struct worker *w, const struct message *m, int fd)
{
    w->link = m->link;
    vmc_set_offload(w->vmc, m->link_offload);
    int rc = fd < 0 ? -EMFILE : vmc_attach_fd(w->vmc, (enum link_kind)m->link_kind, fd);
    if (rc == 0)
        return;
    log_error("%s: link: cannot use what was opened: %s", w->guest->name, strerror(-rc));
    on_link_down(w);
}

// Looked at again and again: the last milliseconds of a worker need no event of their own. Not at
// once: what the guest did last may still wait to be read or accepted.
static void
wait_to_drain(struct worker *w)
{
    loop_timer_set(vmc_loop(w->vmc), w->drain_timer, loop_clock_us() + DRAIN_LOOK_US);
}

static void
on_drain_timer(void *ctx)
{
    struct worker *w = ctx;
    if (vmc_guest_has_finished(w->vmc))
        loop_stop(vmc_loop(w->vmc));
    else
        wait_to_drain(w);
}

// What the broker has written into a pipe, and closed.
static bool
read_spec(int fd, struct channel_spec *out)
{
    size_t len = 0;
    while (len < sizeof(*out)) {
        ssize_t n = read(fd, (char *)out + len, sizeof(*out) - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return true;
}

static void
add_channel(struct worker *w, uint16_t index, int fd)
{
    struct channel_spec *spec = &w->guest->channels[index];
    struct error err;
    bool ok = fd >= 0 && read_spec(fd, spec);
    if (fd >= 0)
        close(fd);
    if (!ok) {
        log_error("%s: a channel to be added got lost on its way", w->guest->name);
        return;
    }
    if (vmc_add_channel(w->vmc, index, spec, &err) < 0)
        log_error("%s: %s", w->guest->name, err.text);
}

static void
on_message(void *ctx, const struct message *m, const int *fds, size_t nfds)
{
    struct worker *w = ctx;
    int fd = nfds > 0 ? fds[0] : -1;
    int rc;
    switch (m->type) {
    case MESSAGE_OPENED:
        if (nfds == m->fds) {
            vmc_opened(w->vmc, m->session, fds, nfds);
            break;
        }
        vmc_refused(w->vmc, m->session, -EMFILE);
        ask_cancel(w, m->session);
        break;
    case MESSAGE_REFUSED:
        vmc_refused(w->vmc, m->session, m->why);
        if (m->why == -ETOOMANYREFS) // it was opened, and lost its descriptors on the way
            ask_cancel(w, m->session);
        break;
    case MESSAGE_LOG:
        if (fd >= 0)
            vmc_set_log(w->vmc, (uint16_t)m->channel, fd);
        else
            log_error("%s: channel %s: no descriptor left for its logfile", w->guest->name,
                      channel_port_text(w->guest->channels[m->channel].port).text);
        break;
    case MESSAGE_DRAIN:
        vmc_lift_rates(w->vmc);
        wait_to_drain(w);
        break;
    case MESSAGE_CHANNEL:
        add_channel(w, (uint16_t)m->channel, fd);
        break;
    case MESSAGE_REMOVE:
        vmc_remove_channel(w->vmc, (uint16_t)m->channel);
        break;
    case MESSAGE_SYNC:
        courier_send(&w->broker, &(struct message){.type = MESSAGE_SYNCED, .session = m->session},
                     -1);
        break;
    case MESSAGE_CAPTURE:
        if (fd >= 0)
            vmc_capture(w->vmc, fd, m->snaplen);
        break;
    case MESSAGE_LINK:
        take_link(w, m, fd);
        break;
    case MESSAGE_LISTENER:
        vmc_set_guest_cid(w->vmc, m->guest_cid);
        rc = fd < 0 ? -EMFILE : vmc_attach_listener(w->vmc, (uint16_t)m->channel, fd);
        if (rc < 0)
            log_error("%s: channel %u: cannot listen: %s", w->guest->name,
                      w->guest->channels[m->channel].port, strerror(-rc));
        break;
    default: // courier lets nothing else through
        break;
    }
}

// The broker is ours: what it should not say means that nothing can be relied on.
static void
on_garbage(void *ctx)
{
    struct worker *w = ctx;
    log_error("%s: worker: malformed message from the broker", w->guest->name);
    w->exit_status = 1;
    loop_stop(vmc_loop(w->vmc));
}

static void
on_gone(void *ctx)
{
    struct worker *w = ctx;
    loop_stop(vmc_loop(w->vmc));
}

static const struct courier_events events = {
    .on_message = on_message, .on_garbage = on_garbage, .on_gone = on_gone};

// Said by abort(3). As pid 1 we are spared what a signal does by default.
static void
on_abort(int signal_number)
{
    _exit(WORKER_ABORTED);
}

static void
reset_signals(void)
{
    static const int defaults[] = {SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2, SIGWINCH, SIGIO};
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXFSZ};
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        signal(defaults[i], SIG_DFL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGABRT, on_abort);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// False when a descriptor could not be put in its place.
static bool
keep_own_descriptors(int sock, int null_fd)
{
    // Out of the way of 0 to 3 first, so that no dup2 hits what is still needed.
    int s = fcntl(sock, F_DUPFD_CLOEXEC, SOCK_FD + 2);
    int n = fcntl(null_fd, F_DUPFD_CLOEXEC, SOCK_FD + 2);
    if (s < 0 || n < 0 || dup2(n, 0) < 0 || dup2(n, 1) < 0)
        return false;
    return dup3(s, SOCK_FD, O_CLOEXEC) == SOCK_FD && close_range(SOCK_FD + 1, ~0U, 0) == 0;
}

// A broker that died before the first prctl is seen by the end of its socket.
static bool
give_up_privileges(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0)
        return false;
    // As many connections as the limits of this process allow; nobody select()s here.
    struct rlimit nofile;
    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
        nofile.rlim_cur = nofile.rlim_max;
        setrlimit(RLIMIT_NOFILE, &nofile);
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

// What libc opens files for at first use: the message catalogue of strerror.
static void
warm_libc(void)
{
    (void)strerror(ENOENT);
}

static int
serve(struct worker *w)
{
    const struct guest_config *g = w->guest;
    struct hub_opener opener = {
        .open = ask_open, .cancel = ask_cancel, .closed = tell_closed, .ctx = w};
    struct vmc_config vc = {.guest = g->name,
                            .channel_addr = g->channel_addr,
                            .guest_addr = g->guest_addr,
                            .netmask = g->netmask,
                            .channel_addr6 = guest_config_channel_addr6(g),
                            .mtu = g->mtu,
                            .max_conns = g->max_conns,
                            .channels = g->channels,
                            .channel_count = g->channel_count,
                            .opener = &opener,
                            .counters = w->counters};
    struct error err;
    w->vmc = vmc_new(&vc, &err);
    if (!w->vmc) {
        log_error("%s: worker: %s", g->name, err.text);
        return 1;
    }
    loop_set_poll(vmc_loop(w->vmc), g->poll_max_ns / 1000);
    vmc_on_link_down(w->vmc, on_link_down, w);
    w->drain_timer = loop_timer_new(vmc_loop(w->vmc), on_drain_timer, w);
    struct message_limits limits = {.from_worker = false, .channels = GUEST_CHANNELS_MAX};
    int rc = courier_init(&w->broker, vmc_loop(w->vmc), SOCK_FD, 2 * (g->max_conns + QUEUE_EXTRA),
                          &limits, &events, w);
    if (rc == 0 && !g->sandbox_off && sandbox_filter(&err) < 0) {
        log_error("%s: worker: sandbox: %s", g->name, err.text);
        return 1;
    }
    if (rc == 0) {
        courier_send(&w->broker, &(struct message){.type = MESSAGE_READY, .session = g->changes},
                     -1);
        rc = loop_run(vmc_loop(w->vmc));
    }
    if (rc < 0)
        log_error("%s: worker: %s", g->name, strerror(-rc));
    return rc < 0 ? 1 : w->exit_status;
}

void
worker_main(const struct guest_config *guest, struct hub_counters *counters, int sock, int null_fd)
{
    struct error err;
    prctl(PR_SET_NAME, "vmc-worker");
    reset_signals();
    warm_libc();
    if (!keep_own_descriptors(sock, null_fd)) {
        log_error("%s: worker: sandbox: descriptors: %s", guest->name, strerror(errno));
        _exit(1);
    }
    if (!guest->sandbox_off && sandbox_give_up(&err) < 0) {
        log_error("%s: worker: sandbox: %s", guest->name, err.text);
        _exit(1);
    }
    if (!give_up_privileges()) {
        log_error("%s: worker: sandbox: process flags: %s", guest->name, strerror(errno));
        _exit(1);
    }
    struct worker w = {.guest = guest, .counters = counters};
    // _exit: what the parent registered to run at exit is the parent's.
    _exit(serve(&w));
}
