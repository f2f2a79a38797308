// SPDX-License-Identifier: BSD-3-Clause
// Our element in <metadata>: its start tag keeps what the translation added and where the user's
// elements were; these are its content. Writing and reading of it, nothing else.
#include "config/domain_xml_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum added bit;
    const char *word;
} words[] = {
    {ADDED_UUID, "uuid"},
    {ADDED_METADATA, "metadata"},
    {ADDED_METADATA_CONTENT, "metadata/"},
    {ADDED_MEMORY, "memoryBacking"},
    {ADDED_MEMORY_CONTENT, "memoryBacking/"},
    {ADDED_SOURCE, "source"},
    {ADDED_ACCESS, "access"},
    {ADDED_OVERRIDE, "override"},
    {ADDED_OVERRIDE_CONTENT, "override/"},
    {ADDED_OVERRIDE_DEVICE, "device"},
    {ADDED_NAMESPACE, "xmlns"},
};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

bool
record_grow(struct record *r, struct place place)
{
    struct place *grown = realloc(r->places, (r->count + 1) * sizeof(*grown));
    if (!grown)
        return false;
    r->places = grown;
    r->places[r->count++] = place;
    return true;
}

static unsigned
read_added(const char *text)
{
    unsigned added = 0;
    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        size_t len = strcspn(text, " ");
        for (size_t i = 0; i < WORD_COUNT; i++)
            if (strlen(words[i].word) == len && memcmp(words[i].word, text, len) == 0)
                added |= words[i].bit;
        text += len;
    }
    return added;
}

// Digits at *text, which goes behind them; what is too large is cut to what no document has.
static uint32_t
read_number(const char **text, const char *end)
{
    uint32_t n = 0;
    for (; *text < end && **text >= '0' && **text <= '9'; (*text)++)
        n = n < DOMAIN_XML_MAX ? n * 10 + (uint32_t)(**text - '0') : n;
    return n;
}

// "0 3 4+12"; a place that cannot be read is 0, behind the interface.
static bool
read_places(const struct domain *d, const struct xml_attr *attr, struct record *out)
{
    const char *at = d->xml.text + attr->value, *end = at + attr->value_len;
    while (at < end) {
        struct place place = {0};
        if (*at == ' ') {
            at++;
            continue;
        }
        place.nodes = read_number(&at, end);
        if (at < end && *at == '+') {
            at++;
            place.bytes = read_number(&at, end);
        }
        while (at < end && *at != ' ')
            at++;
        if (!record_grow(out, place))
            return false;
    }
    return true;
}

int
record_read(const struct domain *d, struct record *out, struct error *err)
{
    char text[XML_VALUE_MAX];
    struct xml_attr attr = {0};
    *out = (struct record){0};
    xml_value(&d->xml, d->channels, "added", text);
    out->added = read_added(text);
    while (xml_next_attr(&d->xml, d->channels, &attr))
        if (xml_attr_is(&d->xml, &attr, "places") && !read_places(d, &attr, out))
            return domain_out_of_memory(d, err);
    return 0;
}

void
record_fini(struct record *r)
{
    free(r->places);
    *r = (struct record){0};
}

void
record_emit_start(const struct record *r, bool with_prefix, struct buffer *out)
{
    const char *blank = "";
    buffer_add_text(out, with_prefix ? "<" DOMAIN_XML_PREFIX ":channels xmlns:" DOMAIN_XML_PREFIX
                                       "='" DOMAIN_XML_NAMESPACE "' added='"
                                     : "<channels added='");
    for (size_t i = 0; i < WORD_COUNT; i++) {
        if (!(r->added & words[i].bit))
            continue;
        buffer_printf(out, "%s%s", blank, words[i].word);
        blank = " ";
    }
    buffer_add_text(out, "' places='");
    for (size_t i = 0; i < r->count; i++) {
        buffer_printf(out, "%s%u", i > 0 ? " " : "", r->places[i].nodes);
        if (r->places[i].bytes > 0)
            buffer_printf(out, "+%u", r->places[i].bytes);
    }
    buffer_add_text(out, "'>");
}

void
record_emit_end(bool with_prefix, struct buffer *out)
{
    buffer_add_text(out, with_prefix ? "</" DOMAIN_XML_PREFIX ":channels>" : "</channels>");
}

void
record_span(const struct domain *d, const struct elements *e, size_t n, uint32_t *from,
            uint32_t *to)
{
    *from = n == 0 ? d->xml.nodes[d->channels].open_end : d->xml.nodes[e->list[n - 1].node].end;
    *to = d->xml.nodes[e->list[n].node].end;
}
