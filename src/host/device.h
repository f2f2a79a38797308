// SPDX-License-Identifier: BSD-3-Clause
// The device grammar: the text behind "-vmchannel PORT:" (and, with PORT, the whole of it) as QEMU
// 7.2's -serial understands it -> struct, with QEMU's defaults. Pure: opens nothing.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_UNIX_PATH_MAX 107 // sun_path without its NUL (unix(7))
#define DEVICE_TEXT_MAX      1023
#define DEVICE_NAME_MAX      63
#define CHARDEV_ID_MAX       63

enum device_kind {
    DEVICE_UNIX,      // unix:PATH
    DEVICE_TCP,       // tcp:[HOST]:PORT
    DEVICE_TELNET,    // telnet:[HOST]:PORT
    DEVICE_WEBSOCKET, // websocket:[HOST]:PORT, server only
    DEVICE_UDP,       // udp:[RHOST]:RPORT[@[LHOST]:LPORT]
    DEVICE_PTY,       // pty[:LINK]
    DEVICE_FILE,      // file:PATH
    DEVICE_PIPE,      // pipe:PATH
    DEVICE_STDIO,     // stdio
    DEVICE_TTY,       // /dev/ttyS0, /dev/..., serial:PATH
    DEVICE_NULL,      // null
    DEVICE_CMD,       // cmd:COMMAND
    DEVICE_VSOCK,     // vsock:CID:PORT
};

struct device_addr {
    char host[256]; // "" when left out; [v6] without its brackets
    char port[32];  // number or service name; "" when left out (udp's local side)
};

struct device {
    enum device_kind kind;
    char path[DEVICE_TEXT_MAX + 1]; // unix, file, pipe, tty; pty: the symbolic link or "";
                                    // cmd: the command
    struct device_addr remote;      // tcp, telnet, websocket (with server: what we listen on), udp
    struct device_addr local;       // udp
    uint32_t vsock_cid, vsock_port;
    bool server;    // we listen, the host program connects
    bool wait;      // server: hold the guest's connect until a host client is there (default on)
    bool nodelay;   // tcp: TCP_NODELAY
    bool telnet;    // the stream is telnet's: always with DEVICE_TELNET, else unix:PATH,telnet=on
    bool websocket; // the same of WebSocket; never both, and never without server
    bool ipv4;      // tcp, udp: addresses that may be used (default both; never neither)
    bool ipv6;
    bool abstract;        // unix: abstract name
    bool tight;           // unix: abstract name without trailing zeros (default on)
    bool append;          // file
    bool signal;          // stdio: Ctrl-C on our terminal still raises SIGINT (default on)
    uint32_t reconnect_s; // client: retry every S seconds instead of refusing; 0: refuse
    uint32_t max;         // max=: connections at once; 0: no limit of its own; 1 when exclusive
    uint32_t conn_rate;   // conn-rate=: connections opened per second; 0: as many as come
    uint32_t idle_s;      // idle=: reset a connection that moved no byte for so long; 0: never
    uint64_t rate;        // rate=: bytes per second, each direction by itself; 0: no limit
    uint64_t burst;       // burst=: bytes that may come at once; with rate never 0
    bool proxy;           // proxy=v2: a PROXY header leads the stream
    char name[DEVICE_NAME_MAX + 1];    // name=; "" when not given
    char logfile[DEVICE_TEXT_MAX + 1]; // logfile=: what the guest sends goes there, too
    bool logappend;
};

struct chardev_spec { // -chardev BACKEND,id=ID,...
    char id[CHARDEV_ID_MAX + 1];
    struct device device;
};

struct channel_spec {
    uint16_t port; // 1..65535; inward: the guest's, or 0: the one that each host client names
    bool inward;   // -vmchannel-in: clients of the device are connected to the guest
    struct device device;
    char text[256]; // the device as it was written, for log lines (cut if longer)
};

// A device that is one thing: opened at start, serves one guest connection at a time.
bool device_is_exclusive(enum device_kind kind);
// Whether a guest may be answered before the host end is there (server=on,wait=off).
bool device_accepts_early(const struct device *dev);

const char *device_kind_name(enum device_kind kind); // the word it begins with: "unix", "udp", ...
// What the device is and does, for people: "unix socket /p, connected to for each guest
// connection". Cut where out ends.
void device_describe(const struct device *dev, char *out, size_t out_size);

// Each: 0, or -EINVAL with err naming the thing, the reason and what is accepted.
// device_parse refuses "chardev:ID": config/guest_config knows those.
int device_parse(const char *text, struct device *out, struct error *err);
// QEMU's -chardev.
int chardev_parse(const char *text, struct chardev_spec *out, struct error *err);
// The id in the text of a -chardev, however wrong the rest: true, or false when there is none.
bool chardev_find_id(const char *text, char id[CHARDEV_ID_MAX + 1]);
bool chardev_id_is_valid(const char *id);
// How the port of a channel is called: by its number, or "*" where each host client names one (0).
struct port_text {
    char text[6];
};
struct port_text channel_port_text(uint16_t port);
// Decimal digits alone, 1 to 65535.
bool channel_port_parse(const char *text, size_t len, uint16_t *out);
// An entry of a table of channels: false where it is empty.
bool channel_spec_is_used(const struct channel_spec *spec);
// How many are inward.
uint32_t channel_specs_inward(const struct channel_spec *specs, size_t count);
// "PORT:DEVICE"; ranges "FIRST-LAST:DEVICE" with %p are config/guest_config's to expand.
int channel_spec_parse(const char *text, struct channel_spec *out, struct error *err);
