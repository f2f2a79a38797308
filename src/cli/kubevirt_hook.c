// SPDX-License-Identifier: BSD-3-Clause
// vmchannel kubevirt-hook: KubeVirt's onDefineDomain. The annotations of the virtual machine
// instance say the channels; they become elements of the domain, which is then translated. KubeVirt
// takes the domain from standard output, and a failure keeps the machine from starting.
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/options.h"
#include "config/domain_xml.h"
#include "control/vmi.h"

#include <stdlib.h>
#include <string.h>

// Each sidecar has this directory of the pod to itself, as /var/run/kubevirt-hooks; that is how
// QEMU, in the other container, sees it. KubeVirt numbers the sidecars.
#define SOCKET_DIR "/var/run/kubevirt-hooks/hook-sidecar-0"

static int
add_channels(struct buffer *xml, const struct vmi *vmi, struct error *err)
{
    for (size_t i = 0; i < vmi->channel_count; i++) {
        struct buffer more = {0};
        int rc = domain_xml_add_channel(xml->data, xml->len, NULL, vmi->channels[i], &more, err);
        if (rc < 0) {
            error_prefix(err, "annotation " VMI_CHANNELS);
            buffer_fini(&more);
            return rc;
        }
        buffer_fini(xml);
        *xml = more;
    }
    return 0;
}

static const char *
socket_dir(const struct settings *s, const struct vmi *vmi)
{
    if (s->socket_dir)
        return s->socket_dir;
    return vmi->socket_dir[0] != '\0' ? vmi->socket_dir : SOCKET_DIR;
}

static int
kubevirt_hook_main(const struct command *self, char **argv)
{
    struct settings s;
    struct vmi vmi;
    struct buffer xml = {0}, out = {0};
    struct error err;

    settings_init(&s);
    char **rest = settings_parse(&s, self, argv);
    if (*rest)
        die_usage("kubevirt-hook: unexpected word '%.64s' (accepted: options)", *rest);
    if (!s.vmi || !s.domain)
        die_usage("kubevirt-hook: %s missing (accepted: --vmi JSON --domain XML)",
                  s.vmi ? "--domain" : "--vmi");
    if (vmi_parse(s.vmi, strlen(s.vmi), &vmi, &err) < 0)
        die(&err);
    buffer_add_text(&xml, s.domain);
    if (add_channels(&xml, &vmi, &err) < 0)
        die(&err);
    struct domain_xml_options options = {.seed = vmi.uid, .directory = socket_dir(&s, &vmi)};
    if (domain_xml_translate(xml.data, xml.len, &options, &out, &err) < 0 ||
        document_write(&out, &err) < 0)
        die(&err);
    buffer_fini(&xml);
    buffer_fini(&out);
    vmi_fini(&vmi);
    settings_fini(&s);
    return EXIT_SUCCESS;
}

const struct command command_kubevirt_hook = {
    .id = COMMAND_KUBEVIRT_HOOK,
    .name = "kubevirt-hook",
    .synopsis = "--vmi JSON --domain XML [--socket-dir DIRECTORY]",
    .summary = "KubeVirt's hook onDefineDomain, in a sidecar",
    .text = "Writes the domain XML with the channels that the annotation " VMI_CHANNELS " of the\n"
            "virtual machine instance tells, one PORT:unix:/PATH per word.",
    .main = kubevirt_hook_main,
};
