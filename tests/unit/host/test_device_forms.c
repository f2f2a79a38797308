// SPDX-License-Identifier: BSD-3-Clause
// Every form of the device grammar: what is understood, field by field, and how each wrong one is
// told. The same strings through QEMU are in tests/e2e/test_grammar.py.
#include "device_rig.h"

static void
expect_valid(const struct valid *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct device dev;
        struct error err = {{0}};
        if (device_parse(rows[i].text, &dev, &err) != 0)
            fail_msg("%s: %s", rows[i].text, err.text);
        expect_fields(rows[i].text, &dev, rows[i].fields);
    }
}

static void
expect_invalid(const struct invalid *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct device dev;
        struct error err = {{0}};
        int rc = device_parse(rows[i].text, &dev, &err);
        expect_message(rows[i].text, rc, &err, rows[i].part);
    }
}

TEST(unix_sockets)
{
    static const struct valid rows[] = {
        {"unix:/p", "unix path=/p"},
        {"unix:path=/p", "unix path=/p"},
        {"unix:/p,server", "unix path=/p server wait"},
        {"unix:/p,server=on,wait=off", "unix path=/p server"},
        {"unix:/p,nowait,server", "unix path=/p server"},
        {"unix:/p,server=off", "unix path=/p"},
        {"unix:/p,reconnect=5,max=3,name=x", "unix path=/p reconnect=5 max=3 name=x"},
        {"unix:p,abstract", "unix path=p abstract"},
        {"unix:p,abstract=yes,tight=n", "unix path=p abstract no-tight"},
        {"unix:/p,telnet=on", "unix path=/p telnet"},
        {"unix:/p,websocket,server,nowait", "unix path=/p server websocket"},
        {"unix:/p,mux=off", "unix path=/p"},
        {"unix:/p,proxy=v2", "unix path=/p proxy"},
        {"unix:/p,server,nowait,proxy=v2", "unix path=/p server proxy"},
        {"unix:/a,,b,logfile=/c,,d,logappend", "unix path=/a,b logappend logfile=/c,d"},
    };
    expect_valid(rows, ROWS(rows));
}

TEST(tcp_telnet_and_websocket)
{
    static const struct valid rows[] = {
        {"tcp:localhost:600", "tcp remote=localhost|600"},
        {"tcp::600", "tcp remote=|600"},
        {"tcp::ssh", "tcp remote=|ssh"},
        {"tcp:10.0.0.1:1,server", "tcp remote=10.0.0.1|1 server wait"},
        {"tcp::65535,server,nowait", "tcp remote=|65535 server"},
        {"tcp:[::1]:600", "tcp remote=::1|600"},
        {"tcp:[fe80::1%eth0]:600", "tcp remote=fe80::1%eth0|600"},
        {"tcp:h:1,nodelay", "tcp remote=h|1 nodelay"},
        {"tcp:h:1,nodelay=on", "tcp remote=h|1 nodelay"},
        {"tcp:h:1,nodelay=off", "tcp remote=h|1"},
        {"tcp:h:1,delay=off", "tcp remote=h|1 nodelay"},
        {"tcp:h:1,delay", "tcp remote=h|1"},
        {"tcp:h:1,reconnect=7", "tcp remote=h|1 reconnect=7"},
        {"tcp:h:1,ipv4", "tcp remote=h|1 no-ipv6"},
        {"tcp:h:1,ipv4=off", "tcp remote=h|1 no-ipv4"},
        {"tcp:h:1,ipv6=on", "tcp remote=h|1 no-ipv4"},
        {"tcp:h:1,noipv6", "tcp remote=h|1 no-ipv6"},
        {"tcp:h:1,ipv4=on,ipv6=on", "tcp remote=h|1"},
        {"tcp:h:1,telnet", "telnet remote=h|1 telnet"},
        {"tcp:h:1,telnet=off", "tcp remote=h|1"},
        {"tcp:h:1,websocket,server", "websocket remote=h|1 server wait websocket"},
        {"telnet:h:1", "telnet remote=h|1 telnet"},
        {"telnet::1,server,nowait,telnet=off", "telnet remote=|1 server telnet"},
        {"websocket:127.0.0.1:1,server,nowait", "websocket remote=127.0.0.1|1 server websocket"},
        {"tcp:h:1,max=2,name=n,logfile=/l", "tcp remote=h|1 max=2 name=n logfile=/l"},
    };
    expect_valid(rows, ROWS(rows));
}

TEST(udp_and_vsock)
{
    static const struct valid rows[] = {
        {"udp::600", "udp remote=|600"},
        {"udp:h:600", "udp remote=h|600"},
        {"udp:h:600@:601", "udp remote=h|600 local=|601"},
        {"udp:h:600@:0", "udp remote=h|600 local=|0"},
        {"udp::1@127.0.0.1:2", "udp remote=|1 local=127.0.0.1|2"},
        {"udp:[::1]:1@[::]:2", "udp remote=::1|1 local=::|2"},
        {"udp:h:1,ipv4,name=x,max=1", "udp remote=h|1 no-ipv6 name=x"},
        {"vsock:3:600", "vsock cid=3 port=600"},
        {"vsock:1:4294967294", "vsock cid=1 port=4294967294"},
        {"vsock:4294967294:0,reconnect=1,max=9", "vsock cid=4294967294 port=0 reconnect=1 max=9"},
    };
    expect_valid(rows, ROWS(rows));
}

TEST(files_and_terminals)
{
    static const struct valid rows[] = {
        {"pty", "pty"},
        {"pty,name=x", "pty name=x"},
        {"pty:/run/vm1.tty", "pty path=/run/vm1.tty"},
        {"pty:/l,logfile=/f,logappend=on", "pty path=/l logappend logfile=/f"},
        {"file:/f", "file path=/f"},
        {"file:f", "file path=f"},
        {"file:path=/f", "file path=path=/f"}, // QEMU's, too: the rest is the name
        {"file:/a=b", "file path=/a=b"},
        {"file:/a:b", "file path=/a:b"},
        {"file:/a,,append=on", "file path=/a,append=on"},
        {"file:/f,append", "file path=/f append"},
        {"file:/f,append=off,max=1", "file path=/f"},
        {"pipe:/p", "pipe path=/p"},
        {"pipe:a=b", "pipe path=a=b"},
        {"stdio", "stdio signal"},
        {"stdio,signal=off", "stdio"},
        {"/dev/ttyS0", "serial path=/dev/ttyS0"},
        {"/dev/a=b,name=x", "serial path=/dev/a=b name=x"},
        {"/dev/hvc0,logfile=/f", "serial path=/dev/hvc0 logfile=/f"},
        {"serial:/dev/ttyS0", "serial path=/dev/ttyS0"},
        {"serial:/other/tty", "serial path=/other/tty"},
        {"null", "null"},
        {"null,max=4", "null max=4"},
        {"cmd:cat", "cmd path=cat"},
        {"cmd:A=b sh -c 'x: y',max=5", "cmd path=A=b sh -c 'x: y' max=5"},
        {"cmd:cut -d,, -f1,name=x", "cmd path=cut -d, -f1 name=x"},
    };
    expect_valid(rows, ROWS(rows));
}

TEST(wrong_addresses)
{
    static const struct invalid rows[] = {
        {"tcp:", "tcp: '' has no ':' before a port (accepted: [HOST]:PORT, with an IPv6 address"},
        {"tcp:600", "tcp: '600' has no ':' before a port"},
        {"tcp::", "tcp: no port"},
        {"tcp:localhost:", "tcp: no port"},
        {"tcp::0,server", "tcp: port '0' is neither a number from 1 to 65535 nor the name of a"},
        {"tcp::65536", "port '65536'"},
        {"tcp::70000", "port '70000'"},
        {"tcp::-1", "port '-1'"},
        {"tcp::6 0", "port '6 0'"},
        {"tcp::abcdefghijklmnopqrstuvwxyz012345", "port 'abcdefghijklmnopqrstuvwxyz012345'"},
        {"tcp:::1:600", "port ':1:600'"},
        {"tcp:fe80::1:600", "port ':1:600'"},
        {"tcp:fe80::1:600", "with an IPv6 address in brackets, as in [::1]:600"},
        {"tcp:[::1:600", "tcp: '[::1:600' has no ':' before a port"},
        {"tcp:[::1]", "tcp: '[::1]' has no ':' before a port"},
        {"tcp:[::1]600", "has no ':' before a port"},
        {"tcp:[::1]x:600", "'[::1]x' is not an IPv6 address in brackets"},
        {"tcp:[]:600", "'[]' is not an IPv6 address in brackets"},
        {"tcp:[10.0.0.1]:600", "'[10.0.0.1]' is not an IPv6 address in brackets"},
        {"tcp:[fe80::1%]:600", "is not an IPv6 address in brackets"},
        {"tcp:a b:600", "tcp: host with a space or control character"},
        {"tcp:a\nb:600", "tcp: host with a space or control character"},
        {"telnet:600", "telnet: '600' has no ':'"},
        {"websocket:600,server", "websocket: '600' has no ':'"},
        {"udp:", "udp: '' has no ':'"},
        {"udp:1", "udp: '1' has no ':'"},
        {"udp::0", "udp: port '0' is neither a number from 1"},
        {"udp::1@", "udp: '' has no ':'"},
        {"udp::1@2", "udp: '2' has no ':'"},
        {"udp::@:2", "udp: no port"},
        {"udp::1@:", "udp: no port"},
        {"udp::1@:65536", "port '65536' is neither a number from 0 to 65535"},
        {"udp::1@:2@:3", "port '2@:3'"},
        {"vsock:", "vsock: '' is not CID:PORT (accepted: vsock:CID:PORT"},
        {"vsock:3", "vsock: '3' is not CID:PORT"},
        {"vsock:3:", "vsock: port '' is no port"},
        {"vsock::1", "vsock: CID '' is no machine's"},
        {"vsock:0:1", "vsock: CID '0' is no machine's"},
        {"vsock:4294967295:1", "vsock: CID '4294967295'"},
        {"vsock:3:4294967295", "vsock: port '4294967295'"},
        {"vsock:3:-1", "vsock: port '-1'"},
        {"vsock:3:99999999999999999999", "is not CID:PORT"},
    };
    expect_invalid(rows, ROWS(rows));
}

TEST(wrong_options)
{
    static const struct invalid rows[] = {
        {"tcp:h:1,foo", "tcp: unknown option 'foo' (accepted: server=on|off, wait=on|off, "
                        "reconnect=S, nodelay=on|off, ipv4=on|off, ipv6=on|off, telnet=on|off, "
                        "websocket=on|off, max=N, conn-rate=N, idle=S, rate=BYTES, burst=BYTES, "
                        "proxy=v2, name=NAME, logfile=PATH, logappend=on|off)"},
        {"tcp:h:1,path=/p", "tcp: option 'path' does not go with this device (accepted: server"},
        {"tcp:h:1,host=i", "tcp: option 'host' does not go with this device"},
        {"tcp:h:1,abstract", "option 'abstract' does not go with this device"},
        {"tcp:h:1,wait", "tcp: option 'wait' needs server=on (accepted: server=on|off, reconnect"},
        {"telnet:h:1,nowait", "telnet: option 'wait' needs server=on"},
        {"tcp:h:1,server,reconnect=1", "tcp: option 'reconnect' does not go with server=on"},
        {"tcp:h:1,ipv4=off,ipv6=off", "tcp: option 'ipv6' is off, and so is ipv4"},
        {"tcp:h:1,nodelay=x", "option nodelay: 'x' is not on or off"},
        {"tcp:h:1,reconnect=0x10", "option reconnect: '0x10' is not a number"},
        {"tcp:h:1,", "nothing follows the last comma"},
        {"websocket:h:1", "websocket: a websocket needs server=on: as in QEMU, there is no client"},
        {"websocket:h:1,server=off", "a websocket needs server=on"},
        {"tcp:h:1,websocket", "a websocket needs server=on"},
        {"unix:/p,websocket", "unix: a websocket needs server=on"},
        {"websocket:h:1,server,telnet", "option 'telnet' does not go with websocket"},
        {"telnet:h:1,server,websocket", "option 'telnet' does not go with websocket"},
        {"udp:h:1,server", "udp: option 'server' does not go with this device (accepted: ipv4"},
        {"udp:h:1,max=2", "option max: udp is one thing and serves one connection at a time"},
        {"pty:", "pty: empty path"},
        {"pty,server", "pty: option 'server' does not go with this device (accepted: max=N"},
        {"pty,", "nothing follows the last comma"},
        {"pty:/a,path=/b", "pty: option 'path' does not go"},
        {"file:", "file: empty path (accepted: file:PATH)"},
        {"file:,append", "file: empty path"},
        {"file:/a,b", "file: unknown option 'b' (accepted: append=on|off, max=N"},
        {"file:/a,max=2", "option max: file is one thing"},
        {"file:/a,logappend", "file: option 'logappend' needs logfile=PATH"},
        {"pipe:", "pipe: empty path"},
        {"pipe:/a,append", "pipe: option 'append' does not go with this device"},
        {"stdio:", "stdio:: unknown device"},
        {"stdio,echo=off", "stdio: unknown option 'echo' (accepted: signal=on|off"},
        {"serial:", "serial: empty path"},
        {"/dev/ttyS0,speed=9600", "serial: unknown option 'speed'"},
        {"null,x", "null: unknown option 'x'"},
        {"null,logfile", "option logfile: needs a value"},
        {"null,logfile=", "option logfile: needs a value"},
        {"cmd:", "cmd: empty command (accepted: cmd:COMMAND)"},
        {"cmd:cut -d, -f1", "cmd: unknown option ' -f1'"},
        {"vsock:3:1,server", "vsock: option 'server' does not go with this device"},
        {"chardev:x", "chardev:x: refused, there is no -chardev here"},
    };
    expect_invalid(rows, ROWS(rows));
}

TEST(options_that_no_device_has_say_what_to_use_instead)
{
    static const struct invalid rows[] = {
        {"tcp::1,server,to=9", "option 'to' is refused, nobody would know which port was free"},
        {"unix:/p,fd=3", "option 'fd' is not in this version; use a path or an address"},
        {"unix:/p,id=x", "option 'id' belongs to -chardev; use name=NAME instead"},
        {"tcp:h:1,tn3270", "option 'tn3270' is refused, it is a terminal of s390"},
        {"tcp:h:1,tls-creds=x", "option 'tls-creds' is refused, there is no TLS here; use"},
        {"tcp:h:1,tls-authz=x", "option 'tls-authz' is refused, there is no TLS here"},
        {"unix:/p,mux=on", "option mux: only QEMU can share a device"},
    };
    expect_invalid(rows, ROWS(rows));
}

TEST(the_longest_path_fits_and_a_longer_one_does_not)
{
    char text[1200] = "file:";
    struct device dev;
    struct error err = {{0}};
    memset(text + 5, 'x', DEVICE_TEXT_MAX);
    assert_int_equal(device_parse(text, &dev, &err), 0);
    assert_int_equal(strlen(dev.path), DEVICE_TEXT_MAX);
    text[5 + DEVICE_TEXT_MAX] = 'x';
    expect_message(text, device_parse(text, &dev, &err), &err, "longer than 1023 bytes");
}

TEST(what_is_one_thing_is_exclusive)
{
    static const char *const one[] = {"udp::1", "pty", "file:/f", "pipe:/p", "stdio", "/dev/x"};
    static const char *const many[] = {"unix:/p", "tcp::1", "telnet::1", "websocket::1,server",
                                       "null",    "cmd:x",  "vsock:3:1"};
    struct device dev;
    for (size_t i = 0; i < ROWS(one); i++) {
        assert_int_equal(device_parse(one[i], &dev, NULL), 0);
        assert_true(device_is_exclusive(dev.kind));
        assert_int_equal(dev.max, 1);
    }
    for (size_t i = 0; i < ROWS(many); i++) {
        assert_int_equal(device_parse(many[i], &dev, NULL), 0);
        assert_false(device_is_exclusive(dev.kind));
        assert_int_equal(dev.max, 0);
    }
}

TEST(only_a_server_that_does_not_wait_accepts_early)
{
    struct device dev;
    assert_int_equal(device_parse("unix:/p,server,nowait", &dev, NULL), 0);
    assert_true(device_accepts_early(&dev));
    assert_int_equal(device_parse("tcp::1,server", &dev, NULL), 0);
    assert_false(device_accepts_early(&dev));
    assert_int_equal(device_parse("unix:/p", &dev, NULL), 0);
    assert_false(device_accepts_early(&dev));
}

TEST(descriptions_say_all_that_matters)
{
    static const struct valid rows[] = {
        {"unix:/p", "unix socket /p, connected to for each guest connection"},
        {"unix:/p,server", "unix socket /p, listened on, the guest's connect waits for a client"},
        {"unix:p,abstract,tight=off,server,nowait,telnet",
         "abstract unix socket p, padded, listened on, the guest connects at once, speaks telnet"},
        {"tcp::600,server,nowait", "tcp *:600, listened on, the guest connects at once"},
        {"tcp:[::1]:600,reconnect=5,nodelay,ipv6,max=9,name=n,logfile=/l,logappend",
         "tcp [::1]:600, connected to for each guest connection, retried every 5 s, without delay, "
         "IPv6 only, at most 9 at once, called n, log appended to /l"},
        {"telnet::600", "telnet localhost:600, connected to for each guest connection"},
        {"udp::600",
         "udp to localhost:600 from *:any, opened at start, for one guest connection at "
         "a time"},
        {"pty:/l", "new pseudo-terminal linked from /l, opened at start, for one guest connection "
                   "at a time"},
        {"file:/f,logfile=/l", "file /f, truncated at start, opened at start, for one guest "
                               "connection at a time, logged to /l"},
        {"cmd:cat -n", "command cat -n, run for each guest connection"},
        {"unix:/p,server,websocket=on",
         "unix socket /p, listened on, the guest's connect waits for a client, speaks websocket"},
        {"unix:/p,conn-rate=7,idle=9", "unix socket /p, connected to for each guest connection, at "
                                       "most 7 opened per second, reset when idle for 9 s"},
        {"null,rate=1000",
         "nothing, all is swallowed, for any guest connection, at most 1000 bytes "
         "per second each way (4k at once)"},
        {"null,rate=5M,burst=3G", "nothing, all is swallowed, for any guest connection, at most 5M "
                                  "bytes per second each way (3G at once)"},
        {"vsock:3:1", "vsock CID 3 port 1, connected to for each guest connection"},
        {"null", "nothing, all is swallowed, for any guest connection"},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct device dev;
        char text[512];
        assert_int_equal(device_parse(rows[i].text, &dev, NULL), 0);
        device_describe(&dev, text, sizeof(text));
        assert_string_equal(text, rows[i].fields);
        device_describe(&dev, text, 10);
        assert_int_equal(strlen(text), 9);
        assert_memory_equal(text, rows[i].fields, 9);
        device_describe(&dev, text, 1);
        assert_string_equal(text, "");
    }
}
