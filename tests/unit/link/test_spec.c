// SPDX-License-Identifier: BSD-3-Clause
// The --link grammar: what each form gives, and what is said of what is wrong.
#include "link/spec.h"

#include "../test.h"

#include <errno.h>
#include <stdio.h>

static struct link_spec
parsed(const char *text)
{
    struct link_spec spec;
    struct error err = {{0}};
    if (link_spec_parse(text, &spec, &err) != 0)
        fail_msg("'%s': %s", text, err.text);
    return spec;
}

// The error, which is checked to be one.
static const char *
refused(const char *text)
{
    static struct error err;
    struct link_spec spec;
    err.text[0] = '\0';
    assert_int_equal(link_spec_parse(text, &spec, &err), -EINVAL);
    return err.text;
}

TEST(stream_forms)
{
    struct link_spec s = parsed("stream,path=/run/x.sock");
    assert_int_equal(s.kind, LINK_STREAM);
    assert_string_equal(s.path, "/run/x.sock");
    assert_false(s.server);
    assert_int_equal(s.fd, -1);
    assert_true(parsed("stream,path=/x,server").server);
    assert_true(parsed("stream,path=/x,server=on").server);
    assert_false(parsed("stream,path=/x,noserver").server);
    assert_false(parsed("stream,path=/x,server=off").server);
    assert_string_equal(parsed("stream,path=/a,,b").path, "/a,b");
    assert_int_equal(parsed("stream,fd=7").fd, 7);

    s = parsed("stream,addr=127.0.0.1:5000,server=on");
    assert_string_equal(s.host, "127.0.0.1");
    assert_string_equal(s.port, "5000");
    assert_string_equal(parsed("stream,addr=:5000").host, "");
    s = parsed("stream,addr=[fe80::1]:05000");
    assert_string_equal(s.host, "fe80::1");
    assert_string_equal(s.port, "5000");
}

TEST(interface_forms)
{
    struct link_spec s = parsed("tap,ifname=tap0");
    assert_int_equal(s.kind, LINK_TAP);
    assert_string_equal(s.ifname, "tap0");
    assert_string_equal(s.netns, "");
    assert_string_equal(parsed("tap,ifname=tap0,netns=blue").netns, "/run/netns/blue");
    assert_string_equal(parsed("packet,ifname=v1,netns=/proc/7/ns/net").netns, "/proc/7/ns/net");
    assert_int_equal(parsed("packet,ifname=v1").kind, LINK_PACKET);
    assert_int_equal(parsed("tap,fd=0").fd, 0);
    s = parsed("netns,path=/proc/1/ns/net");
    assert_int_equal(s.kind, LINK_NETNS);
    assert_string_equal(s.path, "/proc/1/ns/net");
}

TEST(names_read_back)
{
    static const char *const texts[] = {
        "stream,path=/run/x.sock",
        "stream,path=/run/x.sock,server=on",
        "stream,addr=[::1]:5000,server=on",
        "stream,addr=localhost:5000",
        "stream,fd=5",
        "tap,ifname=tap0,netns=/run/netns/blue",
        "packet,fd=3",
        "netns,path=/proc/1/ns/net",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct link_spec s = parsed(texts[i]);
        char name[300];
        assert_string_equal(link_spec_name(&s, name, sizeof(name)), texts[i]);
    }
}

TEST(kinds_of_frames)
{
    assert_true(link_kind_is_frames(LINK_STREAM));
    assert_true(link_kind_is_frames(LINK_TAP));
    assert_true(link_kind_is_frames(LINK_PACKET));
    assert_false(link_kind_is_frames(LINK_NETNS));
}

TEST(errors_name_what_is_wrong_and_what_is_accepted)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "link '': begins with no kind (accepted: stream, tap, packet, netns)"},
        {"path=/x", "link 'path=/x': begins with no kind (accepted: stream, tap, packet, netns)"},
        {"foo", "unknown link kind 'foo' (accepted: stream, tap, packet, netns)"},
        {"vhost-user,path=/x",
         "link kind 'vhost-user': not in this version (accepted: stream, tap, packet, netns)"},
        {"message,path=/x",
         "link kind 'message': not in this version (accepted: stream, tap, packet, netns)"},
        {"hybrid,path=/x",
         "link kind 'hybrid': not in this version (accepted: stream, tap, packet, netns)"},
        {"vsock,cid=3",
         "link kind 'vsock': not in this version (accepted: stream, tap, packet, netns)"},
        {"stream", "link stream: not said where (accepted: path=PATH | addr=HOST:PORT | fd=N, "
                   "server=on|off)"},
        {"stream,path=/x,fd=3", "link stream: only one of these can be given (accepted: path=PATH "
                                "| addr=HOST:PORT | fd=N, server=on|off)"},
        {"stream,path=/x,ifname=t", "link stream: unknown option 'ifname' (accepted: path=PATH | "
                                    "addr=HOST:PORT | fd=N, server=on|off)"},
        {"stream,path=/x,server=maybe", "option server: 'maybe' is not on or off"},
        {"stream,fd=3,server", "option server: means nothing beside fd= (accepted: fd=N alone)"},
        {"stream,path=/x,path=/y", "option path: given twice"},
        {"stream,path=", "option path: needs a value"},
        {"stream,path", "option path: needs a value"},
        {"stream,fd=x", "option fd: 'x' is not a number from 0 to 2147483647"},
        {"stream,nofd", "link stream: unknown option 'nofd' (accepted: path=PATH | "
                        "addr=HOST:PORT | fd=N, server=on|off)"},
        {"stream,addr=host", "option addr: 'host' is not HOST:PORT"},
        {"stream,addr=host:0", "option addr: port: '0' is not a number from 1 to 65535"},
        {"stream,addr=host:65536", "option addr: port: '65536' is not a number from 1 to 65535"},
        {"stream,addr=host:", "option addr: port: '' is not a number from 1 to 65535"},
        {"stream,addr=host:123456789",
         "option addr: port: '123456789' is not a number from 1 to 65535"},
        {"stream,addr=::1:5000", "option addr: an IPv6 address needs brackets: [::1]:5000"},
        {"tap", "link tap: not said where (accepted: ifname=NAME | fd=N, netns=PATH or NAME)"},
        {"tap,ifname=a/b", "option ifname: 'a/b' is not an interface name"},
        {"tap,ifname=..", "option ifname: '..' is not an interface name"},
        {"tap,ifname=tap%d", "option ifname: 'tap%d' is not an interface name"},
        {"tap,ifname=sixteen-letters-", "option ifname: 'sixteen-letters-' is longer than 15 "
                                        "bytes"},
        {"tap,fd=3,netns=x", "option netns: means nothing beside fd= (accepted: fd=N alone)"},
        {"packet,path=/x", "link packet: unknown option 'path' (accepted: ifname=NAME | fd=N, "
                           "netns=PATH or NAME)"},
        {"netns", "link netns: not said where (accepted: path=/proc/PID/ns/net)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(refused(rows[i].text), rows[i].message);
}

TEST(lengths_are_bounded)
{
    char text[512], want[400];
    struct link_spec s;
    memset(want, 'a', sizeof(want));
    want[107] = '\0';
    snprintf(text, sizeof(text), "stream,path=%s", want);
    s = parsed(text);
    assert_string_equal(s.path, want);
    want[107] = 'a';
    want[108] = '\0';
    snprintf(text, sizeof(text), "stream,path=%s", want);
    assert_non_null(strstr(refused(text), "longer than 107 bytes"));
    want[108] = 'a';
    want[100] = '\0';
    snprintf(text, sizeof(text), "tap,ifname=t,netns=%s", want);
    assert_non_null(strstr(refused(text), "longer than 96 bytes"));
    want[100] = 'a';
    want[256] = '\0';
    snprintf(text, sizeof(text), "stream,addr=%s:1", want);
    assert_non_null(strstr(refused(text), "longer than 255 bytes"));
}
