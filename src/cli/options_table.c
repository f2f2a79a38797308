// SPDX-License-Identifier: BSD-3-Clause
// The table of all options, and what each does to the settings. What a value means is checked by
// config/guest_config where it goes there, else by the command (--link, --nic).
#include "cli/options_table.h"

#include "base/options.h"
#include "config/domain_xml.h"
#include "control/service.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_DIR_MAX (DEVICE_UNIX_PATH_MAX - strlen("/.sock") - UUID_LEN)

static int
set_channel(struct settings *s, const char *value, struct error *err)
{
    return guest_config_add_channel(&s->guest, value, err);
}

static int
set_inward(struct settings *s, const char *value, struct error *err)
{
    return guest_config_add_inward(&s->guest, value, err);
}

static int
set_chardev(struct settings *s, const char *value, struct error *err)
{
    return guest_config_add_chardev(&s->guest, value, err);
}

static int
set_link(struct settings *s, const char *value, struct error *err)
{
    s->link = value;
    return 0;
}

static int
set_nic(struct settings *s, const char *value, struct error *err)
{
    s->nic = value;
    return 0;
}

static int
set_name(struct settings *s, const char *value, struct error *err)
{
    s->has_name = true;
    return guest_config_set_name(&s->guest, value, err);
}

static int
set_net(struct settings *s, const char *value, struct error *err)
{
    return guest_config_set_net(&s->guest, value, err);
}

static int
set_net6(struct settings *s, const char *value, struct error *err)
{
    return guest_config_set_net6(&s->guest, value, err);
}

static int
set_mtu(struct settings *s, const char *value, struct error *err)
{
    s->has_mtu = true;
    return guest_config_set_mtu(&s->guest, value, err);
}

static int
set_poll_max_ns(struct settings *s, const char *value, struct error *err)
{
    return guest_config_set_poll_max_ns(&s->guest, value, err);
}

static int
set_max_connections(struct settings *s, const char *value, struct error *err)
{
    return guest_config_set_max_conns(&s->guest, value, err);
}

static int
set_sandbox(struct settings *s, const char *value, struct error *err)
{
    s->guest.sandbox_off = strcmp(value, "off") == 0;
    s->guest.sandbox_worker = strcmp(value, "worker") == 0;
    if (!s->guest.sandbox_off && !s->guest.sandbox_worker && strcmp(value, "on") != 0)
        return error_set(err, 0, "--sandbox: '%s': unknown (accepted: on, worker, off)", value);
    return 0;
}

// Names and numbers of the user database.
static int
set_user(struct settings *s, const char *value, struct error *err)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    bool is_number = *value >= '0' && *value <= '9' && *end == '\0' && number < (uid_t)-1;
    const struct passwd *p = is_number ? getpwuid((uid_t)number) : getpwnam(value);
    if (!p || strlen(p->pw_name) >= sizeof(s->user.name))
        return error_set(err, 0, "--user: '%s': no such user (accepted: a name or number)", value);
    if (geteuid() != 0 && geteuid() != p->pw_uid)
        return error_set(err, EPERM, "--user: cannot become %s", p->pw_name);
    s->user = (struct run_as){.uid = p->pw_uid, .gid = p->pw_gid, .group = (gid_t)-1};
    strcpy(s->user.name, p->pw_name);
    return 0;
}

static int
set_group(struct settings *s, const char *value, struct error *err)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    bool is_number = *value >= '0' && *value <= '9' && *end == '\0' && number < (gid_t)-1;
    const struct group *g = is_number ? getgrgid((gid_t)number) : getgrnam(value);
    if (!g)
        return error_set(err, 0, "--group: '%s': no such group (accepted: a name or number)",
                         value);
    s->guest.access.gid = g->gr_gid;
    return 0;
}

static int
set_mode(struct settings *s, const char *value, struct error *err)
{
    size_t digits = strspn(value, "01234567");
    unsigned long mode = strtoul(value, NULL, 8);
    if (digits == 0 || digits > 5 || value[digits] != '\0' || mode == 0 || mode > 0777)
        return error_set(err, 0, "--mode: '%s': not a mode (accepted: 1 to 777, octal)", value);
    s->guest.access.mode = (mode_t)mode;
    return 0;
}

static int
set_connect(struct settings *s, const char *value, struct error *err)
{
    s->uri = value;
    return 0;
}

static int
set_inactive(struct settings *s, const char *value, struct error *err)
{
    s->inactive = true;
    return 0;
}

static int
set_remove(struct settings *s, const char *value, struct error *err)
{
    s->remove = true;
    return 0;
}

static int
set_control(struct settings *s, const char *value, struct error *err)
{
    s->control = value;
    if (value[0] == '\0')
        return error_set(err, 0, "--control: empty (accepted: PATH, off)");
    return 0;
}

// A whole number as base/options reads it.
static int
set_number(const char *name, const char *value, uint32_t min, uint32_t max, uint32_t *out,
           struct error *err)
{
    struct option opt = {.key = "number"};
    int len = snprintf(opt.value, sizeof(opt.value), "%s", value);
    if (len > 0 && (size_t)len < sizeof(opt.value) && option_uint(&opt, min, max, out, NULL) == 0)
        return 0;
    return error_set(err, 0, "%s '%.64s': not a number in range (accepted: %u to %u)", name, value,
                     (unsigned)min, (unsigned)max);
}

static int
set_count(struct settings *s, const char *value, struct error *err)
{
    return set_number("--count", value, 1, UINT32_MAX, &s->count, err);
}

static int
set_interval(struct settings *s, const char *value, struct error *err)
{
    return set_number("--interval", value, 1, 3600, &s->interval_s, err);
}

static int
set_snaplen(struct settings *s, const char *value, struct error *err)
{
    return set_number("--snaplen", value, 1, CONTROL_SNAPLEN_MAX, &s->snaplen, err);
}

static int
set_json(struct settings *s, const char *value, struct error *err)
{
    s->json = true;
    return 0;
}

static int
set_xml(struct settings *s, const char *value, struct error *err)
{
    s->xml = value;
    return 0;
}

static int
set_reverse(struct settings *s, const char *value, struct error *err)
{
    s->reverse = true;
    return 0;
}

// The name of a socket in it is a UUID, and a path has at most 107 bytes.
static int
set_socket_dir(struct settings *s, const char *value, struct error *err)
{
    if (value[0] != '/' || strlen(value) > SOCKET_DIR_MAX)
        return error_set(err, 0,
                         "--socket-dir: '%.120s': not an absolute path of at most %zu bytes "
                         "(accepted: as in /run/vmchannel)",
                         value, SOCKET_DIR_MAX);
    s->socket_dir = value;
    return 0;
}

static int
set_vmi(struct settings *s, const char *value, struct error *err)
{
    s->vmi = value;
    return 0;
}

static int
set_domain(struct settings *s, const char *value, struct error *err)
{
    s->domain = value;
    return 0;
}

static int
set_dry_run(struct settings *s, const char *value, struct error *err)
{
    s->dry_run = true;
    return 0;
}

void
settings_raise_verbosity(struct settings *s)
{
    s->verbosity = s->verbosity < 0 ? 1 : s->verbosity + 1;
}

static int
set_verbose(struct settings *s, const char *value, struct error *err)
{
    settings_raise_verbosity(s);
    return 0;
}

static int
set_quiet(struct settings *s, const char *value, struct error *err)
{
    s->verbosity = -1;
    return 0;
}
#define EVERY_COMMAND (COMMAND_SERVE | COMMAND_RUN | COMMAND_QEMU)

const struct cli_option cli_options[] = {
    [OPTION_VMCHANNEL] = {"-vmchannel", NULL, "PORT:DEVICE",
                          "join the guest's TCP port PORT to DEVICE on the host, as in\n"
                          "600:unix:/some/path (repeatable); PORT may be a range, with\n"
                          "%p in DEVICE, as in 1000-1999:unix:/run/%p.sock",
                          EVERY_COMMAND, set_channel},
    [OPTION_VMCHANNEL_IN] = {"-vmchannel-in", NULL, "PORT:DEVICE",
                             "connect each client of DEVICE, which listens, to the guest's\n"
                             "PORT, as in 22:unix:/run/vm1.ssh (repeatable); with * for PORT\n"
                             "each client first names it: CONNECT 22",
                             EVERY_COMMAND, set_inward},
    [OPTION_CHARDEV] = {"-chardev", NULL, "BACKEND,id=ID[,OPTION...]",
                        "declare the device of PORT:chardev:ID, as QEMU's -chardev\n"
                        "does (repeatable)",
                        EVERY_COMMAND, set_chardev},
    {"--link", NULL, "LINK",
     "what carries the guest's network:\n"
     "  stream,path=PATH|addr=HOST:PORT|fd=N[,server=on|off]\n"
     "  message,path=PATH[,peer=PATH]\n"
     "  message,udp=HOST:PORT,peer=HOST:PORT\n"
     "  message,seqpacket=PATH[,server=on|off]\n"
     "  message,fd=N\n"
     "  tap,ifname=NAME[,netns=NETNS]|fd=N\n"
     "  packet,ifname=NAME[,netns=NETNS]|fd=N\n"
     "  vhost-user,path=PATH|fd=N[,server=on|off]\n"
     "  netns,path=/proc/PID/ns/net\n"
     "  hybrid,path=PATH\n"
     "  vsock,cid=N\n"
     "stream and message: [,offload=on|off]",
     COMMAND_SERVE, set_link},
    {"--link", NULL, "LINK",
     "tap, packet or netns; without it tap, or packet where\n"
     "/dev/net/tun cannot be opened",
     COMMAND_RUN, set_link},
    {"--link", NULL, "LINK", "stream (the default), dgram or vhost-user", COMMAND_QEMU, set_link},
    {"--xml", NULL, "FILE", "XML of a libvirt domain that says name, link and channels",
     COMMAND_SERVE, set_xml},
    {"--reverse", NULL, NULL, "from stock libvirt's XML back to the user's", COMMAND_XML,
     set_reverse},
    {"--vmi", NULL, "JSON", "the virtual machine instance, its annotations say the channels",
     COMMAND_KUBEVIRT_HOOK, set_vmi},
    {"--domain", NULL, "XML", "the domain that KubeVirt would define", COMMAND_KUBEVIRT_HOOK,
     set_domain},
    {"--socket-dir", NULL, "DIRECTORY", "where QEMU finds the link's socket (/run/vmchannel)",
     COMMAND_XML, set_socket_dir},
    {"--socket-dir", NULL, "DIRECTORY",
     "where QEMU finds the link's socket\n"
     "(/var/run/kubevirt-hooks/hook-sidecar-0)",
     COMMAND_KUBEVIRT_HOOK, set_socket_dir},
    {"--nic", NULL, "MODEL", "NIC of the guest (virtio-net-pci); --nic help lists them",
     COMMAND_QEMU, set_nic},
    {"--name", NULL, "NAME", "name of the guest, for logs and host services (guest)", EVERY_COMMAND,
     set_name},
    {"--net", NULL, "NETWORK",
     "network of the guest (10.0.2.0/24): channels are at\n"
     "its .4, the guest at its .15",
     EVERY_COMMAND, set_net},
    {"--net6", NULL, "NETWORK|off",
     "its IPv6 network (fd10:0:2::/64): channels are at its ::4\n"
     "too, where the link carries frames",
     EVERY_COMMAND, set_net6},
    {"--mtu", NULL, "BYTES",
     "largest IP packet, 576 to 65520 (1500; for a virtio NIC of\n"
     "QEMU's by a stream 65520)",
     EVERY_COMMAND, set_mtu},
    {"--max-connections", NULL, "N", "of the guest at once, 1 to 65536 (4096)", EVERY_COMMAND,
     set_max_connections},
    {"--poll-max-ns", NULL, "N",
     "while waits are short, look for events for so long before\n"
     "sleeping, 0 to 1000000 (50000); 0: sleep at once",
     EVERY_COMMAND, set_poll_max_ns},
    {"--sandbox", NULL, "on|worker|off",
     "whether our processes are locked up (on); worker: the one\n"
     "that reads what the guest sends alone, or off, where the\n"
     "kernel forbids it",
     EVERY_COMMAND, set_sandbox},
    {"--user", NULL, "USER",
     "become USER and its groups once the link is open, for root\n"
     "only; devices are opened by USER, the link's socket is its",
     COMMAND_SERVE, set_user},
    {"--mode", NULL, "MODE",
     "mode of Unix sockets that are made (0700), as in 0660: who\n"
     "may connect may write",
     EVERY_COMMAND, set_mode},
    {"--group", NULL, "GROUP", "group of Unix sockets that are made", EVERY_COMMAND, set_group},
    {"--control", NULL, "PATH|off",
     "where add, del, list and stats reach this daemon; without it\n"
     "a guest with a --name is reached by that name",
     COMMAND_SERVE | COMMAND_QEMU, set_control},
    {"--control", NULL, "PATH|off",
     "where add, del, list and stats reach these channels (off:\n"
     "COMMAND could reach it too)",
     COMMAND_RUN, set_control},
    {"--count", NULL, "N", "end after so many frames (pcap), tables (top)",
     COMMAND_PCAP | COMMAND_TOP, set_count},
    {"--interval", NULL, "SECONDS", "time between two tables (2)", COMMAND_TOP, set_interval},
    {"--snaplen", NULL, "BYTES", "to write of each frame at most (65550)", COMMAND_PCAP,
     set_snaplen},
    {"--json", NULL, NULL, "print JSON", COMMAND_STATS, set_json},
    {"--dry-run", NULL, NULL, "print what was understood and the memory bound, then exit",
     COMMAND_SERVE, set_dry_run},
    {"--connect", "c", "URI",
     "of libvirt, such as qemu:///system or qemu:///session;\n"
     "without it virsh's default",
     COMMAND_LIBVIRT | COMMAND_DUMPXML, set_connect},
    {"--inactive", NULL, NULL, "what is defined, also while the domain runs", COMMAND_DUMPXML,
     set_inactive},
    {"--remove", NULL, NULL, "remove the hook instead", COMMAND_INSTALL_HOOK, set_remove},
    {"--verbose", "v", NULL, "log more (repeatable)", EVERY_COMMAND, set_verbose},
    {"--quiet", NULL, NULL, "log errors only", EVERY_COMMAND, set_quiet},
};

const size_t cli_option_count = sizeof(cli_options) / sizeof(cli_options[0]);
