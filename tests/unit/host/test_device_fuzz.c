// SPDX-License-Identifier: BSD-3-Clause
// Mutated device strings, seeded: whatever is typed, the parsers answer with a device whose fields
// are strings, or with a message. Meant for the sanitizers most of all.
#include "device_rig.h"

#include "base/random.h"

#define ROUNDS    100000
#define TEXT_SIZE 1400

static const char *const seeds[] = {
    "600:unix:/some/path,server,nowait",
    "600:unix:path=/a,,b,abstract=on,tight=off,max=5,name=x,logfile=/l,logappend=on",
    "1:tcp:[fe80::1%eth0]:600,server=on,wait=off,nodelay,ipv4=off,reconnect=5",
    "2:telnet:localhost:ssh,telnet=off",
    "3:websocket::1,server",
    "65535:udp:h:1@[::1]:2,ipv6",
    "4:pty:/l,name=y",
    "4:file:/f,append,max=1",
    "5:pipe:/p",
    "6:stdio,signal=off",
    "7:/dev/ttyS0,mux=off",
    "8:serial:/x",
    "9:null,rate=1M,burst=128k",
    "10:cmd:sh -c 'cut -d,, -f1'",
    "11:vsock:4294967294:600,reconnect=1",
    "12:chardev:x",
    "13:spicevmc:usb",
    "socket,id=a,host=::1,port=1,websocket=on,server=on",
    "udp,id=b,localaddr=h,localport=0,port=5",
    "backend=file,path=/a,,b=c,id=x,append=on",
};

static const char *const pieces[] = {
    ",",   ",,",    "=",     ":",    "[",     "]",      "@",  "%",    "no",
    "id=", "path=", "unix:", "tcp:", "/dev/", "server", "\n", "\xff", "65536"};

static void
mutate(struct random *r, char *text)
{
    size_t len = strlen(text), at = random_below(r, (uint32_t)len + 1);
    const char *piece = pieces[random_below(r, (uint32_t)ROWS(pieces))];
    size_t piece_len = strlen(piece);
    switch (random_below(r, 5)) {
    case 0: // any byte
        if (at < len)
            text[at] = (char)(1 + random_below(r, 255));
        break;
    case 1: // cut
        text[at] = '\0';
        break;
    case 2: // a byte less
        if (at < len)
            memmove(text + at, text + at + 1, len - at);
        break;
    case 3: // a piece more
        if (len + piece_len >= TEXT_SIZE)
            break;
        memmove(text + at + piece_len, text + at, len - at + 1);
        memcpy(text + at, piece, piece_len);
        break;
    case 4: // its end again
        if (len + (len - at) < TEXT_SIZE) {
            memmove(text + len, text + at, len - at);
            text[len + (len - at)] = '\0';
        }
        break;
    }
}

static void
expect_sound(const struct device *dev)
{
    char line[8192];
    device_line(dev, line, sizeof(line));
    device_describe(dev, line, sizeof(line));
    assert_true(strnlen(dev->path, sizeof(dev->path)) < sizeof(dev->path));
    assert_true(dev->ipv4 || dev->ipv6);
    assert_false(dev->wait && !dev->server);
    assert_false(dev->websocket && (dev->telnet || !dev->server));
    assert_true(!device_is_exclusive(dev->kind) || dev->max == 1);
    assert_true(dev->kind != DEVICE_UNIX || strlen(dev->path) <= DEVICE_UNIX_PATH_MAX);
    switch (dev->kind) {
    case DEVICE_UNIX:
    case DEVICE_FILE:
    case DEVICE_PIPE:
    case DEVICE_TTY:
    case DEVICE_CMD:
        assert_true(dev->path[0] != '\0');
        break;
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
    case DEVICE_UDP:
        assert_true(dev->remote.port[0] != '\0');
        break;
    case DEVICE_VSOCK:
        assert_true(dev->vsock_cid != 0);
        break;
    case DEVICE_PTY:
    case DEVICE_STDIO:
    case DEVICE_NULL:
        break;
    }
}

static void
expect_answer(const char *text)
{
    struct channel_spec channel;
    struct chardev_spec chardev;
    struct error err;
    char id[CHARDEV_ID_MAX + 1];
    int rc = channel_spec_parse(text, &channel, &err);
    if (rc == 0)
        expect_sound(&channel.device);
    else
        assert_true(rc == -EINVAL && strlen(err.text) > 10);
    rc = chardev_parse(text, &chardev, &err);
    if (rc == 0)
        expect_sound(&chardev.device);
    else
        assert_true(rc == -EINVAL && strlen(err.text) > 10);
    if (chardev_find_id(text, id))
        assert_true(chardev_id_is_valid(id));
}

TEST(mutated_strings_never_crash)
{
    struct random r = {.state = 3};
    for (int i = 0; i < ROUNDS; i++) {
        char text[TEXT_SIZE + 1] = {0};
        snprintf(text, sizeof(text), "%s", seeds[random_below(&r, (uint32_t)ROWS(seeds))]);
        for (uint32_t n = 1 + random_below(&r, 8); n > 0; n--)
            mutate(&r, text);
        expect_answer(text);
    }
}
