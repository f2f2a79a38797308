// SPDX-License-Identifier: BSD-3-Clause
// The device grammar by the example of Unix sockets, the words that are refused, and PORT:DEVICE;
// the other forms are in test_device_forms.c. What QEMU 7.2 takes is taken with QEMU's defaults;
// what it takes silently and wrongly is refused with the thing, the reason and what is accepted.
#include "test.h"

#include "host/device.h"

#include <errno.h>
#include <stdio.h>

#define PATH_107                                                                                   \
    "/23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"   \
    "12345678901234567"

static struct device
parsed(const char *text)
{
    struct device dev;
    struct error err = {{0}};
    if (device_parse(text, &dev, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return dev;
}

// part: what the message must say, besides "accepted" or the reason.
static void
refused(const char *text, const char *part)
{
    struct device dev;
    struct error err = {{0}};
    assert_int_equal(device_parse(text, &dev, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("'%s' gave '%s', without '%s'", text, err.text, part);
}

static void
spec_refused(const char *text, const char *part)
{
    struct channel_spec spec;
    struct error err = {{0}};
    assert_int_equal(channel_spec_parse(text, &spec, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("'%s' gave '%s', without '%s'", text, err.text, part);
}

TEST(client_has_qemus_defaults)
{
    struct device dev = parsed("unix:/some/path");
    assert_int_equal(dev.kind, DEVICE_UNIX);
    assert_string_equal(dev.path, "/some/path");
    assert_false(dev.server);
    assert_false(dev.wait);
    assert_false(dev.abstract);
    assert_true(dev.tight);
    assert_int_equal(dev.reconnect_s, 0);
    assert_int_equal(dev.max, 0);
    assert_string_equal(dev.name, "");
}

TEST(server_waits_unless_told_not_to)
{
    assert_true(parsed("unix:/p,server").wait);
    assert_true(parsed("unix:/p,server=on").server);
    assert_true(parsed("unix:/p,server,wait").wait);
    assert_false(parsed("unix:/p,server,nowait").wait);
    assert_false(parsed("unix:/p,server=on,wait=off").wait);
    assert_false(parsed("unix:/p,nowait,server").wait);
    assert_false(parsed("unix:/p,server=off").server);
    assert_false(parsed("unix:/p,noserver").server);
    assert_false(parsed("unix:/p,server,server=off").server); // the last one counts, as in QEMU
}

TEST(path_is_taken_in_every_form)
{
    assert_string_equal(parsed("unix:path=/p").path, "/p");
    assert_string_equal(parsed("unix:path=/p,server,nowait").path, "/p");
    assert_string_equal(parsed("unix:relative/p").path, "relative/p");
    assert_string_equal(parsed("unix:server").path, "server"); // QEMU's, too: the first piece
    assert_string_equal(parsed("unix:/a,,b,server").path, "/a,b");
    assert_string_equal(parsed("unix:path=/a,,b").path, "/a,b");
    assert_string_equal(parsed("unix:" PATH_107).path, PATH_107);
}

TEST(other_options_are_read)
{
    assert_int_equal(parsed("unix:/p,reconnect=5").reconnect_s, 5);
    assert_int_equal(parsed("unix:/p,reconnect=0").reconnect_s, 0);
    assert_true(parsed("unix:name,abstract=on").abstract);
    assert_true(parsed("unix:name,abstract").abstract);
    assert_false(parsed("unix:name,abstract=on,tight=off").tight);
    assert_int_equal(parsed("unix:/p,max=1").max, 1);
    assert_int_equal(parsed("pty,conn-rate=9").conn_rate, 9);
    assert_int_equal(parsed("cmd:cat").idle_s, 0);
    assert_int_equal(parsed("null,idle=604800").idle_s, 604800);
    assert_string_equal(parsed("unix:/p,name=virsh").name, "virsh");
}

TEST(rate_is_read_with_its_burst)
{
    static const struct {
        const char *text;
        uint64_t rate, burst;
    } rows[] = {
        {"unix:/p", 0, 0},
        {"unix:/p,rate=1", 1, 4096},
        {"tcp:h:1,rate=40960", 40960, 4096},
        {"null,rate=50000", 50000, 5000},
        {"pty,rate=64k", 65536, 6553},
        {"cmd:cat,rate=2M", 2 << 20, (2 << 20) / 10},
        {"vsock:2:1,rate=1g,burst=32m", 1 << 30, 32 << 20},
        {"unix:/p,burst=1,rate=50", 50, 1}, // the last whose fiftieth is one byte
        {"unix:/p,burst=1G,rate=1", 1, 1 << 30},
        {"unix:/p,rate=1024G,burst=1099511627776", UINT64_C(1) << 40, UINT64_C(1) << 40},
        {"unix:/p,rate=1099511627776", UINT64_C(1) << 40, (UINT64_C(1) << 40) / 10},
        {"unix:/p,rate=5,burst=10,rate=7,burst=9", 7, 9},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct device dev = parsed(rows[i].text);
        assert_int_equal(dev.rate, rows[i].rate);
        assert_int_equal(dev.burst, rows[i].burst);
    }
}

TEST(bad_rates_are_refused)
{
    refused("unix:/p,rate", "option rate: '' is not a number of bytes from 1 to 1024G (accepted: "
                            "digits, and k, M or G behind them for 1024, 1024^2 or 1024^3)");
    refused("unix:/p,rate=", "option rate: ''");
    refused("unix:/p,rate=0", "option rate: '0'");
    refused("unix:/p,rate=0k", "option rate: '0k'");
    refused("unix:/p,rate=-1", "option rate: '-1'");
    refused("unix:/p,rate=k", "option rate: 'k'");
    refused("unix:/p,rate=1kB", "option rate: '1kB'");
    refused("unix:/p,rate=1.5M", "option rate: '1.5M'");
    refused("unix:/p,rate=1 k", "option rate: '1 k'");
    refused("unix:/p,rate=1T", "option rate: '1T'");
    refused("unix:/p,rate=1025G", "option rate: '1025G'");
    refused("unix:/p,rate=1099511627777", "option rate");
    refused("unix:/p,rate=18446744073709551617", "option rate"); // 2^64 + 1
    refused("unix:/p,rate=17179869185G", "option rate");         // 2^64 + 2^30
    refused("unix:/p,burst=5", "option 'burst' needs rate=BYTES (accepted: path=PATH");
    refused("unix:/p,rate=5,burst=0", "option burst: '0'");
    refused("unix:/p,rate=5,burst=2000G", "option burst: '2000G'");
    refused("unix:/p,rate=1M,burst=20000", "option burst: too small for that rate, which could not "
                                           "be reached (accepted: a fiftieth of rate, 20971, or");
}

TEST(misplaced_options_are_named)
{
    refused("unix:/p,wait",
            "option 'wait' needs server=on (accepted: path=PATH, server=on|off, reconnect=S");
    refused("unix:/p,nowait", "option 'wait' needs server=on");
    refused("unix:/p,server=off,wait=on", "option 'wait' needs server=on");
    refused("unix:/p,server,reconnect=1", "option 'reconnect' does not go with server=on");
    refused("unix:/p,reconnect=0,server", "option 'reconnect' does not go with server=on");
    refused("unix:/p,tight=off", "option 'tight' needs abstract=on");
}

TEST(unknown_options_are_named_with_the_accepted_ones)
{
    refused("unix:/p,foo=1", "'foo'");
    refused("unix:/p,foo=1", "reconnect=S");
    refused("unix:/p,nodelay", "'nodelay'");
    refused("unix:/p,to=5", "'to'");
    refused("unix:/p,path", "'path'");
    refused("unix:/p,", "comma");
    refused("unix:/p,=x", "name");
}

TEST(bad_values_are_refused)
{
    refused("unix:/p,server=maybe", "'maybe' is not on or off");
    refused("unix:/p,reconnect", "option reconnect");
    refused("unix:/p,reconnect=-1", "'-1'");
    refused("unix:/p,reconnect=99999999999", "'99999999999'");
    refused("unix:/p,max=0", "option max");
    refused("unix:/p,max=65537", "option max");
    refused("unix:/p,max=1x", "option max");
    refused("unix:/p,conn-rate=0", "option conn-rate");
    refused("unix:/p,conn-rate=1000001", "option conn-rate");
    refused("null,idle=0", "option idle");
    refused("null,idle=-1", "option idle");
    refused("null,idle", "option idle");
    refused("unix:/p,name", "option name");
    refused("unix:/p,name=", "option name");
    refused("unix:/p,name=a\nb", "control characters");
    refused("unix:/p,name=" PATH_107, "at most 63");
}

TEST(bad_paths_are_refused)
{
    refused("unix:", "empty path");
    refused("unix:path=", "empty path");
    refused("unix:,server,nowait", "empty path");
    refused("unix:" PATH_107 "8", "path of 108 bytes, a unix socket takes at most 107");
    refused("unix:path=" PATH_107 "8,server", "path of 108 bytes");
    refused("unix:/a,path=/b", "path given twice ('/a' and '/b')");
}

TEST(devices_that_cannot_be_channels_are_refused_with_the_reason)
{
    static const char *const never[] = {
        "mon:stdio",   "mon:unix:/p",   "vc",        "vc:80Cx24C", "braille",
        "msmouse",     "wctablet",      "none",      "con:",       "COM1",
        "COM3",        "/dev/parport0", "/dev/ppi0", "spicevmc",   "spicevmc:usbredir",
        "spiceport:x", "tn3270::1",     "testdev",   "gdb"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        refused(never[i], never[i]);
        refused(never[i], ": refused, ");
        refused(never[i], " instead; accepted: unix:PATH, tcp:");
    }
}

TEST(other_words_are_unknown)
{
    refused("", "empty device");
    refused("unixx:/p", "file:PATH, pipe:PATH, stdio, /dev/..., serial:PATH, null, cmd:COMMAND, "
                        "vsock:CID:PORT, chardev:ID");
    refused("unixx:/p", "unixx:/p: unknown device; accepted: unix:PATH, tcp:[HOST]:PORT, telnet:");
    refused("/some/path", "unknown device");
    refused("nulls", "unknown device");
    refused("UNIX:/p", "unknown device");
}

TEST(channel_spec_splits_port_and_device)
{
    struct channel_spec spec;
    assert_int_equal(channel_spec_parse("600:unix:/some/path", &spec, NULL), 0);
    assert_int_equal(spec.port, 600);
    assert_string_equal(spec.device.path, "/some/path");
    assert_string_equal(spec.text, "unix:/some/path");
    assert_int_equal(channel_spec_parse("1:unix:/p", &spec, NULL), 0);
    assert_int_equal(spec.port, 1);
    assert_int_equal(channel_spec_parse("65535:unix:/p", &spec, NULL), 0);
    assert_int_equal(spec.port, 65535);
}

TEST(bad_ports_are_refused)
{
    static const char *const bad[] = {"0",    "65536", "99999", "100000", "4294967896",
                                      "abc",  "",      "+1",    "-1",     "0x10",
                                      " 600", "6 0",   "600 ",  "1.0",    "1000-1999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64], part[64];
        snprintf(text, sizeof(text), "%s:unix:/p", bad[i]);
        snprintf(part, sizeof(part), "port '%s': not a number from 1 to 65535", bad[i]);
        spec_refused(text, part);
        spec_refused(text, "accepted: PORT:DEVICE");
    }
}

TEST(bad_specs_name_the_channel)
{
    spec_refused("600", "channel 600: no device");
    spec_refused("600:", "channel 600: empty device");
    spec_refused("600:unix:", "channel 600: unix: empty path");
    spec_refused("600:vc", "channel 600: vc: refused");
    spec_refused("unix:/p", "port 'unix'");
}
