// SPDX-License-Identifier: BSD-3-Clause
// vmchannel qemu: QEMU's command line as in 2009, with -vmchannel in it. Starts the broker beside
// QEMU, adds a NIC whose network is the broker, and becomes QEMU, so that its exit status, signals
// and terminal are QEMU's own.
#include "base/log.h"
#include "base/uuid.h"
#include "cli/broker_process.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/qemu_netdev.h"
#include "cli/qemu_vhost_user.h"
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NETDEV_ID "vmchannel0"
#define USB_ID    "vmchannel0-usb"

#define ETHERNET_MTU 1500

struct nic {
    const char *model;
    const char *options;    // for -device
    const char *controller; // a -device that must come before, or NULL
    uint16_t mtu;           // the largest, for NICs whose driver is told by the device; else 0
    const char *about;
};

// No boot ROM where there is one to leave out: this network has nothing to boot from, and looking
// for it takes seconds.
#define PCI "romfile="

static const struct nic nics[] = {
    {"virtio-net-pci", PCI, NULL, 65520, "the default, and the fastest"},
    {"e1000", PCI, NULL, 0, "Intel 82540EM"},
    {"e1000e", PCI, NULL, 0, "Intel 82574L"},
    {"rtl8139", PCI, NULL, 0, "Realtek"},
    {"pcnet", PCI, NULL, 0, "AMD"},
    {"ne2k_pci", PCI, NULL, 0, "NE2000"},
    {"vmxnet3", PCI, NULL, 0, "VMware"},
    {"usb-net", "bus=" USB_ID ".0", "qemu-xhci,id=" USB_ID, 0,
     "USB CDC Ethernet, with a controller"},
};

#define NIC_COUNT (sizeof(nics) / sizeof(nics[0]))

static void
print_nics(void)
{
    for (size_t i = 0; i < NIC_COUNT; i++)
        printf("%-16s%s\n", nics[i].model, nics[i].about);
    printf("Other models of QEMU's -device are passed on as they are. MODEL,PROPERTY=VALUE sets\n"
           "properties, as in e1000,mac=52:54:00:00:00:01.\n");
}

// The known model that text ("MODEL" or "MODEL,PROPERTY=VALUE...") names; any other as given.
static struct nic
find_nic(const char *text)
{
    size_t len = strcspn(text, ",");
    for (size_t i = 0; i < NIC_COUNT; i++)
        if (strlen(nics[i].model) == len && memcmp(nics[i].model, text, len) == 0)
            return nics[i];
    return (struct nic){.options = ""};
}

static char *
format(const char *fmt, ...)
{
    char *text;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        die_errno(ENOMEM, "command line");
    va_end(args);
    return text;
}

// What is executed: the user's words and ours behind them. Behind, so that the user's own devices
// keep their slots and MACs.
struct qemu_command {
    char **argv;
    char *netdev, *device; // in argv; netdev may be NULL
};

// Without offload a frame is a segment, so what a guest moves in a second goes by their size: where
// the NIC can, it is as large as the link takes. A vhost-user guest has offload, and the MTU from
// our back end.
static uint16_t
choose_mtu(const struct settings *s, enum qemu_link link, const struct nic *nic)
{
    bool may_grow = !s->has_mtu && link == QEMU_LINK_STREAM && nic->mtu;
    return may_grow ? nic->mtu : s->guest.mtu;
}

// "" or one more property.
static char *
mtu_property(const struct nic *nic, enum qemu_link link, uint16_t mtu)
{
    bool is_told = nic->mtu && link != QEMU_LINK_VHOST_USER && mtu != ETHERNET_MTU;
    return is_told ? format(",host_mtu=%u", (unsigned)mtu) : format("%s", "");
}

static struct qemu_command
make_command(char **argv, const struct nic *nic, const char *nic_text, const char *mtu,
             char *netdev, const struct qemu_vhost *vhost)
{
    struct qemu_command c;
    size_t count = 0, model_len = strcspn(nic_text, ",");
    // virtio-net-pci, or virtio-net for short; others have no vectors.
    bool is_pci =
        !memmem(nic_text, model_len, "-device", 7) && !memmem(nic_text, model_len, "-ccw", 4);
    while (argv[count])
        count++;
    c.argv = calloc(count + 7 + QEMU_VHOST_WORDS_MAX, sizeof(*c.argv));
    if (!c.argv)
        die_errno(ENOMEM, "command line");
    c.netdev = netdev;
    c.device = format("%.*s,netdev=" NETDEV_ID "%s%s%s%s%s", (int)model_len, nic_text,
                      *nic->options ? "," : "", nic->options, mtu,
                      vhost && is_pci ? vhost->device_options : "", nic_text + model_len);

    memcpy(c.argv, argv, count * sizeof(*c.argv));
    for (size_t i = 0; vhost && vhost->words[i]; i++)
        c.argv[count++] = vhost->words[i];
    if (netdev) {
        c.argv[count++] = (char *)"-netdev";
        c.argv[count++] = c.netdev;
    }
    if (nic->controller) {
        c.argv[count++] = (char *)"-device";
        c.argv[count++] = (char *)nic->controller;
    }
    c.argv[count++] = (char *)"-device";
    c.argv[count++] = c.device;
    return c;
}

static void
free_command(struct qemu_command *c)
{
    free(c->netdev);
    free(c->device);
    free(c->argv);
}

// QEMU's other side: a socket whose other end it inherits, or the vhost-user socket.
struct other_side {
    enum qemu_link kind;
    int qemu_fd, link_fd;     // -1: none
    int qemu_life_fd, end_fd; // a pipe, for what does not tell QEMU's end; -1: none
    struct qemu_vhost vhost;
    const char *control; // socket of that path, NULL: none
    bool control_by_name;
};

static void
close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static int
broker_main(const struct guest_config *guest, const struct other_side *side, int status_fd)
{
    bool is_stream = side->kind == QEMU_LINK_STREAM;
    bool is_vhost = side->kind == QEMU_LINK_VHOST_USER;
    struct broker_config config = {
        .guest = guest,
        .link = {.kind = is_vhost    ? LINK_VHOST_USER
                         : is_stream ? LINK_STREAM
                                     : LINK_MESSAGE,
                 .carrier = LINK_CARRIER_FD,
                 .server = is_vhost,
                 .fd = side->link_fd},
        // QEMU's end: closed by its exit, however that comes, and also when it has gone on as a
        // child of what we start (-daemonize). A vhost-user link may come back.
        .lock_up = !guest->sandbox_off && !guest->sandbox_worker,
        .removes_link_dir = is_vhost,
        .exit_on_link_down = !is_vhost,
        .control_path = side->control,
        .control_by_name = side->control_by_name,
        // A stream tells that, the others do not.
        .guest_end_fd = is_stream ? NULL : &side->end_fd,
    };
    if (is_vhost)
        snprintf(config.link.path, sizeof(config.link.path), "%s", side->vhost.path);
    int rc = broker_process_run(&config, signals_stop_fd(), status_fd);
    if (is_vhost)
        qemu_vhost_remove_dir(&side->vhost);
    return rc;
}

// Starts the broker as nobody's child (QEMU would not know what to do with one) and waits until it
// is ready. Gives the descriptor that ends when the broker has ended.
static int
start_broker(const struct guest_config *guest, const struct other_side *side)
{
    int status[2];
    struct error err;

    if (pipe2(status, O_CLOEXEC) < 0)
        die_errno(errno, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        die_errno(errno, "fork");
    if (pid == 0) {
        close_fd(side->qemu_fd);
        close_fd(side->qemu_life_fd);
        close(status[0]);
        pid = fork();
        if (pid != 0)
            _exit(pid < 0 ? EXIT_FAILED : EXIT_SUCCESS);
        exit(broker_main(guest, side, status[1]));
    }
    close_fd(side->link_fd);
    close_fd(side->end_fd);
    close(status[1]);
    waitpid(pid, NULL, 0);
    if (broker_process_await(status[0], &err) < 0)
        die(&err);
    return status[0];
}

// Gives the -netdev for what was opened; NULL where the words of side->vhost have it.
static char *
open_side(struct other_side *side, char **argv)
{
    int fds[2];
    if (side->kind != QEMU_LINK_STREAM) {
        if (pipe2(fds, O_CLOEXEC) < 0)
            die_errno(errno, "pipe");
        side->end_fd = fds[0];
        side->qemu_life_fd = fds[1];
    }
    if (side->kind == QEMU_LINK_VHOST_USER) {
        struct error err;
        if (qemu_vhost_prepare(&side->vhost, argv, NETDEV_ID, &err) < 0)
            die(&err);
        return NULL;
    }
    enum qemu_age age = qemu_ask_age(argv[0]);
    int type = side->kind == QEMU_LINK_STREAM ? SOCK_STREAM : SOCK_DGRAM;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
        die_errno(errno, "socketpair");
    side->qemu_fd = fds[0];
    side->link_fd = fds[1];
    char *netdev = qemu_netdev(side->kind, age, NETDEV_ID, fds[0]);
    if (!netdev)
        die_errno(ENOMEM, "command line");
    return netdev;
}

static void
let_inherit(int fd)
{
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

static int
start_qemu(struct settings *s, enum qemu_link link, const char *nic_text, char **argv)
{
    struct nic nic = find_nic(nic_text);
    s->guest.mtu = choose_mtu(s, link, &nic);
    char *mtu = mtu_property(&nic, link, s->guest.mtu);
    struct other_side side = {
        .kind = link, .qemu_fd = -1, .link_fd = -1, .qemu_life_fd = -1, .end_fd = -1};
    char end;
    side.control = settings_control(s, &side.control_by_name);

    char *netdev = open_side(&side, argv);
    int status_fd = start_broker(&s->guest, &side);
    struct qemu_command c = make_command(argv, &nic, nic_text, mtu, netdev,
                                         link == QEMU_LINK_VHOST_USER ? &side.vhost : NULL);
    free(mtu);
    let_inherit(side.qemu_fd);
    let_inherit(side.qemu_life_fd);
    execvp(c.argv[0], c.argv);

    int status = exec_failure_status(errno);
    log_error("%s: %s", argv[0], strerror(errno));
    free_command(&c);
    qemu_vhost_free_words(&side.vhost);
    close_fd(side.qemu_fd);
    close_fd(side.qemu_life_fd);
    if (link == QEMU_LINK_VHOST_USER)
        return status; // the broker sees our end, and has more to clean up than it has us to wait
    while (read(status_fd, &end, 1) > 0) // the broker cleans up
        ;
    return status;
}

static enum qemu_link
find_link(const char *text)
{
    if (!text || strcmp(text, "stream") == 0)
        return QEMU_LINK_STREAM;
    if (strcmp(text, "dgram") == 0)
        return QEMU_LINK_DGRAM;
    if (strcmp(text, "vhost-user") == 0)
        return QEMU_LINK_VHOST_USER;
    die_usage("qemu: link '%s': unknown (accepted: stream, dgram, vhost-user)", text);
}

// Of QEMU's -uuid: the last one counts, and QEMU refuses one that is none.
static void
take_uuid(struct guest_config *guest, char **argv)
{
    char uuid[UUID_LEN + 1];
    for (; argv[0] && argv[1]; argv++)
        if ((strcmp(argv[0], "-uuid") == 0 || strcmp(argv[0], "--uuid") == 0) &&
            uuid_parse(argv[1], uuid))
            memcpy(guest->uuid, uuid, sizeof(uuid));
}

static int
qemu_main(const struct command *self, char **argv)
{
    struct settings s;

    settings_init(&s);
    char **qemu = settings_parse(&s, self, argv);
    const char *nic = s.nic ? s.nic : nics[0].model;
    if (strcmp(nic, "help") == 0 || strcmp(nic, "?") == 0) {
        print_nics();
        finish_output();
        return EXIT_SUCCESS;
    }
    if (*nic == '\0' || *nic == ',')
        die_usage("qemu: --nic '%s': no model (accepted: see --nic help)", nic);
    enum qemu_link link = find_link(s.link);
    if (link == QEMU_LINK_VHOST_USER && strncmp(nic, "virtio-", 7) != 0)
        die_usage("qemu: --nic '%s': not with --link vhost-user (accepted: virtio-net-pci and "
                  "other virtio NICs)",
                  nic);
    if (!*qemu)
        die_usage("qemu: no program given (accepted: options, then qemu-system-... and its "
                  "arguments)");
    settings_take_channels(&s, qemu + 1);
    take_uuid(&s.guest, qemu + 1);
    settings_need_channel(&s, self);
    settings_apply_verbosity(&s, LOG_WARN);
    int status = start_qemu(&s, link, nic, qemu);
    settings_fini(&s);
    return status;
}

const struct command command_qemu = {
    .id = COMMAND_QEMU,
    .name = "qemu",
    .synopsis = "[OPTION...] [--] QEMU [ARGUMENT | -vmchannel PORT:DEVICE]...",
    .summary = "start QEMU, with -vmchannel among its options",
    .text =
        "Starts QEMU (qemu-system-x86_64 or another) with one NIC more, whose network are the\n"
        "channels. Every -vmchannel among QEMU's arguments is taken out, all others are QEMU's.\n"
        "The options below stand before QEMU, but for -vmchannel, which may stand anywhere.",
    .main = qemu_main,
};
