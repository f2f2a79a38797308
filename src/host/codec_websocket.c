// SPDX-License-Identifier: BSD-3-Clause
// WebSocket (RFC 6455), server side, as a stream of bytes: binary frames out, binary or text in,
// passed through as they come, so no frame is too long and none is buffered. Message borders and
// the encoding of text are nobody's business here. The opening request is http_upgrade's.
#include "host/codec_ops.h"
#include "host/http_upgrade.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONTROL_MAX 125 // payload of a control frame (5.5)
#define HEADER_MAX  14

enum {
    OP_CONTINUATION = 0x0,
    OP_TEXT = 0x1,
    OP_BINARY = 0x2,
    OP_CLOSE = 0x8,
    OP_PING = 0x9,
    OP_PONG = 0xa,
    BIT_FIN = 0x80,
    BITS_RESERVED = 0x70,
    BIT_MASK = 0x80,
};

enum {
    CLOSE_NORMAL = 1000,
    CLOSE_PROTOCOL = 1002,
    CLOSE_WITHOUT_CODE = 0, // of our own: a Close with an empty body
};

enum websocket_at {
    AT_REQUEST, // before the handshake is done
    AT_HEADER,
    AT_DATA,    // payload of a data frame
    AT_CONTROL, // payload of a control frame
    AT_END,     // the peer's Close came
    AT_BROKEN,  // the peer broke the protocol
};

enum goodbye {
    GOODBYE_NONE,
    GOODBYE_WANTED, // as soon as the handshake is done
    GOODBYE_OWED,
    GOODBYE_MADE, // staged or sent: no frame may follow
};

struct websocket {
    struct codec base;
    enum websocket_at at;
    struct http_upgrade request;

    // the frame being read
    uint8_t header[HEADER_MAX];
    size_t header_len;
    uint8_t opcode;
    bool is_final;
    uint64_t left; // payload bytes to come
    uint8_t mask[4];
    unsigned mask_at;
    uint8_t control[CONTROL_MAX];
    size_t control_len;
    bool in_message; // a data frame without FIN came: continuations follow

    // what we owe: one pong for the newest ping is enough (5.5.3)
    uint8_t pong[CONTROL_MAX];
    size_t pong_len;
    bool pong_owed;
    enum goodbye goodbye;
    uint16_t close_code;
    struct codec_staged staged;
};

_Static_assert(HTTP_ANSWER_MAX <= sizeof(((struct codec_staged *)NULL)->bytes), "answer fits");

static struct websocket *
websocket_of(struct codec *c)
{
    return (struct websocket *)c;
}

static const struct websocket *
websocket_of_const(const struct codec *c)
{
    return (const struct websocket *)c;
}

static void
say_goodbye(struct websocket *w, uint16_t code)
{
    if (w->goodbye >= GOODBYE_OWED)
        return;
    w->goodbye = GOODBYE_OWED;
    w->close_code = code;
}

static void
fail(struct websocket *w)
{
    w->at = AT_BROKEN;
    say_goodbye(w, CLOSE_PROTOCOL);
}

// Copies n bytes of payload, unmasked (5.3).
static void
unmask(struct websocket *w, uint8_t *out, const uint8_t *in, size_t n)
{
    uint8_t mask[8];
    for (unsigned i = 0; i < sizeof(mask); i++)
        mask[i] = w->mask[(w->mask_at + i) % 4];
    uint64_t word_mask;
    memcpy(&word_mask, mask, sizeof(word_mask));

    size_t i = 0;
    for (; n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, in + i, sizeof(word));
        word ^= word_mask;
        memcpy(out + i, &word, sizeof(word));
    }
    for (; i < n; i++)
        out[i] = in[i] ^ mask[i % 4];
    w->mask_at = (unsigned)((w->mask_at + n) % 4);
}

static void
on_request(struct websocket *w, const uint8_t *in, size_t in_len, struct codec_step *step)
{
    step->consumed += http_upgrade_input(&w->request, in, in_len);
    if (w->request.status == 0)
        return;
    w->staged.at = 0;
    w->staged.len = http_upgrade_answer(&w->request, (char *)w->staged.bytes);
    if (w->request.status != HTTP_SWITCHING) {
        w->at = AT_BROKEN;
        w->goodbye = GOODBYE_MADE; // the answer is all that is said
        return;
    }
    w->at = AT_HEADER;
    if (w->goodbye == GOODBYE_WANTED)
        say_goodbye(w, CLOSE_NORMAL);
}

// The first two bytes of a frame: what is wrong with them is told before more is awaited.
static bool
is_header_start_valid(const struct websocket *w)
{
    uint8_t opcode = w->header[0] & 0x0f;
    if ((w->header[0] & BITS_RESERVED) || !(w->header[1] & BIT_MASK))
        return false;
    switch (opcode) {
    case OP_CONTINUATION:
        return w->in_message;
    case OP_TEXT:
    case OP_BINARY:
        return !w->in_message;
    case OP_CLOSE:
    case OP_PING:
    case OP_PONG:
        return (w->header[0] & BIT_FIN) && (w->header[1] & 0x7f) <= CONTROL_MAX;
    default:
        return false;
    }
}

static size_t
length_bytes(const struct websocket *w)
{
    uint8_t short_len = w->header[1] & 0x7f;
    return short_len == 127 ? 8 : short_len == 126 ? 2 : 0;
}

// False: longer than needed, or with the highest bit set (5.2).
static bool
parse_length(const struct websocket *w, uint64_t *out)
{
    size_t n = length_bytes(w);
    uint64_t len = n == 0 ? w->header[1] & 0x7f : 0;
    for (size_t i = 0; i < n; i++)
        len = len << 8 | w->header[2 + i];
    *out = len;
    if (n == 2)
        return len > CONTROL_MAX;
    if (n == 8)
        return len > UINT16_MAX && len <= INT64_MAX;
    return true;
}

// RFC 6455 7.4 and the IANA registry: codes that may stand in a Close.
static bool
is_close_code(unsigned code)
{
    bool is_defined = code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
    return is_defined || (code >= 3000 && code <= 4999);
}

static void
on_close(struct websocket *w)
{
    unsigned code = CLOSE_WITHOUT_CODE;
    if (w->control_len > 0) {
        code = w->control_len == 1 ? 1 : (unsigned)(w->control[0] << 8 | w->control[1]);
        if (!is_close_code(code))
            return fail(w);
    }
    w->at = AT_END;
    say_goodbye(w, (uint16_t)code);
}

// The last byte of a frame's payload was taken.
static void
on_frame_end(struct websocket *w)
{
    w->at = AT_HEADER;
    w->header_len = 0;
    switch (w->opcode) {
    case OP_PING:
        memcpy(w->pong, w->control, w->control_len);
        w->pong_len = w->control_len;
        w->pong_owed = true;
        return;
    case OP_PONG: // we sent no ping; unasked ones are allowed (5.5.3)
        return;
    case OP_CLOSE:
        return on_close(w);
    default:
        w->in_message = !w->is_final;
    }
}

static void
on_header_byte(struct websocket *w, uint8_t byte)
{
    w->header[w->header_len++] = byte;
    if (w->header_len < 2)
        return;
    if (w->header_len == 2 && !is_header_start_valid(w))
        return fail(w);
    size_t mask_from = 2 + length_bytes(w);
    if (w->header_len == mask_from && !parse_length(w, &w->left))
        return fail(w);
    if (w->header_len < mask_from + sizeof(w->mask))
        return;

    memcpy(w->mask, w->header + mask_from, sizeof(w->mask));
    w->mask_at = 0;
    w->opcode = w->header[0] & 0x0f;
    w->is_final = (w->header[0] & BIT_FIN) != 0;
    w->control_len = 0;
    w->at = w->opcode >= OP_CLOSE ? AT_CONTROL : AT_DATA;
    if (w->left == 0)
        on_frame_end(w);
}

static size_t
payload_run(const struct websocket *w, size_t in_len, size_t room)
{
    size_t n = in_len < room ? in_len : room;
    return n < w->left ? n : (size_t)w->left;
}

static void
on_payload(struct websocket *w, size_t n)
{
    w->left -= n;
    if (w->left == 0)
        on_frame_end(w);
}

// Takes what it can of one part: a request, a header byte, a run of payload.
static void
decode_part(struct websocket *w, const uint8_t *in, size_t in_len, uint8_t *out, size_t room,
            struct codec_step *step)
{
    size_t n;
    switch (w->at) {
    case AT_REQUEST:
        return on_request(w, in, in_len, step);
    case AT_HEADER:
        step->consumed++;
        return on_header_byte(w, in[0]);
    case AT_DATA:
        n = payload_run(w, in_len, room);
        if (n == 0)
            return;
        unmask(w, out, in, n);
        step->consumed += n;
        step->produced += n;
        return on_payload(w, n);
    case AT_CONTROL:
        n = payload_run(w, in_len, sizeof(w->control) - w->control_len);
        unmask(w, w->control + w->control_len, in, n);
        w->control_len += n;
        step->consumed += n;
        return on_payload(w, n);
    case AT_END:
    case AT_BROKEN:
        return;
    }
}

static int
websocket_decode(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
                 struct codec_step *step)
{
    struct websocket *w = websocket_of(c);
    while (step->consumed < in_len && w->at != AT_END && w->at != AT_BROKEN) {
        size_t was = step->consumed;
        uint8_t *to = out_size > step->produced ? out + step->produced : NULL;
        decode_part(w, in + was, in_len - was, to, out_size - step->produced, step);
        if (step->consumed == was)
            break; // no room
    }
    if (w->at == AT_BROKEN)
        return -EPROTO;
    return w->at == AT_END ? CODEC_END : 0;
}

// One frame per call, whole, so that replies never come inside of one.
static void
websocket_encode(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
                 struct codec_step *step)
{
    size_t room = out_size - 2;
    size_t n = in_len < room ? in_len : room;
    if (n > CONTROL_MAX) {
        room = out_size - 4;
        n = in_len < room ? in_len : room;
        n = n > CONTROL_MAX ? n : CONTROL_MAX;
    }
    if (n > UINT16_MAX) {
        room = out_size - 10;
        n = in_len < room ? in_len : room;
        n = n > UINT16_MAX ? n : UINT16_MAX;
    }
    size_t o = 0;
    size_t extra = n > UINT16_MAX ? 8 : n > CONTROL_MAX ? 2 : 0;
    out[o++] = BIT_FIN | OP_BINARY;
    out[o++] = extra == 8 ? 127 : extra == 2 ? 126 : (uint8_t)n;
    for (size_t i = extra; i > 0; i--)
        out[o++] = (uint8_t)((uint64_t)n >> (8 * (i - 1)));
    memcpy(out + o, in, n);
    step->consumed = n;
    step->produced = o + n;
}

static void
stage_control(struct websocket *w, uint8_t opcode, const uint8_t *payload, size_t len)
{
    w->staged.bytes[0] = BIT_FIN | opcode;
    w->staged.bytes[1] = (uint8_t)len;
    memcpy(w->staged.bytes + 2, payload, len);
    w->staged.at = 0;
    w->staged.len = 2 + len;
}

// Makes the next frame that is owed, if any. Nothing follows a Close (5.5.1).
static void
stage_next(struct websocket *w)
{
    if (w->at == AT_REQUEST || w->goodbye == GOODBYE_MADE)
        return;
    if (w->pong_owed) {
        w->pong_owed = false;
        stage_control(w, OP_PONG, w->pong, w->pong_len);
    } else if (w->goodbye == GOODBYE_OWED) {
        uint8_t code[2] = {(uint8_t)(w->close_code >> 8), (uint8_t)w->close_code};
        w->goodbye = GOODBYE_MADE;
        stage_control(w, OP_CLOSE, code, w->close_code == CLOSE_WITHOUT_CODE ? 0 : sizeof(code));
    }
}

static size_t
websocket_reply(struct codec *c, uint8_t *out, size_t out_size)
{
    struct websocket *w = websocket_of(c);
    size_t o = 0;
    while (o < out_size) {
        if (w->staged.at == w->staged.len)
            stage_next(w);
        size_t n = codec_staged_take(&w->staged, out + o, out_size - o);
        if (n == 0)
            break;
        o += n;
    }
    return o;
}

static void
websocket_finish(struct codec *c)
{
    struct websocket *w = websocket_of(c);
    if (w->at != AT_REQUEST)
        say_goodbye(w, CLOSE_NORMAL);
    else if (w->goodbye == GOODBYE_NONE)
        w->goodbye = GOODBYE_WANTED;
}

static bool
websocket_is_open(const struct codec *c)
{
    return websocket_of_const(c)->request.status == HTTP_SWITCHING;
}

static bool
websocket_is_shut(const struct codec *c)
{
    return websocket_of_const(c)->goodbye != GOODBYE_NONE;
}

// After our own Close a peer that only hangs up, between two messages, has cut nothing.
static bool
websocket_may_end(const struct codec *c)
{
    const struct websocket *w = websocket_of_const(c);
    bool is_between = w->at == AT_HEADER && w->header_len == 0 && !w->in_message;
    return w->at == AT_END || (is_between && w->goodbye == GOODBYE_MADE);
}

static const struct codec_ops websocket_ops = {
    .decode = websocket_decode,
    .encode = websocket_encode,
    .reply = websocket_reply,
    .finish = websocket_finish,
    .is_open = websocket_is_open,
    .is_shut = websocket_is_shut,
    .may_end = websocket_may_end,
};

struct codec *
codec_websocket_new(void)
{
    struct websocket *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->base.ops = &websocket_ops;
    http_upgrade_init(&w->request);
    return &w->base;
}
