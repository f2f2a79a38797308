// SPDX-License-Identifier: BSD-3-Clause
// <qemu:override>, by which a domain sets a property of our interface that libvirt has no word for.
#include "config/domain_xml_translate.h"

#include <string.h>

uint32_t
override_find(const struct domain *d, uint32_t *device)
{
    const struct xml_doc *x = &d->xml;
    char alias[XML_VALUE_MAX];
    *device = XML_NONE;
    for (uint32_t n = xml_child(x, d->root, NULL); n != XML_NONE; n = xml_next(x, n, NULL)) {
        if (!xml_is_in_namespace(x, n, QEMU_NAMESPACE, "override"))
            continue;
        for (uint32_t c = xml_child(x, n, NULL); c != XML_NONE; c = xml_next(x, c, NULL))
            if (xml_is_in_namespace(x, c, QEMU_NAMESPACE, "device") &&
                xml_value(x, c, "alias", alias) && strcmp(alias, DOMAIN_XML_ALIAS) == 0)
                *device = c;
        return n;
    }
    return XML_NONE;
}

static void
emit_device(const char *prefix, const struct layout *l, unsigned depth, struct buffer *b)
{
    layout_line(l, b, depth);
    buffer_printf(b, "<%s:device alias='" DOMAIN_XML_ALIAS "'>", prefix);
    layout_line(l, b, depth + 1);
    buffer_printf(b, "<%s:frontend>", prefix);
    layout_line(l, b, depth + 2);
    buffer_printf(b, "<%s:property name='vectors' type='unsigned' value='0'/>", prefix);
    layout_line(l, b, depth + 1);
    buffer_printf(b, "</%s:frontend>", prefix);
    layout_line(l, b, depth);
    buffer_printf(b, "</%s:device>", prefix);
}

static unsigned
add_override(const struct domain *d, struct edits *e)
{
    char prefix[XML_VALUE_MAX];
    struct layout l = layout_in(d, d->root);
    bool has_prefix = xml_prefix_of(&d->xml, d->root, QEMU_NAMESPACE, prefix);
    if (!has_prefix)
        memcpy(prefix, "qemu", sizeof("qemu"));
    edit_begin(e, insertion_point(d, d->root), 0);
    layout_line(&l, &e->text, 0);
    buffer_printf(&e->text, "<%s:override", prefix);
    if (!has_prefix)
        buffer_printf(&e->text, " xmlns:%s='" QEMU_NAMESPACE "'", prefix);
    buffer_add_text(&e->text, ">");
    emit_device(prefix, &l, 1, &e->text);
    layout_line(&l, &e->text, 0);
    buffer_printf(&e->text, "</%s:override>", prefix);
    edit_end(e);
    return has_prefix ? ADDED_OVERRIDE : ADDED_OVERRIDE | ADDED_NAMESPACE;
}

unsigned
override_edit(const struct domain *d, struct edits *e)
{
    char type[XML_VALUE_MAX], prefix[XML_VALUE_MAX];
    uint32_t device, override = override_find(d, &device);
    xml_value(&d->xml, d->root, "type", type);
    if (strcmp(type, "qemu") != 0 || device != XML_NONE)
        return 0;
    // One in a default namespace has no prefix for us: it is left alone, and so it is its owner's.
    if (override == XML_NONE || !xml_prefix_of(&d->xml, override, QEMU_NAMESPACE, prefix))
        return override == XML_NONE ? add_override(d, e) : 0;
    struct layout inner = layout_in(d, override);
    unsigned added = ADDED_OVERRIDE_DEVICE;
    if (edit_open(d, override, e))
        added |= ADDED_OVERRIDE_CONTENT;
    emit_device(prefix, &inner, 0, &e->text);
    edit_close(d, override, e);
    return added;
}
