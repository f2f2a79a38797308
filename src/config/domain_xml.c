// SPDX-License-Identifier: BSD-3-Clause
// Takes a domain in: libxml2 says whether it is XML, the scan says where things are, and here the
// places are found that the others work on. Also what a reader wants to know of a domain.
#include "config/domain_xml.h"

#include "config/domain_xml_internal.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENCODING_ACCEPTED "accepted: UTF-8"

int
domain_error(const struct domain *d, uint32_t node, struct error *err, const char *fmt, ...)
{
    char text[sizeof(err->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    unsigned line = node == XML_NONE ? 1 : d->xml.nodes[node].line;
    return error_set(err, 0, "%s:%u: %s", d->file, line, text);
}

int
domain_out_of_memory(const struct domain *d, struct error *err)
{
    return error_set(err, ENOMEM, "%s", d->file);
}

// What the XML declaration says; "" when nothing.
static void
declared_encoding(const char *in, size_t len, char out[64])
{
    out[0] = '\0';
    const char *end = len > 5 && memcmp(in, "<?xml", 5) == 0 ? memmem(in, len, "?>", 2) : NULL;
    const char *at = end ? memmem(in, (size_t)(end - in), "encoding", 8) : NULL;
    while (at && at < end && *at != '"' && *at != '\'')
        at++;
    const char *quote = at && at < end ? memchr(at + 1, *at, (size_t)(end - at) - 1) : NULL;
    if (quote)
        snprintf(out, 64, "%.*s", (int)(quote - at) - 1, at + 1);
}

// A DTD stands in front of the root element, where else only comments and the like may be.
static bool
has_dtd(const char *in, size_t len)
{
    const char *at = in, *end = in + len;
    while ((at = memchr(at, '<', (size_t)(end - at))) != NULL) {
        size_t left = (size_t)(end - at);
        if (left > 2 && at[1] == '?')
            at = memmem(at, left, "?>", 2);
        else if (left > 4 && memcmp(at, "<!--", 4) == 0)
            at = memmem(at + 4, left - 4, "-->", 3);
        else
            return left > 2 && at[1] == '!';
        if (!at)
            return false;
    }
    return false;
}

// What libxml2 is not to see at all, or would take and we do not.
static int
check_form(const char *file, const char *in, size_t len, struct error *err)
{
    char encoding[64];
    if (len > DOMAIN_XML_MAX)
        return error_set(err, 0, "%s: %zu bytes; accepted: at most %u", file, len, DOMAIN_XML_MAX);
    if (memchr(in, '\0', len))
        return error_set(err, 0, "%s: has zero bytes in it; " ENCODING_ACCEPTED, file);
    if (len >= 3 && memcmp(in, "\xef\xbb\xbf", 3) == 0) {
        in += 3;
        len -= 3;
    }
    declared_encoding(in, len, encoding);
    if (encoding[0] != '\0' && strcasecmp(encoding, "UTF-8") != 0 &&
        strcasecmp(encoding, "US-ASCII") != 0 && strcasecmp(encoding, "ASCII") != 0)
        return error_set(err, 0, "%s:1: encoding '%s': " ENCODING_ACCEPTED, file, encoding);
    if (has_dtd(in, len))
        return error_set(err, 0, "%s: has a DTD, which no domain needs; accepted: none", file);
    return 0;
}

// Of libxml2's message the first line.
static int
xml_failure(const char *file, xmlParserCtxtPtr parser, struct error *err)
{
    const xmlError *e = xmlCtxtGetLastError(parser);
    if (!e || !e->message)
        return error_set(err, 0, "%s: not XML", file);
    return error_set(err, 0, "%s:%d: not XML: %.*s", file, e->line, (int)strcspn(e->message, "\n"),
                     e->message);
}

static int
check_well_formed(const char *file, const char *in, size_t len, struct error *err)
{
    xmlParserCtxtPtr parser = xmlNewParserCtxt();
    if (!parser)
        return error_set(err, ENOMEM, "%s", file);
    // Not what its first bytes look like: it would see what check_form did not.
    xmlDocPtr doc = xmlCtxtReadMemory(parser, in, (int)len, NULL, "UTF-8",
                                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    int rc = doc ? 0 : xml_failure(file, parser, err);
    xmlFreeDoc(doc);
    xmlFreeParserCtxt(parser);
    return rc;
}

static int
find_channels(struct domain *d, struct error *err)
{
    d->channels = XML_NONE;
    for (uint32_t n = xml_child(&d->xml, d->metadata, NULL); n != XML_NONE;
         n = xml_next(&d->xml, n, NULL)) {
        if (!xml_is_in_namespace(&d->xml, n, DOMAIN_XML_NAMESPACE, "channels"))
            continue;
        if (d->channels != XML_NONE)
            return domain_error(d, n, err, "<channels> of vmchannel's metadata: given twice");
        d->channels = n;
    }
    return 0;
}

static uint32_t
find_nic(const struct domain *d)
{
    char value[XML_VALUE_MAX];
    for (uint32_t n = xml_child(&d->xml, d->devices, "interface"); n != XML_NONE;
         n = xml_next(&d->xml, n, "interface")) {
        uint32_t alias = xml_child(&d->xml, n, "alias");
        if (xml_value(&d->xml, alias, "name", value) && strcmp(value, DOMAIN_XML_ALIAS) == 0)
            return n;
    }
    return XML_NONE;
}

static int
find_places(struct domain *d, const char *in, size_t len, struct error *err)
{
    int rc = xml_scan(&d->xml, in, len, err);
    if (rc < 0) {
        error_prefix(err, "%s", d->file);
        return rc;
    }
    d->root = d->xml.root;
    if (!xml_is_named(&d->xml, d->root, "domain"))
        return domain_error(d, d->root, err, "<%.*s>: not a domain (accepted: <domain>)",
                            (int)(d->xml.nodes[d->root].name_len),
                            in + d->xml.nodes[d->root].start + 1);
    d->devices = xml_child(&d->xml, d->root, "devices");
    d->metadata = xml_child(&d->xml, d->root, "metadata");
    d->nic = find_nic(d);
    return find_channels(d, err);
}

int
domain_load(struct domain *d, const char *in, size_t len, const char *file, struct error *err)
{
    memset(d, 0, sizeof(*d));
    d->file = file ? file : "domain";
    int rc = check_form(d->file, in, len, err);
    if (rc == 0)
        rc = check_well_formed(d->file, in, len, err);
    if (rc == 0)
        rc = find_places(d, in, len, err);
    if (rc == 0)
        rc = domain_strip_prefix(d, &d->plain, err);
    if (rc < 0 || d->plain.len == 0)
        return rc;
    xml_doc_fini(&d->xml);
    return find_places(d, d->plain.data, d->plain.len, err);
}

void
domain_fini(struct domain *d)
{
    xml_doc_fini(&d->xml);
    buffer_fini(&d->plain);
}

// <sysinfo type='smbios'><system><entry name='uuid'>, which libvirt takes for a missing <uuid>.
static uint32_t
sysinfo_uuid(const struct domain *d)
{
    char name[XML_VALUE_MAX];
    const struct xml_doc *x = &d->xml;
    for (uint32_t info = xml_child(x, d->root, "sysinfo"); info != XML_NONE;
         info = xml_next(x, info, "sysinfo")) {
        uint32_t entry = xml_child(x, xml_child(x, info, "system"), "entry");
        for (; entry != XML_NONE; entry = xml_next(x, entry, "entry"))
            if (xml_value(x, entry, "name", name) && strcmp(name, "uuid") == 0)
                return entry;
    }
    return XML_NONE;
}

int
domain_uuid(const struct domain *d, char out[UUID_LEN + 1], struct error *err)
{
    char text[XML_VALUE_MAX];
    uint32_t node = xml_child(&d->xml, d->root, "uuid");
    if (node == XML_NONE)
        node = sysinfo_uuid(d);
    out[0] = '\0';
    if (!xml_text(&d->xml, node, text))
        return 0;
    if (!uuid_parse(text, out))
        return domain_error(d, node, err, "uuid '%.64s': not a UUID", text);
    return 1;
}

static void
read_owner(const struct domain *d, struct domain_info *out)
{
    char text[XML_VALUE_MAX];
    for (uint32_t n = xml_child(&d->xml, d->root, "seclabel"); n != XML_NONE;
         n = xml_next(&d->xml, n, "seclabel")) {
        if (!xml_value(&d->xml, n, "model", text) || strcmp(text, "dac") != 0)
            continue;
        if (xml_text(&d->xml, xml_child(&d->xml, n, "label"), text))
            snprintf(out->owner, sizeof(out->owner), "%.*s", (int)sizeof(out->owner) - 1, text);
    }
}

static int
fill_info(const struct domain *d, const struct elements *e, struct domain_info *out,
          struct error *err)
{
    char text[XML_VALUE_MAX];
    xml_text(&d->xml, xml_child(&d->xml, d->root, "name"), text);
    snprintf(out->name, sizeof(out->name), "%.*s", DOMAIN_XML_NAME_MAX, text);
    xml_value(&d->xml, d->root, "type", text);
    snprintf(out->type, sizeof(out->type), "%.*s", (int)sizeof(out->type) - 1, text);
    read_owner(d, out);
    int rc = domain_uuid(d, out->uuid, err);
    if (rc < 0)
        return rc;
    out->is_translated = d->channels != XML_NONE;
    uint32_t source = d->nic == XML_NONE ? XML_NONE : xml_child(&d->xml, d->nic, "source");
    if (xml_value(&d->xml, source, "path", text) && !(out->socket = strdup(text)))
        return domain_out_of_memory(d, err);
    out->channels = calloc(e->count > 0 ? e->count : 1, sizeof(*out->channels));
    if (!out->channels)
        return domain_out_of_memory(d, err);
    for (size_t i = 0; i < e->count; i++) {
        struct domain_channel *c = &out->channels[out->channel_count++];
        const struct element *from = &e->list[i];
        c->port = from->channel.port;
        c->line = d->xml.nodes[from->node].line;
        c->server = from->channel.device.server;
        c->text = strdup(from->text);
        c->path = strdup(from->channel.device.path);
        if (!c->text || !c->path)
            return domain_out_of_memory(d, err);
    }
    return 0;
}

int
domain_xml_read(const char *in, size_t len, const char *file, struct domain_info *out,
                struct error *err)
{
    struct domain d;
    struct elements e = {0};
    memset(out, 0, sizeof(*out));
    int rc = domain_load(&d, in, len, file, err);
    if (rc == 0)
        rc = elements_collect(&d, &e, err);
    if (rc == 0)
        rc = fill_info(&d, &e, out, err);
    elements_fini(&e);
    domain_fini(&d);
    return rc;
}

void
domain_info_fini(struct domain_info *info)
{
    for (size_t i = 0; i < info->channel_count; i++) {
        free(info->channels[i].text);
        free(info->channels[i].path);
    }
    free(info->channels);
    free(info->socket);
    memset(info, 0, sizeof(*info));
}
