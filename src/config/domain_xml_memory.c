// SPDX-License-Identifier: BSD-3-Clause
// The guest's memory: a vhost-user back-end can only serve one that is shared. What a domain says
// of its memory is kept; what it lacks is added; what forbids sharing is an error.
#include "config/domain_xml_translate.h"

#include <string.h>

#define WHY "the interface needs memory that is shared"

static int
check_cells(const struct domain *d, bool *all_shared, struct error *err)
{
    const struct xml_doc *x = &d->xml;
    char value[XML_VALUE_MAX];
    uint32_t numa = xml_child(x, xml_child(x, d->root, "cpu"), "numa");
    uint32_t cell = xml_child(x, numa, "cell");
    *all_shared = cell != XML_NONE;
    for (; cell != XML_NONE; cell = xml_next(x, cell, "cell")) {
        if (!xml_value(x, cell, "memAccess", value))
            *all_shared = false;
        else if (strcmp(value, "private") == 0)
            return domain_error(d, cell, err,
                                "memAccess='private': " WHY " (accepted: memAccess='shared')");
    }
    return 0;
}

int
memory_check(const struct domain *d, struct memory *out, struct error *err)
{
    const struct xml_doc *x = &d->xml;
    char value[XML_VALUE_MAX];
    bool all_shared;
    out->node = xml_child(x, d->root, "memoryBacking");
    uint32_t source = xml_child(x, out->node, "source");
    uint32_t access = xml_child(x, out->node, "access");
    int rc = check_cells(d, &all_shared, err);
    if (rc < 0)
        return rc;
    if (xml_value(x, access, "mode", value) && strcmp(value, "private") == 0 && !all_shared)
        return domain_error(d, access, err,
                            "memoryBacking: access mode='private': " WHY
                            " (accepted: <access mode='shared'/>)");
    if (xml_value(x, source, "type", value) && strcmp(value, "anonymous") == 0)
        return domain_error(d, source, err,
                            "memoryBacking: source type='anonymous': " WHY
                            " (accepted: <source type='memfd'/>, <source type='file'/>)");
    out->needs_access = access == XML_NONE && !all_shared;
    out->needs_source = source == XML_NONE && xml_child(x, out->node, "hugepages") == XML_NONE;
    return 0;
}

static void
emit_children(const struct memory *m, const struct layout *l, unsigned depth, struct buffer *b)
{
    if (m->needs_source) {
        layout_line(l, b, depth);
        buffer_add_text(b, "<source type='memfd'/>");
    }
    if (m->needs_access) {
        layout_line(l, b, depth);
        buffer_add_text(b, "<access mode='shared'/>");
    }
}

// Behind the last element that tells a size, else behind the name, which is there.
static uint32_t
place_of_new(const struct domain *d)
{
    static const char *const sizes[] = {"name", "maxMemory", "memory", "currentMemory"};
    uint32_t place = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t n = xml_child(&d->xml, d->root, sizes[i]);
        if (n != XML_NONE && d->xml.nodes[n].end > place)
            place = d->xml.nodes[n].end;
    }
    return place;
}

unsigned
memory_edit(const struct domain *d, const struct memory *m, struct edits *e)
{
    struct layout l = layout_in(d, d->root);
    if (!m->needs_source && !m->needs_access)
        return 0;
    if (m->node == XML_NONE) {
        edit_begin(e, place_of_new(d), 0);
        layout_line(&l, &e->text, 0);
        buffer_add_text(&e->text, "<memoryBacking>");
        emit_children(m, &l, 1, &e->text);
        layout_line(&l, &e->text, 0);
        buffer_add_text(&e->text, "</memoryBacking>");
        edit_end(e);
        return ADDED_MEMORY;
    }
    unsigned added = (m->needs_source ? ADDED_SOURCE : 0) | (m->needs_access ? ADDED_ACCESS : 0);
    struct layout inner = layout_in(d, m->node);
    if (edit_open(d, m->node, e))
        added |= ADDED_MEMORY_CONTENT;
    emit_children(m, &inner, 0, &e->text);
    edit_close(d, m->node, e);
    return added;
}
