// SPDX-License-Identifier: BSD-3-Clause
// The request that opens a WebSocket: who is let in, who is told what, and that nothing waits or
// grows without a bound.
#include "host/http_upgrade.h"

#include "test.h"

#include <stdint.h>
#include <stdio.h>

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"
#define UP  "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define GET "GET / HTTP/1.1\r\nHost: h\r\n"
#define END "\r\n"

struct request {
    unsigned status;
    const char *text;
};

static const struct request requests[] = {
    {101, GET UP KEY V13 END},
    {101,
     "GET /chat?x=1 HTTP/1.1\r\nhost:\r\nUPGRADE:WebSocket\r\nconnection:keep-alive,UPGRADE\r\n"
     "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\t\r\nSEC-WEBSOCKET-VERSION:  13  \r\n" END},
    {101,
     GET "Connection: keep-alive\r\nConnection: , Upgrade ,\r\nUpgrade: h2c, websocket\r\n" KEY V13
         END},
    {101, GET UP KEY V13 "Sec-WebSocket-Protocol: binary\r\n" END},
    {101, GET UP KEY V13 "Sec-WebSocket-Protocol: base64, binary\r\n" END},
    {101, GET UP KEY V13 "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: binary\r\n" END},
    {101,
     GET UP KEY V13 "Origin: http://x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" END},
    {101, "\r\n" GET UP KEY V13 END},
    {101, GET UP UP KEY V13 "Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Protocol: x\r\n" END},
    {400, GET UP KEY V13 "Sec-WebSocket-Protocol: base64\r\n" END},
    {400, GET UP KEY V13 "Sec-WebSocket-Protocol: Binary, binary2, xbinary\r\n" END},
    {400, GET UP KEY V13 "Sec-WebSocket-Protocol:\r\n" END},
    {400, GET UP V13 END},
    {400, GET UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" END},
    {400, GET UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" END},
    {400, GET UP V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub!5jZQ==\r\n" END},
    {400, GET UP V13 "Sec-WebSocket-Key: \r\n" END},
    {400, GET UP KEY KEY V13 END},
    {400, GET UP KEY V13 V13 END},
    {400, GET "Host: h2\r\n" UP KEY V13 END},
    {400, "GET / HTTP/1.1\r\n" UP KEY V13 END},
    {400, GET "Upgrade: websocket\r\nConnection: close\r\n" KEY V13 END},
    {400, GET "Upgrade: websocket\r\n" KEY V13 END},
    {426, GET "Connection: Upgrade\r\n" KEY V13 END},
    {426, GET "Upgrade: websocket2\r\nConnection: Upgrade\r\n" KEY V13 END},
    {426, GET "User-Agent: curl/7.88.1\r\nAccept: */*\r\n" END},
    {426, GET UP KEY "Sec-WebSocket-Version: 8\r\n" END},
    {426, GET UP KEY "Sec-WebSocket-Version: 130\r\n" END},
    {426, GET UP KEY END},
    {405, "POST / HTTP/1.1\r\nHost: h\r\n" UP KEY V13 END},
    {405, "HEAD / HTTP/1.1\r\n\r\n"},
    {405, "get / HTTP/1.1\r\nHost: h\r\n" UP KEY V13 END},
    {400, "GET / HTTP/1.0\r\n"},
    {400, "GET / HTTP/2.0\r\n"},
    {400, "GET / HTTP/1.1 \r\n"},
    {400, "GET  / HTTP/1.1\r\n"},
    {400, "GET /\r\n"},
    {400, "GET\r\n"},
    {400, " / HTTP/1.1\r\n"},
    {400, "SSH-2.0-OpenSSH_9.2\r\n"},
    {400, "\x16"}, // TLS: at once, it would wait for us
    {400, "GET / HTTP/1.1\n"},
    {400, "GET / HTTP/1.1\r\r"},
    {400, "GET / HTTP/1.1\r\nHost: a\x01"},
    {400, "GET / HTTP/1.1\r\nHost\r\n"},
    {400, "GET / HTTP/1.1\r\nHost : a\r\n"},
    {400, "GET / HTTP/1.1\r\n: a\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n"},
};

static size_t
answer_of(const struct http_upgrade *h, char *out)
{
    memset(out, 'X', HTTP_ANSWER_MAX);
    size_t n = http_upgrade_answer(h, out);
    assert_true(n < HTTP_ANSWER_MAX);
    out[n] = 0;
    return n;
}

static bool
answer_says(const struct http_upgrade *h, const char *what)
{
    char out[HTTP_ANSWER_MAX];
    answer_of(h, out);
    return strstr(out, what) != NULL;
}

TEST(requests_split_anywhere)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        size_t len = strlen(requests[i].text), whole = 0;
        for (size_t split = 0; split <= len; split++) {
            struct http_upgrade h;
            http_upgrade_init(&h);
            size_t n = http_upgrade_input(&h, requests[i].text, split);
            n += http_upgrade_input(&h, requests[i].text + n, len - n);
            if (h.status != requests[i].status)
                print_error("request %zu, split at %zu: %s\n", i, split, requests[i].text);
            assert_int_equal(h.status, requests[i].status);
            if (split == 0)
                whole = n;
            assert_int_equal(n, h.status == HTTP_SWITCHING ? len : whole);
        }
    }
}

TEST(answers_have_their_length)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        struct http_upgrade h;
        char out[HTTP_ANSWER_MAX], start[32], length[64];
        http_upgrade_init(&h);
        http_upgrade_input(&h, requests[i].text, strlen(requests[i].text));
        answer_of(&h, out);
        snprintf(start, sizeof(start), "HTTP/1.1 %u ", requests[i].status);
        assert_memory_equal(out, start, strlen(start));
        const char *body = strstr(out, "\r\n\r\n");
        assert_non_null(body);
        snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", strlen(body + 4));
        if (h.status == HTTP_SWITCHING)
            assert_string_equal(body + 4, "");
        else
            assert_non_null(strstr(out, length));
    }
}

TEST(accepts_with_the_key_of_rfc_6455)
{
    struct http_upgrade h;
    char out[HTTP_ANSWER_MAX];
    http_upgrade_init(&h);
    http_upgrade_input(&h, requests[0].text, strlen(requests[0].text));
    answer_of(&h, out);
    assert_string_equal(out, "HTTP/1.1 101 Switching Protocols\r\n"
                             "Upgrade: websocket\r\n"
                             "Connection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

TEST(chooses_binary_only_when_offered)
{
    struct http_upgrade h;
    for (size_t i = 0; i < 7; i++) {
        http_upgrade_init(&h);
        http_upgrade_input(&h, requests[i].text, strlen(requests[i].text));
        bool offered = strstr(requests[i].text, "binary") != NULL;
        assert_int_equal(answer_says(&h, "\r\nSec-WebSocket-Protocol: binary\r\n"), offered);
        assert_false(answer_says(&h, "Extensions"));
    }
}

TEST(errors_say_what_would_do)
{
    struct http_upgrade h;
    http_upgrade_init(&h);
    http_upgrade_input(&h, "PUT / HTTP/1.1\r\n\r\n", 18);
    assert_true(answer_says(&h, "\r\nAllow: GET\r\n"));
    http_upgrade_init(&h);
    http_upgrade_input(&h, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    assert_true(answer_says(&h, "\r\nUpgrade: websocket\r\n"));
    assert_true(answer_says(&h, "\r\nSec-WebSocket-Version: 13\r\n"));
    assert_true(answer_says(&h, "\r\nConnection: close"));
}

TEST(takes_nothing_beyond_the_request)
{
    struct http_upgrade h;
    static const char with_more[] = GET UP KEY V13 END "\x82\x80";
    http_upgrade_init(&h);
    assert_int_equal(http_upgrade_input(&h, with_more, sizeof(with_more) - 1),
                     sizeof(with_more) - 3);
    assert_int_equal(http_upgrade_input(&h, "x", 1), 0);
}

TEST(every_truncation_waits)
{
    struct http_upgrade h;
    for (size_t len = 0; len < strlen(requests[3].text); len++) {
        http_upgrade_init(&h);
        assert_int_equal(http_upgrade_input(&h, requests[3].text, len), len);
        assert_int_equal(h.status, 0);
    }
}

// Feeds `count` times the same byte.
static void
feed_many(struct http_upgrade *h, char c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        http_upgrade_input(h, &c, 1);
}

static void
feed(struct http_upgrade *h, const char *text)
{
    assert_int_equal(http_upgrade_input(h, text, strlen(text)), strlen(text));
}

TEST(a_long_cookie_is_overlooked)
{
    struct http_upgrade h;
    http_upgrade_init(&h);
    feed(&h, GET "Cookie: ");
    feed_many(&h, 'c', 8000);
    feed(&h, "\r\n" UP KEY V13 END);
    assert_int_equal(h.status, HTTP_SWITCHING);
}

TEST(lines_that_matter_have_a_bound)
{
    struct http_upgrade h;
    http_upgrade_init(&h);
    feed(&h, GET "Connection: ");
    feed_many(&h, ',', HTTP_LINE_MAX);
    feed(&h, "Upgrade\r\n");
    assert_int_equal(h.status, 431);
    assert_true(answer_says(&h, "HTTP/1.1 431 Request Header Fields Too Large\r\n"));

    http_upgrade_init(&h);
    feed(&h, "GET /");
    feed_many(&h, 'a', HTTP_LINE_MAX);
    feed(&h, " HTTP/1.1\r\n");
    assert_int_equal(h.status, 414);
    assert_true(answer_says(&h, "HTTP/1.1 414 URI Too Long\r\n"));

    http_upgrade_init(&h);
    feed(&h, GET);
    feed_many(&h, 'n', HTTP_LINE_MAX);
    feed(&h, ": x\r\n");
    assert_int_equal(h.status, 400);
}

TEST(the_request_has_a_bound)
{
    struct http_upgrade h;
    for (const char *c = "a\t:, "; *c; c++) {
        http_upgrade_init(&h);
        feed_many(&h, *c, HTTP_REQUEST_MAX);
        assert_int_equal(h.status, 0);
        assert_int_equal(http_upgrade_input(&h, c, 1), 0);
        assert_int_equal(h.status, 431);
    }
    http_upgrade_init(&h);
    feed(&h, GET);
    for (int i = 0; h.status == 0; i++) {
        assert_in_range(i, 0, HTTP_REQUEST_MAX);
        http_upgrade_input(&h, "A: b\r\n", 6);
    }
    assert_int_equal(h.status, 431);
}
