// SPDX-License-Identifier: BSD-3-Clause
// Domain XML that is refused: in one line, in the user's terms, with the line in the document.
#include "test.h"

#include "config/domain_xml.h"

#include <errno.h>
#include <stdio.h>

#define DOMAIN(type, before, devices)                                                              \
    "<domain type='" type "'>\n<name>vm</name>\n" before "<devices>\n" devices "\n</devices>\n"    \
    "</domain>\n"
#define ONE(content) DOMAIN("kvm", "", "<interface type='vmchannel'>" content "</interface>")
#define GOOD         "<source port='600'/><target path='/p'/>"
#define TWO(a, b)                                                                                  \
    DOMAIN("kvm", "",                                                                              \
           "<interface type='vmchannel'>" a "</interface>\n<interface type='vmchannel'>" b         \
           "</interface>")
#define OTHER  "<source port='601'/><target path='/q'/>"
#define MAC(n) "<mac address='52:54:00:00:00:0" n "'/>"

static void
refused(const char *in, const char *line, const char *part)
{
    struct domain_xml_options options = {.file = "dom.xml"};
    struct buffer out = {0};
    struct error err = {{0}};
    char start[64];
    assert_int_equal(domain_xml_translate(in, strlen(in), &options, &out, &err), -EINVAL);
    snprintf(start, sizeof(start), "dom.xml:%s ", line);
    if (!strstr(err.text, part) || strncmp(err.text, start, strlen(start)) != 0 ||
        strchr(err.text, '\n'))
        fail_msg("'%s', without '%s' or '%s', from\n%s", err.text, start, part, in);
    buffer_fini(&out);
}

TEST(reconnect)
{
    refused(ONE("<source port='600'/><target path='/p'><reconnect enabled='on' timeout='1'/>"
                "</target>"),
            "4:", "channel 600: reconnect enabled='on': unknown (accepted: yes, no)");
    refused(ONE("<source port='600'/><target path='/p'><reconnect enabled='yes'/></target>"),
            "4:", "reconnect");
}

TEST(ports)
{
    refused(ONE("<target path='/p'/>"), "4:", "no port");
    refused(ONE("<source/><target path='/p'/>"), "4:", "no port");
    refused(ONE("\n<source port='0'/><target path='/p'/>"), "5:", "port '0'");
    refused(ONE("<source port='70000'/><target path='/p'/>"), "4:", "1 to 65535");
    refused(ONE("<source port='6x'/><target path='/p'/>"), "4:", "port '6x'");
    refused(TWO(GOOD, GOOD), "5:", "port 600: line 4 has it already");
    refused(DOMAIN("kvm", "",
                   "<channel type='unix'><source path='/p'/>"
                   "<target type='guestfwd' address='10.0.2.4'/></channel>"),
            "4:", "no port");
}

TEST(paths)
{
    refused(ONE("<source port='600'/>"), "4:", "channel 600: no path");
    refused(ONE("<source port='600'/><target/>"), "4:", "channel 600: no path");
    refused(ONE("<source port='600'/><target path=''/>"), "4:", "channel 600: no path");
    refused(ONE("<source port='600'/>\n<target path='some/path'/>"), "5:", "not absolute");
    char in[512], path[128] = "";
    memset(path, 'x', 108);
    path[0] = '/';
    snprintf(in, sizeof(in), ONE("<source port='600'/><target path='%s'/>"), path);
    refused(in, "4:", "over 107 bytes");
}

TEST(words_that_mean_nothing)
{
    refused(ONE(GOOD "\n<bandwidth/>"), "5:", "<bandwidth>: unknown (accepted: source, target");
    refused(ONE("<source port='600' dev='x'/><target path='/p'/>"), "4:", "attribute 'dev'");
    refused(ONE("<source port='600'/><target path='/p' mode='listen'/>"), "4:", "mode 'listen'");
    refused(ONE("<source port='600'/><target path='/p' proxy='v1'/>"),
            "4:", "channel 600: option proxy: 'v1': unknown (accepted: proxy=v2)");
    refused(ONE("<source port='600'/><target path='/p' proxy=''/>"), "4:", "option proxy: ''");
    refused(ONE("<source port='600' proxy='v2'/><target path='/p'/>"), "4:", "attribute 'proxy'");
    refused(ONE(GOOD "<target path='/q'/>"), "4:", "<target>: given twice");
}

TEST(elements_out_of_place)
{
    refused("<domain type='kvm'>\n<name>vm</name>\n<interface type='vmchannel'>" GOOD
            "</interface><devices/></domain>",
            "3:", "is a device (accepted: in <devices>)");
}

TEST(addresses_that_clash)
{
    refused(TWO(GOOD MAC("1"), OTHER MAC("2")), "5:", "<mac>: the vmchannel interface at line 4");
    refused(TWO(GOOD MAC("1"), OTHER MAC("1")), "5:", "<mac> in one of them");
    refused(DOMAIN("kvm", "",
                   "<interface type='user'><mac address='52:54:00:00:00:0A'/>"
                   "</interface>\n<interface type='vmchannel'>" GOOD MAC("a") "</interface>"),
            "5:", "the interface at line 4 has it too");
    refused(ONE(GOOD "<mac address='01:00:00:00:00:01'/>"), "4:", "mac '01:00:00:00:00:01'");
    refused(ONE(GOOD "<mac address='52:54'/>"), "4:", "mac '52:54'");
    refused(TWO(GOOD "<address type='pci'/>", OTHER "<address type='pci'/>"), "5:", "<address>");
    refused(ONE(GOOD "<model type='e1000'/>"), "4:", "model 'e1000'");
}

TEST(memory_that_is_private)
{
    refused(DOMAIN("kvm", "<memoryBacking>\n<access mode='private'/></memoryBacking>",
                   "<interface type='vmchannel'>" GOOD "</interface>"),
            "4:", "access mode='private'");
    refused(DOMAIN("kvm", "<memoryBacking><source type='anonymous'/></memoryBacking>",
                   "<interface type='vmchannel'>" GOOD "</interface>"),
            "3:", "source type='anonymous'");
    refused(DOMAIN("kvm", "<cpu><numa>\n<cell memAccess='private'/></numa></cpu>",
                   "<interface type='vmchannel'>" GOOD "</interface>"),
            "4:", "memAccess='private'");
}

TEST(documents_that_are_no_domain)
{
    refused("<domain type='kvm'>\n<name>vm</name>\n", "3:", "not XML");
    refused("<domain>\n<a></b></domain>", "2:", "not XML");
    refused("", "1:", "not XML");
    refused("<network/>", "1:", "<network>: not a domain");
    refused("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain/>", "", "has a DTD");
    refused("<!-- --><?x?>\n<!DOCTYPE domain SYSTEM '/etc/passwd'><domain/>", "", "has a DTD");
    refused("<!--><? --><!DOCTYPE domain [<!ENTITY a 'b'>]><?x ?><domain/>", "", "has a DTD");
    refused("<?xml version='1.0' encoding='UTF-16'?><domain/>", "1:", "encoding 'UTF-16'");
    refused("<domain>&a;</domain>", "1:", "not XML");
    refused(DOMAIN("lxc", "", "<interface type='vmchannel'>" GOOD "</interface>"),
            "1:", "domain type 'lxc'");
    refused("<domain type='kvm'><devices><interface type='vmchannel'>" GOOD
            "</interface></devices></domain>",
            "1:", "no <name>");
    refused(DOMAIN("kvm", "<uuid>xyz</uuid>", "<interface type='vmchannel'>" GOOD "</interface>"),
            "3:", "uuid 'xyz'");
}

// libxml2 knows some by their first bytes. "<?xml version='1.0'?><domain/>" in EBCDIC.
TEST(an_encoding_that_nobody_declared_is_not_looked_for)
{
    refused("\x4c\x6f\xa7\x94\x93\x40\xa5\x85\x99\xa2\x89\x96\x95\x7e\x7d\xf1\x4b\xf0\x7d\x6f\x6e"
            "\x4c\x84\x96\x94\x81\x89\x95\x61\x6e",
            "1:", "not XML");
}

TEST(documents_that_are_too_large_or_have_zero_bytes)
{
    struct domain_xml_options options = {0};
    struct buffer out = {0};
    struct error err;
    char *large = calloc(1, DOMAIN_XML_MAX + 1);
    memset(large, ' ', DOMAIN_XML_MAX + 1);
    assert_int_equal(domain_xml_translate(large, DOMAIN_XML_MAX + 1, &options, &out, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "at most"));
    assert_int_equal(domain_xml_translate("<domain>\0</domain>", 18, &options, &out, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "zero bytes"));
    free(large);
    buffer_fini(&out);
}
