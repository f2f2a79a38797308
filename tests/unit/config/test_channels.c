// SPDX-License-Identifier: BSD-3-Clause
// The channels of one guest: order, bounds, ranges of ports, and devices declared by -chardev.
#include "test.h"

#include "config/guest_config.h"

#include <errno.h>
#include <stdio.h>

// The message of adding one more channel to a guest that has `before` (NULL: none).
static void
refused(const char *before, const char *text, const char *part)
{
    struct guest_config c;
    struct error err = {{0}};
    guest_config_init(&c);
    if (before)
        assert_int_equal(guest_config_add_channel(&c, before, NULL), 0);
    size_t count = c.channel_count;
    assert_int_equal(guest_config_add_channel(&c, text, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("'%s' gave '%s', without '%s'", text, err.text, part);
    assert_true(strlen(err.text) < sizeof(err.text) - 1);
    assert_int_equal(c.channel_count, count);
    guest_config_fini(&c);
}

TEST(channels_are_kept_in_order)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "600:unix:/a", NULL), 0);
    assert_int_equal(guest_config_add_channel(&c, "601:unix:/b,server,nowait", NULL), 0);
    assert_int_equal(c.channel_count, 2);
    assert_int_equal(c.channels[0].port, 600);
    assert_string_equal(c.channels[1].device.path, "/b");
    guest_config_fini(&c);
    assert_int_equal(c.channel_count, 0);
}

TEST(port_given_twice_is_refused)
{
    struct guest_config c;
    struct error err = {{0}};
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "600:unix:/a", NULL), 0);
    assert_int_equal(guest_config_add_channel(&c, "600:unix:/b", &err), -EINVAL);
    assert_string_equal(err.text, "channel 600: port given twice ('unix:/a' and 'unix:/b')");
    assert_int_equal(c.channel_count, 1);
    guest_config_fini(&c);
}

// Whatever stood in the memory that the array grows into.
TEST(port_given_twice_to_a_chardev_is_refused)
{
    struct guest_config c;
    struct error err = {{0}};
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "600:chardev:a", NULL), 0);
    assert_int_equal(guest_config_add_inward(&c, "601:file:/a", NULL), -EINVAL);
    assert_int_equal(guest_config_add_channel(&c, "600:chardev:a", &err), -EINVAL);
    assert_non_null(strstr(err.text, "port given twice"));
    assert_false(c.channels[0].inward);
    guest_config_fini(&c);
}

TEST(channels_are_bounded)
{
    struct guest_config c;
    struct error err = {{0}};
    char text[32];
    guest_config_init(&c);
    for (int i = 1; i <= GUEST_CHANNELS_MAX; i++) {
        snprintf(text, sizeof(text), "%d:unix:/p", i);
        assert_int_equal(guest_config_add_channel(&c, text, NULL), 0);
    }
    assert_int_equal(guest_config_add_channel(&c, "60000:unix:/p", &err), -EINVAL);
    assert_non_null(strstr(err.text, "at most 1024"));
    guest_config_fini(&c);
}

TEST(bad_channels_are_refused)
{
    refused(NULL, "0:unix:/a", "port '0'");
    refused(NULL, "600:vc", "channel 600: vc: refused");
    refused(NULL, "600", "channel 600: no device");
}

TEST(a_range_is_a_channel_for_each_port)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "1000-1999:unix:/run/svc/%p.sock", NULL), 0);
    assert_int_equal(c.channel_count, 1000);
    assert_int_equal(c.channels[0].port, 1000);
    assert_string_equal(c.channels[0].device.path, "/run/svc/1000.sock");
    assert_string_equal(c.channels[0].text, "unix:/run/svc/1000.sock");
    assert_int_equal(c.channels[999].port, 1999);
    assert_string_equal(c.channels[999].device.path, "/run/svc/1999.sock");
    assert_int_equal(guest_config_add_channel(&c, "5-5:tcp:localhost:%p,name=n%p", NULL), 0);
    assert_string_equal(c.channels[1000].device.remote.port, "5");
    assert_string_equal(c.channels[1000].device.name, "n5");
    assert_int_equal(guest_config_add_channel(&c, "65534-65535:unix:/100%%-%p,,%p,server", NULL),
                     0);
    assert_int_equal(c.channel_count, 1003);
    assert_string_equal(c.channels[1002].device.path, "/100%-65535,65535");
    assert_true(c.channels[1002].device.server);
    assert_int_equal(guest_config_finish(&c, NULL), 0);
    guest_config_fini(&c);
}

TEST(a_percent_sign_is_special_in_ranges_only)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "600:unix:/100%%p%x", NULL), 0);
    assert_string_equal(c.channels[0].device.path, "/100%%p%x");
    guest_config_fini(&c);
}

TEST(what_can_be_shared_needs_no_port_in_its_name)
{
    static const char *const rows[] = {
        "1-9:unix:/p",     "11-19:tcp::600", "21-29:null",           "31-39:cmd:cat",
        "41-49:vsock:3:1", "51-59:pty",      "61-69:unix:/p,name=x", "71-79:unix:/p%p,server"};
    struct guest_config c;
    guest_config_init(&c);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(guest_config_add_channel(&c, rows[i], NULL), 0);
    assert_int_equal(c.channel_count, 72);
    guest_config_fini(&c);
}

TEST(bad_ranges_are_refused)
{
    refused(NULL, "1999-1000:unix:/%p",
            "port '1999-1000': the first is above the last; accepted: "
            "FIRST-LAST:DEVICE, as in 1000-1999:unix:/run/%p.sock");
    refused(NULL, "0-5:unix:/%p", "port '0-5': not two numbers from 1 to 65535");
    refused(NULL, "5-65536:unix:/%p", "port '5-65536': not two numbers");
    refused(NULL, "5-:unix:/%p", "port '5-': not two numbers");
    refused(NULL, "5-6-7:unix:/%p", "port '5-6-7': not two numbers");
    refused(NULL, "-5:unix:/%p", "port '-5': not a number from 1 to 65535");
    refused(NULL, "1-2", "port '1-2': not a number");
    refused(NULL, "1-1025:unix:/%p", "1025 channels more than 0, at most 1024 are accepted");
    refused("1-24:unix:/%p", "1000-2000:unix:/%p", "1001 channels more than 24, at most 1024");
    refused(NULL, "1-65535:null", "65535 channels more than 0, at most 1024");
    refused("5:unix:/a", "1-9:unix:/%p", "channel 5: port given twice ('unix:/a' and 'unix:/5')");
    refused(NULL, "1-9:unix:/%d",
            "channels 1-9: '%d' means nothing (accepted: %p for the port, %% ");
    refused(NULL, "1-9:unix:/%", "channels 1-9: '%' means nothing");
    refused(NULL, "1-9:chardev:x",
            "channels 1-9: a -chardev is one device; give the device itself");
    refused(NULL, "1-9:vc", "channel 1: vc: refused");
    refused(NULL, "1-9:unix:/%p,foo", "channel 1: unix: unknown option 'foo'");
    refused(NULL, "1-9:", "channel 1: empty device");
}

TEST(what_is_one_thing_needs_the_port_in_its_name)
{
    static const char *const rows[] = {"1-9:unix:/p,server",
                                       "1-9:tcp::600,server",
                                       "1-9:udp::600@:601",
                                       "1-9:file:/f",
                                       "1-9:pipe:/p",
                                       "1-9:/dev/ttyS0",
                                       "1-9:stdio",
                                       "1-9:pty:/l",
                                       "1-9:null,logfile=/l",
                                       "1-9:unix:/p,server,name=%p",
                                       "1-9:unix:/%p,logfile=/l"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refused(NULL, rows[i], "channels 1-9: ");
    refused(NULL, rows[0],
            "unix:/p,server: each port needs a device of its own, and there is no "
            "%p in it (accepted: FIRST-LAST:DEVICE, as in");
    refused(NULL, rows[8], "each port needs a device and a logfile of its own");
}

TEST(a_range_too_long_to_expand_is_refused)
{
    char text[8192] = "1-2:cmd:";
    memset(text + strlen(text), 'x', 5000);
    refused(NULL, text, "channels 1-2: the device has over 4096 bytes");
}

TEST(an_inward_channel_listens_whether_or_not_that_is_said)
{
    static const char *const rows[] = {
        "22:unix:/a",   "23:unix:/b,server",        "24:unix:/c,server=on,nowait",
        "25:tcp::2200", "26:telnet::2300",          "27:websocket::8080",
        "*:unix:/any",  "600:unix:/d,max=2,name=x", "601:unix:/e,,server"};
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_channel(&c, "22:unix:/out", NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(guest_config_add_inward(&c, rows[i], NULL), 0);
        assert_true(c.channels[i + 1].inward);
        assert_true(c.channels[i + 1].device.server);
    }
    assert_false(c.channels[0].inward);
    assert_int_equal(c.channels[1].port, 22);
    assert_int_equal(c.channels[7].port, 0);
    assert_string_equal(c.channels[7].text, "unix:/any");
    guest_config_fini(&c);
}

TEST(bad_inward_channels_are_refused)
{
    char long_text[4100] = "22:unix:/a";
    while (strlen(long_text) < sizeof(long_text) - sizeof(",max=1"))
        strcat(long_text, ",max=1");
    const struct {
        const char *text, *part;
    } rows[] = {
        {"0:unix:/a", "inward channel '0:unix:/a': no port of the guest's (accepted: PORT:unix:"},
        {"**:unix:/a", "no port of the guest's"},
        {"1-2:unix:/%p", "no port of the guest's"},
        {"22", "no port of the guest's"},
        {"22:", "inward channel 22: empty device"},
        {"22:file:/f", "inward channel 22: file: a device that nobody can connect to"},
        {"22:cmd:cat", "cmd: a device that nobody can connect to"},
        {"22:vsock:3:4", "vsock: a device that nobody can connect to"},
        {"22:unix:/a,server=off", "the device has to listen (accepted: server=on)"},
        {"22:unix:/a,noserver", "the device has to listen (accepted: server=on)"},
        {long_text, "inward channel 22: the device has over "},
        {"22:unix:/a,reconnect=1", "'reconnect' does not go with server=on"},
        {"22:unix:/a,foo", "unix: unknown option 'foo'"},
        {"*:telnet::23", "inward channel *: telnet: a port cannot be named in it"},
        {"*:websocket::80", "inward channel *: websocket: a port cannot be named in it"},
        {"22:unix:/a,proxy=v2", "inward channel 22: option 'proxy' tells a service its guest"},
        {"23:unix:/b", "port given twice"},
    };
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_inward(&c, "23:unix:/a", NULL), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {{0}};
        assert_int_equal(guest_config_add_inward(&c, rows[i].text, &err), -EINVAL);
        if (!strstr(err.text, rows[i].part))
            fail_msg("'%s' gave '%s', without '%s'", rows[i].text, err.text, rows[i].part);
        assert_int_equal(c.channel_count, 1);
    }
    guest_config_fini(&c);
}

TEST(a_chardev_may_come_before_its_channel_or_after)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_add_chardev(&c, "null,id=a", NULL), 0);
    assert_int_equal(guest_config_add_channel(&c, "600:chardev:a", NULL), 0);
    assert_int_equal(guest_config_add_channel(&c, "601:chardev:b", NULL), 0);
    assert_true(guest_config_refers_to_chardev(&c, "a"));
    assert_true(guest_config_refers_to_chardev(&c, "b"));
    assert_false(guest_config_refers_to_chardev(&c, "c"));
    assert_int_equal(guest_config_add_chardev(&c, "socket,id=b,path=/p,server=on", NULL), 0);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(guest_config_finish(&c, NULL), 0);
        assert_int_equal(c.channels[0].device.kind, DEVICE_NULL);
        assert_int_equal(c.channels[1].port, 601);
        assert_string_equal(c.channels[1].text, "chardev:b");
        assert_string_equal(c.channels[1].device.path, "/p");
        assert_true(c.channels[1].device.server);
    }
    guest_config_fini(&c);
    assert_int_equal(c.chardev_count, 0);
}

// channels and chardevs: separated by spaces.
static void
not_finished(const char *channels, const char *chardevs, const char *message)
{
    struct guest_config c;
    struct error err = {{0}};
    char words[512], *save = NULL;
    guest_config_init(&c);
    snprintf(words, sizeof(words), "%s", channels);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        assert_int_equal(guest_config_add_channel(&c, w, NULL), 0);
    snprintf(words, sizeof(words), "%s", chardevs);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        assert_int_equal(guest_config_add_chardev(&c, w, NULL), 0);
    assert_int_equal(guest_config_finish(&c, &err), -EINVAL);
    assert_string_equal(err.text, message);
    guest_config_fini(&c);
}

TEST(each_chardev_has_one_channel)
{
    not_finished("600:chardev:x", "",
                 "channel 600: chardev x: there is no such -chardev (accepted: -chardev "
                 "BACKEND,id=ID and -vmchannel PORT:chardev:ID)");
    not_finished("600:unix:/p", "null,id=x",
                 "chardev x: no channel refers to it (accepted: -chardev BACKEND,id=ID and "
                 "-vmchannel PORT:chardev:ID)");
    not_finished("600:chardev:x 601:chardev:x", "null,id=x",
                 "channel 601: chardev x is channel 600's already (accepted: a -chardev for each "
                 "channel)");
}

TEST(there_is_one_stdio)
{
    static const char message[] = "channel 601: stdio is channel 600's already (accepted: one "
                                  "channel on stdio; pty gives each one a terminal)";
    not_finished("600:stdio 601:stdio,signal=off", "", message);
    not_finished("600:stdio 601:chardev:x", "stdio,id=x", message);
}

TEST(bad_chardevs_are_refused)
{
    struct guest_config c;
    struct error err = {{0}};
    guest_config_init(&c);
    assert_int_equal(guest_config_add_chardev(&c, "null,id=x", NULL), 0);
    assert_int_equal(guest_config_add_chardev(&c, "pty,id=x", &err), -EINVAL);
    assert_string_equal(err.text, "chardev x: id given twice");
    assert_int_equal(guest_config_add_chardev(&c, "bogus,id=y", &err), -EINVAL);
    assert_non_null(strstr(err.text, "chardev y: bogus: unknown backend"));
    assert_int_equal(c.chardev_count, 1);
    guest_config_fini(&c);
    refused(NULL, "600:chardev:", "channel 600: chardev '': not an id (accepted: -chardev");
    refused(NULL, "600:chardev:x,max=3", "channel 600: chardev 'x,max=3': not an id");
    refused(NULL, "0:chardev:x", "port '0': not a number");
}
