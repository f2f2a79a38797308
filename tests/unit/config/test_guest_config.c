// SPDX-License-Identifier: BSD-3-Clause
// One guest's configuration: defaults, and each value's bad forms with their messages.
#include "test.h"

#include "config/guest_config.h"

#include <errno.h>
#include <stdio.h>

typedef int (*setter)(struct guest_config *, const char *, struct error *);

static void
refused(setter set, const char *text, const char *part)
{
    struct guest_config c;
    struct error err = {{0}};
    guest_config_init(&c);
    assert_int_equal(set(&c, text, &err), -EINVAL);
    if (!strstr(err.text, part))
        fail_msg("'%s' gave '%s', without '%s'", text, err.text, part);
    guest_config_fini(&c);
}

TEST(defaults_are_the_documented_ones)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_string_equal(c.name, "guest");
    assert_int_equal(c.net, 0x0a000200);
    assert_int_equal(c.netmask, 0xffffff00);
    assert_int_equal(c.channel_addr, 0x0a000204);
    assert_int_equal(c.guest_addr, 0x0a00020f);
    assert_int_equal(c.mtu, 1500);
    assert_int_equal(c.max_conns, 4096);
    assert_int_equal(c.channel_count, 0);
    guest_config_fini(&c);
}

TEST(net_moves_all_addresses)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_set_net(&c, "192.168.100.32/27", NULL), 0);
    assert_int_equal(c.net, 0xc0a86420);
    assert_int_equal(c.netmask, 0xffffffe0);
    assert_int_equal(c.channel_addr, 0xc0a86424);
    assert_int_equal(c.guest_addr, 0xc0a8642f);
    assert_int_equal(guest_config_set_net(&c, "10.0.0.0/8", NULL), 0);
    assert_int_equal(c.netmask, 0xff000000);
    guest_config_fini(&c);
}

TEST(bad_nets_are_refused)
{
    static const char *const bad[] = {"",
                                      "10.0.2.0",
                                      "10.0.2/24",
                                      "10.0.2.0/",
                                      "10.0.2.0/7",
                                      "10.0.2.0/28",
                                      "10.0.2.0/33",
                                      "10.0.2.0/-1",
                                      "10.0.2.0/24x",
                                      "10.0.2.0/024x",
                                      "10.0.2.1/24",
                                      "256.0.0.0/8",
                                      "fd10::/64",
                                      "localhost/24",
                                      "0.0.0.0/8",
                                      "127.0.0.0/8",
                                      "224.0.0.0/8",
                                      "240.0.0.0/8",
                                      "10.0.2.0/24,",
                                      "1111111111111111111111111/24"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(guest_config_set_net, bad[i], bad[i]);
        refused(guest_config_set_net, bad[i], "accepted: A.B.C.D/8 to /27");
    }
    refused(guest_config_set_net, "10.0.2.1/24", "host bits are not zero");
}

TEST(net6_moves_the_ipv6_addresses)
{
    static const struct ipv6_addr channel = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
    static const struct ipv6_addr other = {{0x20, 1, 0xd, 0xb8, [15] = 4}};
    static const struct ipv6_addr its_guest = {{0x20, 1, 0xd, 0xb8, [15] = 0x15}};
    struct guest_config c;
    guest_config_init(&c);
    struct ipv6_addr addr = guest_config_channel_addr6(&c);
    assert_true(ipv6_addr_eq(&addr, &channel));
    assert_int_equal(guest_config_set_net6(&c, "2001:db8::/64", NULL), 0);
    addr = guest_config_channel_addr6(&c);
    assert_true(ipv6_addr_eq(&addr, &other));
    addr = guest_config_guest_addr6(&c);
    assert_true(ipv6_addr_eq(&addr, &its_guest));
    assert_int_equal(guest_config_set_net6(&c, "off", NULL), 0);
    addr = guest_config_channel_addr6(&c);
    assert_true(ipv6_addr_is_none(&addr));
    addr = guest_config_guest_addr6(&c);
    assert_true(ipv6_addr_is_none(&addr));
    guest_config_fini(&c);
}

TEST(bad_ipv6_nets_are_refused)
{
    static const char *const bad[] = {"",
                                      "on",
                                      "fd10:0:2::",
                                      "fd10:0:2::/63",
                                      "fd10:0:2::/65",
                                      "fd10:0:2::/064",
                                      "::/64",
                                      "::1/64",
                                      "fe80::/64",
                                      "febf::/64",
                                      "ff02::/64",
                                      "fd10:0:2::1/64",
                                      "x::/64",
                                      "10.0.2.0/24",
                                      "/64",
                                      "0:1::/64",
                                      "fd10:0:2:0:1::/64",
                                      "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/64"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        refused(guest_config_set_net6, bad[i], bad[i]);
        refused(guest_config_set_net6, bad[i], "accepted: off, or a prefix of 64 bits");
    }
    refused(guest_config_set_net6, "fd10:0:2::1/64", "host bits are not zero");
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_set_net6(&c, "fec0::/64", NULL), 0);
    guest_config_fini(&c);
}

TEST(names_are_checked)
{
    struct guest_config c;
    char longest[GUEST_NAME_MAX + 2];
    guest_config_init(&c);
    assert_int_equal(guest_config_set_name(&c, "vm1", NULL), 0);
    assert_string_equal(c.name, "vm1");
    memset(longest, 'n', sizeof(longest));
    longest[GUEST_NAME_MAX + 1] = '\0';
    refused(guest_config_set_name, longest, "64 bytes; accepted: 1 to 63");
    longest[GUEST_NAME_MAX] = '\0';
    assert_int_equal(guest_config_set_name(&c, longest, NULL), 0);
    refused(guest_config_set_name, "", "0 bytes");
    refused(guest_config_set_name, "a/b", "byte 0x2f at 1");
    refused(guest_config_set_name, "a\nb", "byte 0x0a at 1");
    refused(guest_config_set_name, "..", "begins with a dot");
    guest_config_fini(&c);
}

TEST(numbers_are_checked)
{
    struct guest_config c;
    guest_config_init(&c);
    assert_int_equal(guest_config_set_mtu(&c, "576", NULL), 0);
    assert_int_equal(guest_config_set_mtu(&c, "65520", NULL), 0);
    assert_int_equal(c.mtu, 65520);
    assert_int_equal(guest_config_set_max_conns(&c, "1", NULL), 0);
    assert_int_equal(guest_config_set_max_conns(&c, "65536", NULL), 0);
    assert_int_equal(c.max_conns, 65536);
    static const char *const bad[] = {"575",   "65521", "",   "+1500",     "1500 ",
                                      "0x600", "abc",   "-1", "4294968796"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(guest_config_set_mtu, bad[i], "accepted: 576 to 65520");
    refused(guest_config_set_max_conns, "0", "max-connections '0'");
    refused(guest_config_set_max_conns, "65537", "accepted: 1 to 65536");
    guest_config_fini(&c);
}
