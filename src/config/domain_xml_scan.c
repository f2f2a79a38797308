// SPDX-License-Identifier: BSD-3-Clause
// One pass over the text makes a table of nodes; attributes and values are read from the text when
// somebody asks. What an element means is left to the others.
#include "config/domain_xml_scan.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char space[] = " \t\r\n";

static bool
is_space(char c)
{
    return c != '\0' && strchr(space, c) != NULL;
}

static bool
starts(const struct xml_doc *doc, uint32_t at, const char *with)
{
    size_t len = strlen(with);
    return doc->len - at >= len && memcmp(doc->text + at, with, len) == 0;
}

// Offset behind the next `what` from there on, 0 when there is none.
static uint32_t
behind(const struct xml_doc *doc, uint32_t at, const char *what)
{
    if (at > doc->len)
        return 0;
    const char *found = memmem(doc->text + at, doc->len - at, what, strlen(what));
    return found ? (uint32_t)(found - doc->text + (ptrdiff_t)strlen(what)) : 0;
}

static int
add_node(struct xml_doc *doc, uint32_t start, uint32_t parent, struct error *err)
{
    if (doc->count == doc->size) {
        uint32_t size = doc->size > 0 ? doc->size * 2 : 256;
        struct xml_node *grown = realloc(doc->nodes, size * sizeof(*grown));
        if (!grown)
            return error_set(err, ENOMEM, "a document of %u bytes", doc->len);
        doc->nodes = grown;
        doc->size = size;
    }
    uint32_t n = doc->count++;
    doc->nodes[n] = (struct xml_node){
        .start = start,
        .parent = parent,
        .first_child = XML_NONE,
        .last_child = XML_NONE,
        .next = XML_NONE,
        .previous = XML_NONE,
    };
    if (parent == XML_NONE)
        return 0;
    struct xml_node *p = &doc->nodes[parent];
    if (p->last_child == XML_NONE)
        p->first_child = n;
    else
        doc->nodes[p->last_child].next = n;
    doc->nodes[n].previous = p->last_child;
    p->last_child = n;
    return 0;
}

// Behind the ">" of the start tag at `at`; quoted values may have a ">" in them.
static uint32_t
tag_end(const struct xml_doc *doc, uint32_t at)
{
    for (uint32_t i = at; i < doc->len; i++) {
        char c = doc->text[i];
        if (c == '>')
            return i + 1;
        if (c != '"' && c != '\'')
            continue;
        const char *quote = memchr(doc->text + i + 1, c, doc->len - i - 1);
        if (!quote)
            return 0;
        i = (uint32_t)(quote - doc->text);
    }
    return 0;
}

static uint32_t
name_length(const struct xml_doc *doc, uint32_t at)
{
    uint32_t i = at;
    while (i < doc->len && !is_space(doc->text[i]) && !strchr("/>=<\"'", doc->text[i]))
        i++;
    return i - at;
}

// A comment, CDATA or processing instruction at `at`: behind it, else 0.
static uint32_t
other_end(const struct xml_doc *doc, uint32_t at)
{
    if (starts(doc, at, "<!--"))
        return behind(doc, at + 4, "-->");
    if (starts(doc, at, "<![CDATA["))
        return behind(doc, at + 9, "]]>");
    if (starts(doc, at, "<?"))
        return behind(doc, at + 2, "?>");
    return 0;
}

static int
not_understood(const struct xml_doc *doc, uint32_t at, struct error *err)
{
    return error_set(err, 0, "byte %u of %u: not understood", at, doc->len);
}

// What begins with the "<" at *at. open is the element that it stands in, and changes with tags.
static int
scan_markup(struct xml_doc *doc, uint32_t *at, uint32_t *open, struct error *err)
{
    uint32_t start = *at;
    if (starts(doc, start, "</")) {
        uint32_t end = behind(doc, start, ">");
        if (*open == XML_NONE || end == 0)
            return not_understood(doc, start, err);
        doc->nodes[*open].close = start;
        doc->nodes[*open].end = end;
        *open = doc->nodes[*open].parent;
        *at = end;
        return 0;
    }
    int rc = add_node(doc, start, *open, err);
    if (rc < 0)
        return rc;
    uint32_t n = doc->count - 1;
    struct xml_node *node = &doc->nodes[n];
    bool is_element =
        doc->len - start > 1 && doc->text[start + 1] != '!' && doc->text[start + 1] != '?';
    uint32_t end = is_element ? tag_end(doc, start) : other_end(doc, start);
    if (end == 0)
        return not_understood(doc, start, err);
    node->open_end = node->close = node->end = end;
    *at = end;
    if (!is_element)
        return 0;
    node->name_len = name_length(doc, start + 1);
    if (node->name_len == 0 || (*open == XML_NONE && doc->root != XML_NONE))
        return not_understood(doc, start, err);
    if (doc->root == XML_NONE)
        doc->root = n;
    if (doc->text[end - 2] != '/')
        *open = n;
    return 0;
}

static void
number_lines(struct xml_doc *doc)
{
    uint32_t line = 1, at = 0;
    for (uint32_t i = 0; i < doc->count; i++) {
        for (; at < doc->nodes[i].start; at++)
            line += doc->text[at] == '\n';
        doc->nodes[i].line = line;
    }
}

int
xml_scan(struct xml_doc *doc, const char *text, size_t len, struct error *err)
{
    *doc = (struct xml_doc){.text = text, .len = (uint32_t)len, .root = XML_NONE};
    if (len >= UINT32_MAX / 2)
        return error_set(err, 0, "%zu bytes are too many", len);
    uint32_t open = XML_NONE;
    for (uint32_t at = 0; at < doc->len;) {
        const char *next = memchr(text + at, '<', len - at);
        if (!next)
            break;
        at = (uint32_t)(next - text);
        int rc = scan_markup(doc, &at, &open, err);
        if (rc < 0)
            return rc;
    }
    if (doc->root == XML_NONE || open != XML_NONE)
        return not_understood(doc, doc->len, err);
    number_lines(doc);
    return 0;
}

void
xml_doc_fini(struct xml_doc *doc)
{
    free(doc->nodes);
    *doc = (struct xml_doc){0};
}

bool
xml_is_named(const struct xml_doc *doc, uint32_t node, const char *name)
{
    const struct xml_node *n = &doc->nodes[node];
    return n->name_len > 0 && n->name_len == strlen(name) &&
           memcmp(doc->text + n->start + 1, name, n->name_len) == 0;
}

bool
xml_is_self_closed(const struct xml_doc *doc, uint32_t node)
{
    return doc->nodes[node].open_end == doc->nodes[node].end;
}

static uint32_t
element_from(const struct xml_doc *doc, uint32_t node, const char *name)
{
    for (; node != XML_NONE; node = doc->nodes[node].next)
        if (doc->nodes[node].name_len > 0 && (!name || xml_is_named(doc, node, name)))
            return node;
    return XML_NONE;
}

uint32_t
xml_child(const struct xml_doc *doc, uint32_t node, const char *name)
{
    return node == XML_NONE ? XML_NONE : element_from(doc, doc->nodes[node].first_child, name);
}

uint32_t
xml_next(const struct xml_doc *doc, uint32_t node, const char *name)
{
    return element_from(doc, doc->nodes[node].next, name);
}

bool
xml_next_attr(const struct xml_doc *doc, uint32_t node, struct xml_attr *attr)
{
    const struct xml_node *e = &doc->nodes[node];
    uint32_t at = attr->value > 0 ? attr->value + attr->value_len + 1 : e->start + 1 + e->name_len;
    while (at < e->open_end && is_space(doc->text[at]))
        at++;
    attr->name = at;
    attr->name_len = name_length(doc, at);
    at += attr->name_len;
    while (at < e->open_end && doc->text[at] != '"' && doc->text[at] != '\'')
        at++;
    if (attr->name_len == 0 || at >= e->open_end)
        return false;
    const char *quote = memchr(doc->text + at + 1, doc->text[at], e->open_end - at - 1);
    if (!quote)
        return false;
    attr->value = at + 1;
    attr->value_len = (uint32_t)(quote - doc->text) - attr->value;
    return true;
}

bool
xml_attr_is(const struct xml_doc *doc, const struct xml_attr *attr, const char *name)
{
    return attr->name_len == strlen(name) &&
           memcmp(doc->text + attr->name, name, attr->name_len) == 0;
}

// The code point that "&...;" at the start of text is, and its length there; 0: none.
static size_t
parse_reference(const char *text, size_t len, uint32_t *out)
{
    static const struct {
        const char *text;
        char is;
    } known[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t n = strlen(known[i].text);
        if (len >= n && memcmp(text, known[i].text, n) == 0) {
            *out = (uint32_t)known[i].is;
            return n;
        }
    }
    if (len < 4 || text[1] != '#')
        return 0;
    size_t i = text[2] == 'x' ? 3 : 2;
    uint32_t base = i == 3 ? 16 : 10, value = 0;
    for (; i < len && text[i] != ';'; i++) {
        const char *digits = "0123456789abcdef";
        char lower = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
        const char *digit = lower == '\0' ? NULL : strchr(digits, lower);
        if (!digit || (uint32_t)(digit - digits) >= base || value > 0x10ffff)
            return 0;
        value = value * base + (uint32_t)(digit - digits);
    }
    *out = value;
    return i < len && value > 0 && value <= 0x10ffff ? i + 1 : 0;
}

static size_t
emit_utf8(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[len] | c);
    return len;
}

// Adds what the written text means. In an attribute, white space is a blank (XML 1.0, 3.3.3).
static void
decode(const char *text, size_t len, bool is_attribute, char out[XML_VALUE_MAX])
{
    size_t used = strlen(out);
    for (size_t i = 0; i < len;) {
        char piece[4] = {text[i]};
        size_t piece_len = 1, taken = 1;
        uint32_t c;
        if (text[i] == '&' && (taken = parse_reference(text + i, len - i, &c)) > 0)
            piece_len = emit_utf8(c, piece);
        else if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n')
            piece_len = 0; // the two are one line end
        else if (text[i] == '\r')
            piece[0] = '\n';
        if (is_attribute && text[i] != '&' && is_space(text[i]))
            piece[0] = ' ';
        i += taken > 0 ? taken : 1;
        if (used + piece_len >= XML_VALUE_MAX)
            break;
        memcpy(out + used, piece, piece_len);
        used += piece_len;
    }
    out[used] = '\0';
}

bool
xml_value(const struct xml_doc *doc, uint32_t node, const char *name, char out[XML_VALUE_MAX])
{
    struct xml_attr attr = {0};
    out[0] = '\0';
    while (node != XML_NONE && xml_next_attr(doc, node, &attr)) {
        if (!xml_attr_is(doc, &attr, name))
            continue;
        decode(doc->text + attr.value, attr.value_len, true, out);
        return true;
    }
    return false;
}

bool
xml_text(const struct xml_doc *doc, uint32_t node, char out[XML_VALUE_MAX])
{
    out[0] = '\0';
    if (node == XML_NONE)
        return false;
    const struct xml_node *e = &doc->nodes[node];
    uint32_t at = e->open_end;
    for (uint32_t i = e->first_child; i != XML_NONE; i = doc->nodes[i].next) {
        const struct xml_node *child = &doc->nodes[i];
        decode(doc->text + at, child->start - at, false, out);
        size_t used = strlen(out);
        if (starts(doc, child->start, "<![CDATA["))
            snprintf(out + used, XML_VALUE_MAX - used, "%.*s",
                     (int)(child->end - child->start - 12), doc->text + child->start + 9);
        at = child->end;
    }
    decode(doc->text + at, e->close - at, false, out);
    return true;
}

// What the prefix (of prefix_len bytes, maybe none) stands for at this element.
static bool
namespace_of(const struct xml_doc *doc, uint32_t node, const char *prefix, size_t prefix_len,
             char out[XML_VALUE_MAX])
{
    char name[XML_VALUE_MAX];
    if (prefix_len > XML_VALUE_MAX / 2)
        return false;
    snprintf(name, sizeof(name), "xmlns%s%.*s", prefix_len > 0 ? ":" : "", (int)prefix_len, prefix);
    for (; node != XML_NONE; node = doc->nodes[node].parent)
        if (xml_value(doc, node, name, out))
            return true;
    return false;
}

bool
xml_is_in_namespace(const struct xml_doc *doc, uint32_t node, const char *uri, const char *name)
{
    const struct xml_node *e = &doc->nodes[node];
    const char *text = doc->text + e->start + 1;
    const char *colon = memchr(text, ':', e->name_len);
    size_t prefix_len = colon ? (size_t)(colon - text) : 0;
    const char *local = colon ? colon + 1 : text;
    size_t local_len = e->name_len - (size_t)(local - text);
    char found[XML_VALUE_MAX];
    bool is_name = !name || (local_len == strlen(name) && memcmp(local, name, local_len) == 0);
    return is_name && namespace_of(doc, node, text, prefix_len, found) && strcmp(found, uri) == 0;
}

// libxml2 takes xmlns:1='...', but not <1:name/>, and xmlns:a:b='...', where <a:b:name/> is of no
// namespace: such a prefix is of no use.
static bool
is_prefix(const char *name, size_t len)
{
    bool begins = isalpha((unsigned char)name[0]) || name[0] == '_' || (name[0] & 0x80);
    return begins && !memchr(name, ':', len);
}

bool
xml_prefix_of(const struct xml_doc *doc, uint32_t node, const char *uri, char out[XML_VALUE_MAX])
{
    for (; node != XML_NONE; node = doc->nodes[node].parent) {
        struct xml_attr attr = {0};
        while (xml_next_attr(doc, node, &attr)) {
            const char *name = doc->text + attr.name;
            if (attr.name_len <= 6 || memcmp(name, "xmlns:", 6) != 0 ||
                !is_prefix(name + 6, attr.name_len - 6))
                continue;
            char value[XML_VALUE_MAX] = "";
            decode(doc->text + attr.value, attr.value_len, true, value);
            if (strcmp(value, uri) != 0)
                continue;
            snprintf(out, XML_VALUE_MAX, "%.*s", (int)attr.name_len - 6, name + 6);
            return true;
        }
    }
    return false;
}

uint32_t
xml_space_before(const struct xml_doc *doc, uint32_t offset)
{
    while (offset > 0 && is_space(doc->text[offset - 1]))
        offset--;
    return offset;
}

void
xml_escape(struct buffer *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '&')
            buffer_add_text(out, "&amp;");
        else if (*p == '<')
            buffer_add_text(out, "&lt;");
        else if (*p == '>')
            buffer_add_text(out, "&gt;");
        else if (*p == '\'')
            buffer_add_text(out, "&apos;");
        else if ((unsigned char)*p < 0x20)
            buffer_printf(out, "&#%d;", *p);
        else
            buffer_add(out, p, 1);
    }
}
