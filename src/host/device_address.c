// SPDX-License-Identifier: BSD-3-Clause
// What a device begins with: a path, an Internet address, a vsock address. Checks what can be known
// without asking anybody: names are looked up when the device is opened.
#include "host/device_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define INET_FORM  "accepted: [HOST]:PORT, with an IPv6 address in brackets, as in [::1]:600"
#define VSOCK_FORM "accepted: vsock:CID:PORT, CID from 1, both below 4294967295"

static bool
has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

int
device_set_path(struct device *dev, const char *path, struct error *err)
{
    const char *kind = device_kind_name(dev->kind);
    const char *what = dev->kind == DEVICE_CMD ? "command" : "path";
    size_t len = strlen(path);
    size_t max = dev->kind == DEVICE_UNIX ? DEVICE_UNIX_PATH_MAX : DEVICE_TEXT_MAX;
    if (dev->path[0] != '\0')
        return error_set(err, 0, "%s: %s given twice ('%.100s' and '%.100s')", kind, what,
                         dev->path, path);
    if (len == 0)
        return error_set(err, 0, "%s: empty %s (accepted: %s:%s)", kind, what, kind,
                         dev->kind == DEVICE_CMD ? "COMMAND" : "PATH");
    if (len > max)
        return error_set(err, 0, "%s:%.200s: path of %zu bytes, a %s takes at most %zu", kind, path,
                         len, dev->kind == DEVICE_UNIX ? "unix socket" : "device", max);
    memcpy(dev->path, path, len + 1);
    return 0;
}

// A literal with an optional zone, as in fe80::1%eth0.
static bool
is_ipv6(const char *text, size_t len)
{
    char addr[INET6_ADDRSTRLEN] = "";
    struct in6_addr in6;
    const char *zone = memchr(text, '%', len);
    size_t addr_len = zone ? (size_t)(zone - text) : len;
    if (addr_len >= sizeof(addr) || (zone && addr_len + 1 == len))
        return false;
    memcpy(addr, text, addr_len);
    return inet_pton(AF_INET6, addr, &in6) == 1;
}

int
device_set_host(const struct device *dev, const char *host, size_t len, struct device_addr *out,
                struct error *err)
{
    const char *kind = device_kind_name(dev->kind);
    bool brackets = len > 0 && host[0] == '[';
    if (brackets) {
        if (len < 3 || host[len - 1] != ']' || !is_ipv6(host + 1, len - 2))
            return error_set(err, 0,
                             "%s: '%.*s' is not an IPv6 address in brackets (" INET_FORM ")", kind,
                             (int)(len < 64 ? len : 64), host);
        host++;
        len -= 2;
    }
    if (len >= sizeof(out->host))
        return error_set(err, 0, "%s: host of %zu bytes (accepted: at most %zu)", kind, len,
                         sizeof(out->host) - 1);
    if (has_control(host, len) || memchr(host, ' ', len))
        return error_set(err, 0, "%s: host with a space or control character (" INET_FORM ")",
                         kind);
    if (!brackets && memchr(host, ':', len) && !is_ipv6(host, len))
        return error_set(err, 0, "%s: '%.*s' is neither a name nor an address (" INET_FORM ")",
                         kind, (int)(len < 64 ? len : 64), host);
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    return 0;
}

static bool
is_service_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            !strchr("-_.+", c))
            return false;
    }
    return len > 0 && text[0] != '-' && text[0] != '+';
}

int
device_set_port(const struct device *dev, const char *port, size_t len, struct device_addr *out,
                struct error *err)
{
    const char *kind = device_kind_name(dev->kind);
    bool local = out == &dev->local;
    uint16_t number;
    if (len == 0)
        return error_set(err, 0, "%s: no port (" INET_FORM ")", kind);
    bool good = is_service_name(port, len) && len < sizeof(out->port);
    if (good && strspn(port, "0123456789") >= len)
        good = channel_port_parse(port, len, &number) || (local && len == 1 && port[0] == '0');
    if (!good)
        return error_set(err, 0,
                         "%s: port '%.*s' is neither a number from %d to 65535 nor the name of a "
                         "service (" INET_FORM ")",
                         kind, (int)(len < 64 ? len : 64), port, local ? 0 : 1);
    memcpy(out->port, port, len);
    out->port[len] = '\0';
    return 0;
}

// [HOST]:PORT. A colon inside of brackets does not count; of others the first does, as in QEMU.
static int
set_addr(const struct device *dev, const char *text, size_t len, struct device_addr *out,
         struct error *err)
{
    const char *from = text[0] == '[' ? memchr(text, ']', len) : text;
    const char *colon = from ? memchr(from, ':', len - (size_t)(from - text)) : NULL;
    if (!colon)
        return error_set(err, 0, "%s: '%.*s' has no ':' before a port (" INET_FORM ")",
                         device_kind_name(dev->kind), (int)(len < 64 ? len : 64), text);
    size_t host_len = (size_t)(colon - text);
    int rc = device_set_host(dev, text, host_len, out, err);
    if (rc < 0)
        return rc;
    return device_set_port(dev, colon + 1, len - host_len - 1, out, err);
}

int
device_set_inet(struct device *dev, const char *text, struct error *err)
{
    return set_addr(dev, text, strlen(text), &dev->remote, err);
}

int
device_set_udp(struct device *dev, const char *text, struct error *err)
{
    const char *at = strchr(text, '@');
    size_t len = at ? (size_t)(at - text) : strlen(text);
    int rc = set_addr(dev, text, len, &dev->remote, err);
    if (rc < 0 || !at)
        return rc;
    return set_addr(dev, at + 1, strlen(at + 1), &dev->local, err);
}

int
device_set_vsock(struct device *dev, const char *text, struct error *err)
{
    struct option cid = {.key = "CID"}, port = {.key = "PORT"};
    size_t len = strcspn(text, ":");
    if (text[len] == '\0' || len >= 16 || strlen(text + len + 1) >= 16)
        return error_set(err, 0, "vsock: '%.64s' is not CID:PORT (" VSOCK_FORM ")", text);
    memcpy(cid.value, text, len);
    snprintf(port.value, sizeof(port.value), "%s", text + len + 1);
    // The last number of each is the wildcard (vsock(7)), CID 0 is the hypervisor's own.
    if (option_uint(&cid, 1, UINT32_MAX - 1, &dev->vsock_cid, NULL) < 0)
        return error_set(err, 0, "vsock: CID '%s' is no machine's (" VSOCK_FORM ")", cid.value);
    if (option_uint(&port, 0, UINT32_MAX - 1, &dev->vsock_port, NULL) < 0)
        return error_set(err, 0, "vsock: port '%s' is no port (" VSOCK_FORM ")", port.value);
    return 0;
}
