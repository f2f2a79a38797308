// SPDX-License-Identifier: BSD-3-Clause
// QEMU's -chardev: backends, ids, and that the long form of a device is the same device.
#include "device_rig.h"

TEST(each_backend)
{
    static const struct valid rows[] = {
        {"socket,id=a,path=/p", "unix path=/p"},
        {"socket,id=a,path=/p,server=on,wait=off", "unix path=/p server"},
        {"socket,path=/p,server,nowait,id=a", "unix path=/p server"},
        {"socket,id=a,path=p,abstract=on,tight=off", "unix path=p abstract no-tight"},
        {"socket,id=a,path=/p,telnet=on", "unix path=/p telnet"},
        {"socket,id=a,path=/p,reconnect=3", "unix path=/p reconnect=3"},
        {"socket,id=a,host=h,port=1", "tcp remote=h|1"},
        {"socket,id=a,port=1,server=on", "tcp remote=|1 server wait"},
        {"socket,id=a,host=,port=1", "tcp remote=|1"},
        {"socket,id=a,host=::1,port=1", "tcp remote=::1|1"},
        {"socket,id=a,host=[::1],port=1,nodelay=on,ipv6=on", "tcp remote=::1|1 nodelay no-ipv4"},
        {"socket,id=a,host=h,port=1,telnet=on", "telnet remote=h|1 telnet"},
        {"socket,id=a,host=h,port=1,websocket=on,server=on,wait=off",
         "websocket remote=h|1 server websocket"},
        {"udp,id=a,port=1", "udp remote=|1"},
        {"udp,id=a,host=h,port=1,localaddr=l,localport=2", "udp remote=h|1 local=l|2"},
        {"udp,id=a,host=h,port=1,localport=0,ipv4=on", "udp remote=h|1 local=|0 no-ipv6"},
        {"pty,id=a", "pty"},
        {"pty,id=a,path=/l", "pty path=/l"},
        {"file,id=a,path=/f", "file path=/f"},
        {"file,id=a,path=/f,append=on", "file path=/f append"},
        {"pipe,id=a,path=/p", "pipe path=/p"},
        {"stdio,id=a", "stdio signal"},
        {"stdio,id=a,signal=off", "stdio"},
        {"serial,id=a,path=/dev/ttyS0", "serial path=/dev/ttyS0"},
        {"tty,id=a,path=/dev/ttyS0", "serial path=/dev/ttyS0"},
        {"null,id=a", "null"},
        {"null,id=a,mux=off,logfile=/l,logappend=on", "null logappend logfile=/l"},
        {"id=a,backend=null", "null"},
        {"backend=file,path=/a,,b=c,id=a,max=1,name=x", "file path=/a,b=c name=x"},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct chardev_spec spec;
        struct error err = {{0}};
        if (chardev_parse(rows[i].text, &spec, &err) != 0)
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_string_equal(spec.id, "a");
        expect_fields(rows[i].text, &spec.device, rows[i].fields);
    }
}

TEST(what_is_wrong_is_named)
{
    static const struct invalid rows[] = {
        {"", "chardev '': no id (accepted: id=ID, a letter, then letters, digits"},
        {"null", "chardev 'null': no id"},
        {"null,id", "chardev 'null,id': no id"},
        {"null,id=", "no id"},
        {"null,id=1a", "chardev 'null,id=1a': id '1a' is not good, or over 63 bytes (accepted"},
        {"null,id=a/b", "id 'a/b' is not good"},
        {"null,id=a b", "id 'a b' is not good"},
        {"null,id=a,id=b", "id given twice ('a' and 'b')"},
        {"null,id=a,backend=pty", "backend given twice ('null' and 'pty')"},
        {"id=a", "chardev a: no backend (accepted: socket, udp, pty, file, pipe, stdio, serial, "},
        {",id=a", "chardev a: no backend"},
        {"bogus,id=a", "chardev a: bogus: unknown backend (accepted: socket"},
        {"cmd,id=a", "chardev a: cmd: unknown backend"},
        {"null,id=a,", "nothing follows the last comma"},
        {"null,id=a,rows=3", "chardev a: null: unknown option 'rows' (accepted: max=N, "},
        {"null,id=a,server", "chardev a: null: option 'server' does not go with this device"},
        {"socket,id=a", "chardev a: socket: no path and no port (accepted: path=PATH for a unix"},
        {"socket,id=a,path=/p,port=1", "chardev a: socket: path does not go with host or port"},
        {"socket,id=a,host=h", "chardev a: tcp: no port (accepted: port=PORT)"},
        {"socket,id=a,path=", "chardev a: unix: empty path"},
        {"socket,id=a,path", "chardev a: unix: option 'path' does not go"},
        {"socket,id=a,path=/p,path=/q", "unix: path given twice ('/p' and '/q')"},
        {"socket,id=a,path=/p,nodelay=on", "unix: option 'nodelay' does not go with this device"},
        {"socket,id=a,path=/p,wait=on", "unix: option 'wait' needs server=on (accepted: path=PATH"},
        {"socket,id=a,host=h,port=1,websocket=on", "tcp: a websocket needs server=on"},
        {"socket,id=a,host=h,port=x:y", "tcp: port 'x:y' is neither"},
        {"socket,id=a,host=h:1,port=1", "tcp: 'h:1' is neither a name nor an address"},
        {"socket,id=a,host=h,port=1,tls-creds=t", "option 'tls-creds' is refused, there is no TLS"},
        {"socket,id=a,fd=3", "socket: no path and no port"},
        {"udp,id=a", "chardev a: udp: no port"},
        {"udp,id=a,port=0", "udp: port '0' is neither"},
        {"udp,id=a,port=1,path=/p", "udp: option 'path' does not go with this device"},
        {"file,id=a", "chardev a: file: no path (accepted: path=PATH)"},
        {"file,id=a,path=/f,input-path=/g", "file: unknown option 'input-path'"},
        {"pipe,id=a", "chardev a: pipe: no path"},
        {"serial,id=a", "chardev a: serial: no path"},
        {"null,id=a,mux=on", "chardev a: option mux: only QEMU can share a device"},
        {"null,id=a,rate=5x", "chardev a: option rate: '5x' is not a number of bytes"},
        {"null,id=a,burst=5", "chardev a: null: option 'burst' needs rate=BYTES"},
        {"ringbuf,id=a,size=1024", "ringbuf: refused, only QEMU's monitor could read it; use file"},
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct chardev_spec spec;
        struct error err = {{0}};
        int rc = chardev_parse(rows[i].text, &spec, &err);
        expect_message(rows[i].text, rc, &err, rows[i].part);
    }
}

TEST(backends_that_cannot_be_channels_say_what_to_use)
{
    static const char *const never[] = {"vc",       "console",  "ringbuf",   "memory",
                                        "parallel", "parport",  "braille",   "msmouse",
                                        "wctablet", "testdev",  "mux",       "gdb",
                                        "dbus",     "spicevmc", "spiceport", "qemu-vdagent"};
    for (size_t i = 0; i < ROWS(never); i++) {
        char text[64], part[64];
        struct chardev_spec spec;
        struct error err = {{0}};
        snprintf(text, sizeof(text), "%s,id=a", never[i]);
        snprintf(part, sizeof(part), "chardev a: %s: refused, ", never[i]);
        int rc = chardev_parse(text, &spec, &err);
        expect_message(text, rc, &err, part);
        expect_message(text, rc, &err, " instead (accepted: socket");
    }
}

TEST(ids_are_qemus)
{
    char longest[CHARDEV_ID_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[CHARDEV_ID_MAX + 1] = '\0';
    assert_false(chardev_id_is_valid(longest));
    longest[CHARDEV_ID_MAX] = '\0';
    assert_true(chardev_id_is_valid(longest));
    assert_true(chardev_id_is_valid("a"));
    assert_true(chardev_id_is_valid("Z9-._"));
    assert_false(chardev_id_is_valid(""));
    assert_false(chardev_id_is_valid("9"));
    assert_false(chardev_id_is_valid("-a"));
    assert_false(chardev_id_is_valid("a,b"));
}

TEST(an_id_is_found_in_whatever_else_there_is)
{
    char id[CHARDEV_ID_MAX + 1];
    assert_true(chardev_find_id("spicevmc,id=a,name=x", id));
    assert_string_equal(id, "a");
    assert_true(chardev_find_id("id=b2,backend=x", id));
    assert_string_equal(id, "b2");
    assert_true(chardev_find_id("file,path=/a,,id=no,id=c", id));
    assert_string_equal(id, "c");
    assert_false(chardev_find_id("", id));
    assert_false(chardev_find_id("null", id));
    assert_false(chardev_find_id("null,id", id));
    assert_false(chardev_find_id("null,id=1", id));
    assert_false(chardev_find_id("help", id));
}
