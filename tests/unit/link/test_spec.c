// SPDX-License-Identifier: BSD-3-Clause
// The --link grammar: what each form gives, and what is said of what is wrong.
#include "link/spec.h"

#include "../test.h"

#include <errno.h>
#include <stdio.h>

#define KINDS  "stream, message, tap, packet, netns, hybrid, vsock, vhost-user"
#define STREAM "path=PATH | addr=HOST:PORT | fd=N, server=on|off, offload=on|off"
#define MESSAGE                                                                                    \
    "path=PATH | udp=HOST:PORT | seqpacket=PATH | fd=N, peer=PATH or HOST:PORT, server=on|off, "   \
    "offload=on|off"

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
    assert_string_equal(s.addr.host, "127.0.0.1");
    assert_string_equal(s.addr.port, "5000");
    assert_string_equal(parsed("stream,addr=:5000").addr.host, "");
    s = parsed("stream,addr=[fe80::1]:05000");
    assert_string_equal(s.addr.host, "fe80::1");
    assert_string_equal(s.addr.port, "5000");
}

TEST(message_forms)
{
    struct link_spec s = parsed("message,path=/run/x.sock");
    assert_int_equal(s.kind, LINK_MESSAGE);
    assert_int_equal(s.carrier, LINK_CARRIER_UNIX);
    assert_string_equal(s.path, "/run/x.sock");
    assert_string_equal(s.peer_path, "");
    assert_false(s.offload);
    assert_string_equal(parsed("message,path=/x,peer=/y").peer_path, "/y");
    assert_string_equal(parsed("message,peer=/y,path=/x").path, "/x");
    assert_true(parsed("message,path=/x,offload").offload);
    assert_true(parsed("stream,fd=3,offload=on").offload);
    assert_false(parsed("message,path=/x,nooffload").offload);

    s = parsed("message,peer=[::1]:6001,udp=:6000");
    assert_int_equal(s.carrier, LINK_CARRIER_UDP);
    assert_string_equal(s.addr.host, "");
    assert_string_equal(s.addr.port, "6000");
    assert_string_equal(s.peer_addr.host, "::1");
    assert_string_equal(s.peer_addr.port, "6001");
    assert_string_equal(s.peer_path, "");

    s = parsed("message,seqpacket=/x,server");
    assert_int_equal(s.carrier, LINK_CARRIER_SEQPACKET);
    assert_string_equal(s.path, "/x");
    assert_true(s.server);
    s = parsed("message,fd=5");
    assert_int_equal(s.carrier, LINK_CARRIER_FD);
    assert_int_equal(s.fd, 5);
}

TEST(socket_link_forms)
{
    struct link_spec s = parsed("hybrid,path=/run/v.sock");
    assert_int_equal(s.kind, LINK_HYBRID);
    assert_string_equal(s.path, "/run/v.sock");
    s = parsed("vsock,cid=1234");
    assert_int_equal(s.kind, LINK_VSOCK);
    assert_int_equal(s.cid, 1234);
    assert_int_equal(parsed("vsock,cid=1").cid, 1);
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
        "stream,fd=5,offload=on",
        "message,path=/x",
        "message,path=/x,peer=/y,offload=on",
        "message,udp=:6000,peer=127.0.0.1:6001",
        "message,udp=[::1]:6000,peer=[::1]:6001",
        "message,seqpacket=/x,server=on",
        "message,fd=3",
        "hybrid,path=/run/v.sock",
        "vsock,cid=3",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct link_spec s = parsed(texts[i]);
        char name[300];
        assert_string_equal(link_spec_name(&s, name, sizeof(name)), texts[i]);
    }
}

TEST(descriptor_that_was_handed_on_leaves_the_kind)
{
    static const char *const texts[][2] = {
        {"stream,fd=5", "stream"}, {"message,fd=3", "message"}, {"tap,fd=3", "tap"}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct link_spec s = parsed(texts[i][0]);
        char name[300];
        s.fd = -1;
        assert_string_equal(link_spec_name(&s, name, sizeof(name)), texts[i][1]);
    }
}

TEST(kinds_of_frames)
{
    assert_true(link_kind_is_frames(LINK_STREAM));
    assert_true(link_kind_is_frames(LINK_TAP));
    assert_true(link_kind_is_frames(LINK_PACKET));
    assert_true(link_kind_is_frames(LINK_MESSAGE));
    assert_true(link_kind_is_frames(LINK_VHOST_USER));
    assert_false(link_kind_is_frames(LINK_NETNS));
    assert_false(link_kind_is_frames(LINK_HYBRID));
    assert_false(link_kind_is_frames(LINK_VSOCK));
}

TEST(errors_name_what_is_wrong_and_what_is_accepted)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "link '': begins with no kind (accepted: " KINDS ")"},
        {"path=/x", "link 'path=/x': begins with no kind (accepted: " KINDS ")"},
        {"foo", "unknown link kind 'foo' (accepted: " KINDS ")"},
        {"vhost-user,addr=h:1",
         "link vhost-user: unknown option 'addr' (accepted: path=PATH | fd=N, server=on|off)"},
        {"stream", "link stream: not said where (accepted: " STREAM ")"},
        {"stream,path=/x,fd=3",
         "link stream: only one of these can be given (accepted: " STREAM ")"},
        {"stream,path=/x,ifname=t", "link stream: unknown option 'ifname' (accepted: " STREAM ")"},
        {"message", "link message: not said where (accepted: " MESSAGE ")"},
        {"message,path=/x,seqpacket=/y",
         "link message: only one of these can be given (accepted: " MESSAGE ")"},
        {"message,addr=h:1", "link message: unknown option 'addr' (accepted: " MESSAGE ")"},
        {"message,path=/x,server", "option server: means nothing beside path=, which has peer=PATH "
                                   "(seqpacket= has it)"},
        {"message,udp=:5000",
         "option udp: needs peer=HOST:PORT beside it, as anybody can send to a "
         "port"},
        {"message,udp=:5000,peer=/x", "option peer: '/x' is not HOST:PORT"},
        {"message,udp=:5000,peer=:5001", "option peer: ':5001' names no host"},
        {"message,udp=:5000,peer=h:0", "option peer: port: '0' is not a number from 1 to 65535"},
        {"message,udp=:5000,peer=h:1,server", "option server: means nothing beside udp="},
        {"message,seqpacket=/x,peer=/y", "option peer: means nothing beside seqpacket="},
        {"message,fd=3,peer=/y", "option peer: means nothing beside fd="},
        {"message,fd=3,server=off", "option server: means nothing beside fd="},
        {"message,path=/x,peer=", "option peer: needs a value"},
        {"message,path=/x,offload=maybe", "option offload: 'maybe' is not on or off"},
        {"hybrid", "link hybrid: not said where (accepted: path=PATH)"},
        {"hybrid,path=/x,server", "link hybrid: unknown option 'server' (accepted: path=PATH)"},
        {"vsock", "link vsock: not said where (accepted: cid=N)"},
        {"vsock,cid=0", "option cid: '0' is not a number from 1 to 4294967294"},
        {"vsock,cid=4294967295", "option cid: '4294967295' is not a number from 1 to 4294967294"},
        {"vsock,cid=2",
         "option cid: 2 is the host (accepted: 3 and more, or 1 for its own loopback)"},
        {"stream,path=/x,server=maybe", "option server: 'maybe' is not on or off"},
        {"stream,fd=3,server", "option server: means nothing beside fd="},
        {"stream,path=/x,path=/y", "option path: given twice"},
        {"stream,path=", "option path: needs a value"},
        {"stream,path", "option path: needs a value"},
        {"stream,fd=x", "option fd: 'x' is not a number from 0 to 2147483647"},
        {"stream,nofd", "link stream: unknown option 'nofd' (accepted: " STREAM ")"},
        {"stream,addr=host", "option addr: 'host' is not HOST:PORT"},
        {"stream,addr=host:0", "option addr: port: '0' is not a number from 1 to 65535"},
        {"stream,addr=host:65536", "option addr: port: '65536' is not a number from 1 to 65535"},
        {"stream,addr=host:", "option addr: port: '' is not a number from 1 to 65535"},
        {"stream,addr=host:123456789",
         "option addr: port: '123456789' is not a number from 1 to 65535"},
        {"stream,addr=::1:5000", "option addr: an IPv6 address needs brackets: [::1]:5000"},
        {"stream,addr=[[]]:9", "option addr: '[[]]' is not an IPv6 address in brackets"},
        {"stream,addr=[]:9", "option addr: '[]' is not an IPv6 address in brackets"},
        {"stream,addr=[host]:9", "option addr: '[host]' is not an IPv6 address in brackets"},
        {"stream,addr=[::1:9", "option addr: '[::1' is not an IPv6 address in brackets"},
        {"tap", "link tap: not said where (accepted: ifname=NAME | fd=N, netns=PATH or NAME)"},
        {"tap,ifname=a/b", "option ifname: 'a/b' is not an interface name"},
        {"tap,ifname=..", "option ifname: '..' is not an interface name"},
        {"tap,ifname=tap%d", "option ifname: 'tap%d' is not an interface name"},
        {"tap,ifname=sixteen-letters-", "option ifname: 'sixteen-letters-' is longer than 15 "
                                        "bytes"},
        {"tap,fd=3,netns=x", "option netns: means nothing beside fd="},
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
    want[100] = '\0';
    snprintf(text, sizeof(text), "hybrid,path=%s", want);
    s = parsed(text);
    assert_string_equal(s.path, want);
    want[100] = 'a';
    want[256] = '\0';
    snprintf(text, sizeof(text), "stream,addr=%s:1", want);
    assert_non_null(strstr(refused(text), "longer than 255 bytes"));
}
