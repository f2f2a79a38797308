// SPDX-License-Identifier: BSD-3-Clause
// The HTTP/1.1 request that opens a WebSocket (RFC 6455 4.2, RFC 9112) and its answer, server side.
// Reads line by line, so that a request of any shape fits into a fixed state. Used by
// codec_websocket alone.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define HTTP_LINE_MAX    1024        // of the lines that matter; others may be longer
#define HTTP_REQUEST_MAX (16 * 1024) // all lines together
#define HTTP_ANSWER_MAX  512
#define HTTP_SWITCHING   101

struct http_upgrade {
    unsigned status;    // 0: more is needed; HTTP_SWITCHING; else the error that answers
    const char *reason; // of an error, for the answer's body; static

    size_t total;             // bytes taken
    char line[HTTP_LINE_MAX]; // the line being read, without its CR LF
    size_t line_len;
    bool line_cut; // what did not fit was dropped
    bool after_cr;
    bool has_request_line;

    bool is_get;
    bool has_host;
    bool has_upgrade;    // "websocket" among Upgrade
    bool has_connection; // "upgrade" among Connection
    bool has_version;
    bool is_version_13;
    bool has_key;
    char key[25];      // Sec-WebSocket-Key, valid when has_key
    bool has_protocol; // subprotocols were offered
    bool has_binary;   // "binary" among them
};

void http_upgrade_init(struct http_upgrade *h);
// Takes bytes up to the request's end, and none once status is set. Returns how many.
size_t http_upgrade_input(struct http_upgrade *h, const void *in, size_t len);
// Writes the answer that status asks for; out has HTTP_ANSWER_MAX bytes. Returns its length.
size_t http_upgrade_answer(const struct http_upgrade *h, char *out);
