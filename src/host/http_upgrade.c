// SPDX-License-Identifier: BSD-3-Clause
// See http_upgrade.h. Strict where bytes are malformed (answered at once), patient where a request
// is merely not ours (answered when it has ended, so that the answer is not lost to a reset). Takes
// what QEMU takes: no subprotocol, or "binary" among those offered. Base64 and SHA-1 are nettle's.
#include "host/http_upgrade.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <nettle/base64.h>
#include <nettle/sha1.h>

#define KEY_CHARS 24 // base64 of 16 bytes
#define KEY_BYTES 16
#define GUID      "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 1.3

struct text {
    const char *at;
    size_t len;
};

static void
refuse(struct http_upgrade *h, unsigned status, const char *reason)
{
    h->status = status;
    h->reason = reason;
}

static bool
text_is(struct text t, const char *word)
{
    return t.len == strlen(word) && memcmp(t.at, word, t.len) == 0;
}

static bool
text_is_nocase(struct text t, const char *word)
{
    return t.len == strlen(word) && strncasecmp(t.at, word, t.len) == 0;
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct text
trimmed(const char *at, size_t len)
{
    while (len > 0 && is_blank(at[0])) {
        at++;
        len--;
    }
    while (len > 0 && is_blank(at[len - 1]))
        len--;
    return (struct text){at, len};
}

// Whether a comma-separated list has a member that `is` the word.
static bool
list_has(struct text list, bool (*is)(struct text, const char *), const char *word)
{
    while (list.len > 0) {
        const char *comma = memchr(list.at, ',', list.len);
        size_t n = comma ? (size_t)(comma - list.at) : list.len;
        if (is(trimmed(list.at, n), word))
            return true;
        size_t step = comma ? n + 1 : n;
        list.at += step;
        list.len -= step;
    }
    return false;
}

// RFC 9110 5.6.2: what names of methods and fields are made of.
static bool
is_token(struct text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char c = t.at[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return t.len > 0;
}

static bool
is_key(struct text t)
{
    struct base64_decode_ctx ctx;
    uint8_t bytes[BASE64_DECODE_LENGTH(KEY_CHARS)];
    size_t n = 0;
    if (t.len != KEY_CHARS)
        return false;
    base64_decode_init(&ctx);
    return base64_decode_update(&ctx, &n, bytes, t.len, t.at) && n == KEY_BYTES &&
           base64_decode_final(&ctx);
}

// METHOD SP TARGET SP HTTP/1.1
static void
on_request_line(struct http_upgrade *h)
{
    if (h->line_cut)
        return refuse(h, 414, "the request line is too long");
    const char *end = h->line + h->line_len;
    const char *method_end = memchr(h->line, ' ', h->line_len);
    if (!method_end)
        return refuse(h, 400, "not an HTTP request");
    const char *target = method_end + 1;
    const char *target_end = memchr(target, ' ', (size_t)(end - target));
    if (!target_end || target_end == target)
        return refuse(h, 400, "not an HTTP request");
    struct text method = {h->line, (size_t)(method_end - h->line)};
    struct text version = {target_end + 1, (size_t)(end - target_end) - 1};
    if (!is_token(method) || !text_is(version, "HTTP/1.1"))
        return refuse(h, 400, "not an HTTP/1.1 request");
    h->is_get = text_is(method, "GET");
    h->has_request_line = true;
}

static void
on_field(struct http_upgrade *h, struct text name, struct text value)
{
    bool is_twice = false;
    if (text_is_nocase(name, "host")) {
        is_twice = h->has_host;
        h->has_host = true;
    } else if (text_is_nocase(name, "upgrade")) {
        h->has_upgrade = h->has_upgrade || list_has(value, text_is_nocase, "websocket");
    } else if (text_is_nocase(name, "connection")) {
        h->has_connection = h->has_connection || list_has(value, text_is_nocase, "upgrade");
    } else if (text_is_nocase(name, "sec-websocket-version")) {
        is_twice = h->has_version;
        h->has_version = true;
        h->is_version_13 = text_is(value, "13");
    } else if (text_is_nocase(name, "sec-websocket-protocol")) {
        h->has_protocol = true;
        h->has_binary = h->has_binary || list_has(value, text_is, "binary");
    } else if (text_is_nocase(name, "sec-websocket-key")) {
        is_twice = h->has_key;
        if (!is_key(value))
            return refuse(h, 400, "Sec-WebSocket-Key is not the base64 of 16 bytes");
        memcpy(h->key, value.at, KEY_CHARS);
        h->has_key = true;
    } else {
        return;
    }
    if (is_twice)
        refuse(h, 400, "a header field came twice");
    else if (h->line_cut)
        refuse(h, 431, "a header field is too long");
}

static void
on_field_line(struct http_upgrade *h)
{
    const char *colon = memchr(h->line, ':', h->line_len);
    if (!colon) // also the folding that RFC 9112 5.2 forbids
        return refuse(h, 400, "a header line without a colon");
    struct text name = {h->line, (size_t)(colon - h->line)};
    if (!is_token(name))
        return refuse(h, 400, "a malformed header field name");
    on_field(h, name, trimmed(colon + 1, h->line_len - name.len - 1));
}

static void
on_request_end(struct http_upgrade *h)
{
    if (!h->is_get)
        refuse(h, 405, "only GET");
    else if (!h->has_host)
        refuse(h, 400, "Host is missing");
    else if (!h->has_upgrade)
        refuse(h, 426, "this is a WebSocket");
    else if (!h->has_connection)
        refuse(h, 400, "Connection does not say Upgrade");
    else if (!h->is_version_13)
        refuse(h, 426, "only version 13 of WebSocket");
    else if (!h->has_key)
        refuse(h, 400, "Sec-WebSocket-Key is missing");
    else if (h->has_protocol && !h->has_binary)
        refuse(h, 400, "the only subprotocol is 'binary'");
    else
        h->status = HTTP_SWITCHING;
}

static void
on_line(struct http_upgrade *h)
{
    if (h->line_len == 0 && h->has_request_line)
        on_request_end(h);
    else if (h->has_request_line)
        on_field_line(h);
    else if (h->line_len > 0) // RFC 9112 2.2: empty lines before the request are overlooked
        on_request_line(h);
    h->line_len = 0;
    h->line_cut = false;
    h->after_cr = false;
}

static void
on_byte(struct http_upgrade *h, uint8_t byte)
{
    if (h->after_cr != (byte == '\n'))
        return refuse(h, 400, "a line does not end with CR LF");
    if (byte == '\n')
        return on_line(h);
    if (byte == '\r') {
        h->after_cr = true;
        return;
    }
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
        return refuse(h, 400, "a control character");
    if (h->line_len == sizeof(h->line)) {
        h->line_cut = true;
        return;
    }
    h->line[h->line_len++] = (char)byte;
}

void
http_upgrade_init(struct http_upgrade *h)
{
    memset(h, 0, sizeof(*h));
}

size_t
http_upgrade_input(struct http_upgrade *h, const void *in, size_t len)
{
    size_t n = 0;
    while (n < len && h->status == 0) {
        if (h->total == HTTP_REQUEST_MAX) {
            refuse(h, 431, "the request is too long");
            break;
        }
        on_byte(h, ((const uint8_t *)in)[n++]);
        h->total++;
    }
    return n;
}

static size_t
emit_switching(const struct http_upgrade *h, char *out)
{
    struct sha1_ctx sha1;
    uint8_t digest[SHA1_DIGEST_SIZE];
    char accept[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE) + 1] = "";
    sha1_init(&sha1);
    sha1_update(&sha1, KEY_CHARS, (const uint8_t *)h->key);
    sha1_update(&sha1, strlen(GUID), (const uint8_t *)GUID);
    sha1_digest(&sha1, sizeof(digest), digest);
    base64_encode_raw(accept, sizeof(digest), digest);
    return (size_t)snprintf(out, HTTP_ANSWER_MAX,
                            "HTTP/1.1 101 Switching Protocols\r\n"
                            "Upgrade: websocket\r\n"
                            "Connection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n"
                            "%s\r\n",
                            accept, h->has_binary ? "Sec-WebSocket-Protocol: binary\r\n" : "");
}

static size_t
emit_error(const struct http_upgrade *h, char *out)
{
    // The fields that RFC 9110 15.5.6, 15.5.22 and RFC 6455 4.4 ask for.
    const char *name = "Bad Request", *fields = "";
    if (h->status == 405) {
        name = "Method Not Allowed";
        fields = "Allow: GET\r\n";
    } else if (h->status == 414) {
        name = "URI Too Long";
    } else if (h->status == 426) {
        name = "Upgrade Required";
        fields = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    } else if (h->status == 431) {
        name = "Request Header Fields Too Large";
    }
    return (size_t)snprintf(out, HTTP_ANSWER_MAX,
                            "HTTP/1.1 %u %s\r\n"
                            "%s"
                            "Connection: close%s\r\n"
                            "Content-Type: text/plain\r\n"
                            "Content-Length: %zu\r\n\r\n"
                            "%s\n",
                            h->status, name, fields, h->status == 426 ? ", Upgrade" : "",
                            strlen(h->reason) + 1, h->reason);
}

size_t
http_upgrade_answer(const struct http_upgrade *h, char *out)
{
    size_t n = h->status == HTTP_SWITCHING ? emit_switching(h, out) : emit_error(h, out);
    assert(n < HTTP_ANSWER_MAX);
    return n;
}
