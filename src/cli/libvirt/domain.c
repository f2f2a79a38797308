// SPDX-License-Identifier: BSD-3-Clause
// See domain.h. The translation itself is config/domain_xml's.
#include "cli/libvirt/domain.h"

#include "base/log.h"
#include "cli/cli.h"
#include "config/domain_xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

void
die_libvirt(const char *command, const char *what)
{
    struct error err;
    const char *why = virGetLastErrorMessage();
    error_set(&err, 0, "%s: %s: %.*s", command, what, (int)strcspn(why, "\n"), why);
    die(&err);
}

static void
keep_quiet(void *ctx, virErrorPtr error)
{
    // Else libvirt writes to stderr by itself.
}

virConnectPtr
connection_open(const char *command, const char *uri)
{
    virSetErrorFunc(NULL, keep_quiet);
    virConnectPtr c = virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
    if (!c)
        die_libvirt(command, uri ? uri : "libvirt");
    return c;
}

static bool
is_session(const char *uri)
{
    size_t len = strcspn(uri, "?#");
    size_t word = strlen("/session");
    return len >= word && memcmp(uri + len - word, "/session", word) == 0;
}

static bool
is_remote(const char *uri)
{
    const char *host = strstr(uri, "://");
    return host && host[3] != '/';
}

// Without it the domain's start would wait for a daemon that nobody starts.
static void
look_for_hook(virConnectPtr c, const char *command)
{
    char *uri = virConnectGetURI(c);
    if (uri && !is_remote(uri) && access(LIBVIRT_HOOK, X_OK) < 0)
        log_warn("%s: " LIBVIRT_HOOK " is missing: run 'vmchannel install-hook' before the domain "
                 "is started",
                 command);
    free(uri);
}

// Where the daemon's socket is to be: an ordinary user's libvirtd cannot write below /run, and has
// its own sockets below $XDG_RUNTIME_DIR, or where that is not set, in ~/.cache.
static void
socket_directory(virConnectPtr c, const char *command, char out[PATH_MAX])
{
    char *uri = virConnectGetURI(c);
    const char *runtime = getenv("XDG_RUNTIME_DIR"), *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (!uri)
        die_libvirt(command, "connection");
    if (!is_session(uri) || geteuid() == 0)
        snprintf(out, PATH_MAX, DOMAIN_XML_DIRECTORY);
    else if (is_remote(uri))
        die_usage("%s: %s: the session of another host (accepted: the system of another host, or "
                  "'vmchannel %s' there)",
                  command, uri, command);
    else if (runtime && *runtime == '/')
        snprintf(out, PATH_MAX, "%s/vmchannel", runtime);
    else if (cache && *cache == '/')
        snprintf(out, PATH_MAX, "%s/vmchannel", cache);
    else
        snprintf(out, PATH_MAX, "%s/.cache/vmchannel", home ? home : "");
    free(uri);
}

static void
random_uuid(char out[UUID_LEN + 1])
{
    unsigned char b[16];
    if (getrandom(b, sizeof(b), 0) != sizeof(b))
        die_errno(errno, "getrandom");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); // RFC 9562 5.4: version 4
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, UUID_LEN + 1,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

// libvirt takes the existing domain's place only when the UUID is the same, and refuses the name
// otherwise.
static void
choose_uuid(virConnectPtr c, const char *name, char out[UUID_LEN + 1])
{
    virDomainPtr existing = virDomainLookupByName(c, name);
    if (!existing || virDomainGetUUIDString(existing, out) < 0)
        random_uuid(out);
    if (existing)
        virDomainFree(existing);
}

virDomainPtr
domain_submit(virConnectPtr c, const char *command, const char *file, const struct buffer *xml,
              bool start)
{
    char uuid[UUID_LEN + 1], directory[PATH_MAX];
    struct domain_xml_options options = {.file = file, .directory = directory};
    struct domain_info info;
    struct buffer out = {0};
    struct error err;

    if (domain_xml_read(xml->data ? xml->data : "", xml->len, file, &info, &err) < 0)
        die(&err);
    socket_directory(c, command, directory);
    if (!*info.uuid) {
        choose_uuid(c, info.name, uuid);
        options.uuid = uuid;
    }
    domain_info_fini(&info);
    if (domain_xml_translate(xml->data, xml->len, &options, &out, &err) < 0)
        die(&err);
    if (memmem(out.data, out.len, DOMAIN_XML_NAMESPACE, strlen(DOMAIN_XML_NAMESPACE)))
        look_for_hook(c, command);
    virDomainPtr domain =
        start ? virDomainCreateXML(c, out.data, 0) : virDomainDefineXML(c, out.data);
    if (!domain)
        die_libvirt(command, file);
    buffer_fini(&out);
    return domain;
}

virDomainPtr
domain_find(virConnectPtr c, const char *command, const char *word)
{
    char *end;
    long id = strtol(word, &end, 10);
    virDomainPtr d = NULL;
    if (*word && *end == '\0' && id >= 0 && id <= INT_MAX)
        d = virDomainLookupByID(c, (int)id);
    if (!d)
        d = virDomainLookupByUUIDString(c, word);
    if (!d)
        d = virDomainLookupByName(c, word);
    if (!d)
        die_libvirt(command, word);
    return d;
}

void
domain_text(virDomainPtr domain, const char *command, unsigned flags, struct buffer *out)
{
    struct error err;
    char *xml = virDomainGetXMLDesc(domain, flags);
    if (!xml)
        die_libvirt(command, virDomainGetName(domain));
    if (domain_xml_reverse(xml, strlen(xml), virDomainGetName(domain), out, &err) < 0)
        die(&err);
    free(xml);
}

static int
change_xml(const char *xml, const char *name, const char *change, struct buffer *out,
           struct error *err)
{
    const char *operand = strchr(change, ' ');
    operand = operand ? operand + 1 : "";
    if (strncmp(change, "add ", 4) == 0)
        return domain_xml_add_channel(xml, strlen(xml), name, operand, out, err);
    return domain_xml_del_channel(xml, strlen(xml), name, (uint16_t)strtoul(operand, NULL, 10), out,
                                  err);
}

void
domain_record(virDomainPtr domain, const char *command, const char *change, unsigned affect)
{
    const char *name = virDomainGetName(domain);
    unsigned flags = affect == VIR_DOMAIN_AFFECT_CONFIG ? VIR_DOMAIN_XML_INACTIVE : 0;
    char *xml = virDomainGetXMLDesc(domain, flags);
    struct buffer changed = {0}, metadata = {0};
    struct error err;
    if (!xml)
        die_libvirt(command, name);
    if (change_xml(xml, name, change, &changed, &err) < 0 ||
        domain_xml_metadata(changed.data, changed.len, name, &metadata, &err) < 0)
        die(&err);
    if (virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, metadata.data, DOMAIN_XML_PREFIX,
                             DOMAIN_XML_NAMESPACE, affect) < 0)
        die_libvirt(command, name);
    buffer_fini(&changed);
    buffer_fini(&metadata);
    free(xml);
}
