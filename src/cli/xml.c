// SPDX-License-Identifier: BSD-3-Clause
// vmchannel xml: domain XML with <interface type='vmchannel'> to what stock libvirt takes, and
// back. A filter: config/domain_xml does the work.
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/options.h"
#include "config/domain_xml.h"

#include <stdlib.h>

static int
xml_main(const struct command *self, char **argv)
{
    struct settings s;
    struct buffer in = {0}, out = {0};
    struct error err;
    char seed[64];

    settings_init(&s);
    char **rest = settings_parse(&s, self, argv);
    const char *file = rest[0];
    if (file && rest[1])
        die_usage("xml: unexpected word '%s' (accepted: one FILE)", rest[1]);
    if (document_read(file, &in, &err) < 0)
        die(&err);
    struct domain_xml_options options = {
        .file = file && (file[0] != '-' || file[1] != '\0') ? file : "standard input",
        .seed = document_host_seed(seed),
        .directory = s.socket_dir,
    };
    int rc = s.reverse ? domain_xml_reverse(in.data, in.len, options.file, &out, &err)
                       : domain_xml_translate(in.data, in.len, &options, &out, &err);
    if (rc < 0 || document_write(&out, &err) < 0)
        die(&err);
    buffer_fini(&in);
    buffer_fini(&out);
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_xml = {
    .id = COMMAND_XML,
    .name = "xml",
    .synopsis = "[--reverse] [--socket-dir DIRECTORY] [FILE]",
    .summary = "make <interface type='vmchannel'> of domain XML stock libvirt's",
    .text =
        "Reads the XML of a libvirt domain from FILE or standard input and writes it with each\n"
        "<interface type='vmchannel'> replaced by what stock libvirt takes. Everything else\n"
        "stays as it is. With --reverse, the way back.",
    .main = xml_main,
};
