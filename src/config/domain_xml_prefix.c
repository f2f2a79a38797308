// SPDX-License-Identifier: BSD-3-Clause
// libvirt's virDomainSetMetadata takes all that it is handed into our namespace: afterwards the
// user's elements are <vmchannel:interface>, with children of the same prefix. That is undone as a
// domain is taken in, so that nobody else has to know two spellings.
#include "config/domain_xml_internal.h"

#include <ctype.h>
#include <string.h>

// Of the prefix and its colon, where that stands for our namespace, whatever it is; 0: none. What
// is behind the colon must do as a name by itself: libxml2 takes <p:1/> and <p:/>, but not <1/>.
static uint32_t
prefix_length(const struct domain *d, uint32_t node)
{
    const struct xml_node *n = &d->xml.nodes[node];
    const char *name = d->xml.text + n->start + 1;
    const char *colon = memchr(name, ':', n->name_len);
    size_t len = colon ? (size_t)(colon - name) + 1 : 0;
    if (len == 0 || len == n->name_len || !isalpha((unsigned char)name[len]) ||
        !xml_is_in_namespace(&d->xml, node, DOMAIN_XML_NAMESPACE, NULL))
        return 0;
    return (uint32_t)len;
}

int
domain_strip_prefix(const struct domain *d, struct buffer *out, struct error *err)
{
    struct edits e = {0};
    const struct xml_node *nodes = d->xml.nodes;
    uint32_t end = d->channels == XML_NONE ? 0 : nodes[d->channels].end;
    // Nodes are in the order of their starts, so those within it come next.
    for (uint32_t n = d->channels + 1; end > 0 && n < d->xml.count && nodes[n].start < end; n++) {
        uint32_t len = prefix_length(d, n);
        if (len == 0)
            continue;
        edit_cut(&e, nodes[n].start + 1, nodes[n].start + 1 + len);
        if (!xml_is_self_closed(&d->xml, n))
            edit_cut(&e, nodes[n].close + 2, nodes[n].close + 2 + len);
    }
    int rc = e.count > 0 || e.failed ? edits_apply(d, &e, out, err) : 0;
    edits_fini(&e);
    return rc;
}
