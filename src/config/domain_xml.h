// SPDX-License-Identifier: BSD-3-Clause
// libvirt's domain XML with <interface type='vmchannel'> in it, which stock libvirt refuses, to XML
// that it takes, and back. Text in, text out: what is not ours stays as it is, byte for byte.
//
// The translation of a domain has three parts:
// - one <interface type='vhostuser'> with the alias ua-vmchannel, in the stead of the user's first
//   element, whose socket is DIRECTORY/UUID.sock;
// - <memoryBacking> with shared memory; for type='qemu' also <qemu:override> with vectors=0;
// - the user's elements, moved as they are into <metadata>, inside of
//   <vmchannel:channels xmlns:vmchannel='urn:vmchannel:domain:1.0' ...>. They alone say what the
//   channels are, here and in what libvirt's dumpxml gives.
//
// Another spelling of the element is libvirt's own <channel type='unix'> with
// <target type='guestfwd' address='10.0.2.4' port='600'/>. (At another address it is not ours.)
//
// All functions: 0, or -EINVAL with err "FILE:LINE: what: why", or -ENOMEM. On failure out holds
// nothing of use, and is still to be freed. The document is UTF-8, at most DOMAIN_XML_MAX bytes,
// and has no DTD.
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOMAIN_XML_MAX       (4u << 20)
#define DOMAIN_XML_NAMESPACE "urn:vmchannel:domain:1.0"
#define DOMAIN_XML_PREFIX    "vmchannel" // the key for virDomainSetMetadata
#define DOMAIN_XML_ALIAS     "ua-vmchannel"
#define DOMAIN_XML_DIRECTORY "/run/vmchannel"
#define DOMAIN_XML_NAME_MAX  255

struct domain_xml_options {
    const char *file; // how the document is called in errors; NULL: "domain"
    // For a domain without <uuid>: that of the existing domain of its name; NULL: one is made from
    // the name and the seed, the same each time.
    const char *uuid;
    const char *seed;      // such as the host's machine-id; NULL: ""
    const char *directory; // of the link's socket; NULL: DOMAIN_XML_DIRECTORY
};

// The user's XML to stock libvirt's. A document without our elements comes out as it went in, and
// so does one that is translated already; elements added to a translated one join the others.
int domain_xml_translate(const char *in, size_t len, const struct domain_xml_options *options,
                         struct buffer *out, struct error *err);
// The user's XML again, from the output of domain_xml_translate (then byte for byte), or from what
// libvirt made of it (then the user's elements are in their place, in libvirt's layout). A document
// that is not translated comes out as it went in.
int domain_xml_reverse(const char *in, size_t len, const char *file, struct buffer *out,
                       struct error *err);

struct domain_channel {
    uint16_t port;
    unsigned line; // of the user's element in the document that was read
    char *text;    // "600:unix:/some/path,..." for guest_config_add_channel
    char *path;    // of the Unix socket
    bool server;   // we make that socket: it need not exist
};

struct domain_info {
    char name[DOMAIN_XML_NAME_MAX + 1]; // <name>
    char uuid[UUID_LEN + 1];            // in lower case with dashes; "" when there is none
    char type[16];                      // "kvm", "qemu"
    char owner[128];                    // who QEMU is, "+107:+107" of <seclabel model='dac'>; or ""
    bool is_translated;                 // has our metadata; else channels are the user's elements
    char *socket;                       // that of the translated interface; NULL without one
    struct domain_channel *channels;    // heap, in the document's order
    size_t channel_count;
};

// Reads a domain in any of its forms: as the user wrote it, translated, from dumpxml, from a hook's
// standard input. No channels at all is no error.
int domain_xml_read(const char *in, size_t len, const char *file, struct domain_info *out,
                    struct error *err);
void domain_info_fini(struct domain_info *info); // also after a failure

// The domain with one channel more,
// "PORT:unix:PATH[,server,nowait][,reconnect=S][,proxy=v2][,name=ua-NAME]": other devices have no
// form in domain XML. Translated or not, it stays so. Fails for a port that is there already.
int domain_xml_add_channel(const char *in, size_t len, const char *file, const char *channel,
                           struct buffer *out, struct error *err);
// One channel less; the last one too, then the interface stays without channels.
int domain_xml_del_channel(const char *in, size_t len, const char *file, uint16_t port,
                           struct buffer *out, struct error *err);
// Our metadata of a translated domain as virDomainSetMetadata wants it: <channels
// ...>...</channels>, without prefix and namespace.
int domain_xml_metadata(const char *in, size_t len, const char *file, struct buffer *out,
                        struct error *err);
