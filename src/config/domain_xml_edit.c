// SPDX-License-Identifier: BSD-3-Clause
// Edits are collected against the offsets of the document as it was read, and applied in one pass:
// so no edit moves the place of another one. Also the layout that new lines take from old ones.
#include "config/domain_xml_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
edit_begin(struct edits *e, uint32_t at, uint32_t cut)
{
    struct edit *grown = realloc(e->list, (e->count + 1) * sizeof(*grown));
    if (!grown) {
        e->failed = true;
        return;
    }
    e->list = grown;
    e->list[e->count++] = (struct edit){.at = at, .cut = cut, .text = e->text.len};
}

void
edit_end(struct edits *e)
{
    if (e->failed || e->count == 0)
        return;
    struct edit *last = &e->list[e->count - 1];
    last->text_len = e->text.len - last->text;
}

void
edit_cut(struct edits *e, uint32_t from, uint32_t to)
{
    edit_begin(e, from, to - from);
    edit_end(e);
}

static bool
comes_before(const struct edit *a, const struct edit *b)
{
    return a->at < b->at || (a->at == b->at && a->is_inside && !b->is_inside);
}

// Insertion sort, which keeps the order of edits at the same place; they are made nearly in order.
static void
sort_edits(struct edits *e)
{
    for (size_t i = 1; i < e->count; i++) {
        struct edit moved = e->list[i];
        size_t j = i;
        for (; j > 0 && comes_before(&moved, &e->list[j - 1]); j--)
            e->list[j] = e->list[j - 1];
        e->list[j] = moved;
    }
}

int
edits_apply(const struct domain *d, struct edits *e, struct buffer *out, struct error *err)
{
    uint32_t at = 0;
    sort_edits(e);
    for (size_t i = 0; i < e->count && !e->failed; i++) {
        const struct edit *edit = &e->list[i];
        if (edit->at < at || edit->cut > d->xml.len - edit->at)
            return domain_error(d, d->root, err, "elements of ours stand within each other");
        buffer_add(out, d->xml.text + at, edit->at - at);
        if (edit->text_len > 0)
            buffer_add(out, e->text.data + edit->text, edit->text_len);
        at = edit->at + edit->cut;
    }
    buffer_add(out, d->xml.text + at, d->xml.len - at);
    return e->failed || e->text.failed || out->failed ? domain_out_of_memory(d, err) : 0;
}

void
edits_fini(struct edits *e)
{
    free(e->list);
    buffer_fini(&e->text);
    memset(e, 0, sizeof(*e));
}

// The line break and indentation in front of a node; false when it follows something on its line.
static bool
line_before(const struct domain *d, uint32_t node, char out[LAYOUT_MAX])
{
    uint32_t end = d->xml.nodes[node].start;
    uint32_t from = xml_space_before(&d->xml, end);
    const char *text = d->xml.text;
    const char *last = memrchr(text + from, '\n', end - from);
    if (!last)
        return false;
    if (last > text + from && last[-1] == '\r')
        last--;
    size_t len = (size_t)(text + end - last);
    if (len >= LAYOUT_MAX)
        return false;
    memcpy(out, last, len);
    out[len] = '\0';
    return true;
}

// What the domain's children are indented by.
static bool
find_unit(const struct domain *d, char out[LAYOUT_MAX])
{
    for (uint32_t n = xml_child(&d->xml, d->root, NULL); n != XML_NONE;
         n = xml_next(&d->xml, n, NULL)) {
        char line[LAYOUT_MAX], root[LAYOUT_MAX];
        if (!line_before(d, n, line))
            continue;
        if (!line_before(d, d->root, root))
            snprintf(root, sizeof(root), "%s", line[0] == '\r' ? "\r\n" : "\n");
        size_t base = strlen(root);
        bool deeper = strncmp(line, root, base) == 0 && line[base] != '\0';
        snprintf(out, LAYOUT_MAX, "%s", deeper ? line + base : "  ");
        return true;
    }
    return false;
}

struct layout
layout_in(const struct domain *d, uint32_t parent)
{
    struct layout l = {{0}, {0}};
    const struct xml_node *p = &d->xml.nodes[parent];
    if (!find_unit(d, l.unit))
        return l;
    for (uint32_t n = xml_child(&d->xml, parent, NULL); n != XML_NONE;
         n = xml_next(&d->xml, n, NULL))
        if (line_before(d, n, l.line))
            return l;
    // Nothing in it to go by: one level deeper, unless it is all on one line.
    bool empty = xml_is_self_closed(&d->xml, parent);
    bool one_line = !memchr(d->xml.text + p->open_end, '\n', p->close - p->open_end);
    if ((!empty && one_line) || !line_before(d, parent, l.line) ||
        strlen(l.line) + strlen(l.unit) >= LAYOUT_MAX)
        return (struct layout){{0}, {0}};
    memcpy(l.line + strlen(l.line), l.unit, strlen(l.unit) + 1);
    return l;
}

void
layout_line(const struct layout *l, struct buffer *b, unsigned depth)
{
    if (l->line[0] == '\0')
        return;
    buffer_add_text(b, l->line);
    while (depth-- > 0)
        buffer_add_text(b, l->unit);
}
