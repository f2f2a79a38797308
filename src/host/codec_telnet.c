// SPDX-License-Identifier: BSD-3-Clause
// Telnet (RFC 854, 855) around a stream of any bytes. As server it asks for what QEMU's chardev
// asks for: character at a time, no local echo, 8 bits both ways; as client it asks for nothing and
// answers. Commands and subnegotiations are consumed; the socket must have SO_OOBINLINE, or the DM
// of a Synch vanishes from behind its IAC.
//
// When CR needs its NUL: outside BINARY (RFC 856). A peer that negotiates nothing gets and gives
// bytes as they are, as with QEMU, whose telnet client never answers; once it negotiates, a
// direction for which BINARY is refused or was never agreed on is NVT. Answers never start a loop:
// a side is answered only when its state changes or what it asks for is refused (RFC 1143 without
// queues, for we never change our mind), and what is owed for one option is owed once, however
// often asked.
#include "host/codec_ops.h"

#include <stdlib.h>
#include <string.h>

enum {
    CMD_SB = 250,
    CMD_WILL = 251,
    CMD_WONT = 252,
    CMD_DO = 253,
    CMD_DONT = 254,
    CMD_IAC = 255,
};

enum {
    OPT_BINARY = 0, // RFC 856
    OPT_ECHO = 1,   // RFC 857
    OPT_SGA = 3,    // RFC 858
    OPTIONS = 256,
};

enum telnet_at {
    AT_DATA,
    AT_IAC,    // behind IAC
    AT_OPTION, // behind IAC and a verb
    AT_SB,     // in a subnegotiation
    AT_SB_IAC, // behind an IAC in it
};

enum option_state {
    OPTION_OFF,
    OPTION_ASKED, // by us, not answered yet
    OPTION_ON,
};

struct telnet_option {
    uint8_t state; // enum option_state
    bool owed;     // an answer is to be sent, according to state
};

struct telnet {
    struct codec base;
    bool server;
    bool finished;

    enum telnet_at at;
    uint8_t verb;     // AT_OPTION: WILL, WONT, DO or DONT
    bool nvt_in;      // a NUL behind CR is not data
    bool nvt_out;     // CR goes out as CR LF or CR NUL
    bool in_after_cr; // the last decoded byte was a CR, under nvt_in
    bool out_cr_open; // a CR went out, what belongs behind it did not

    struct telnet_option us[OPTIONS];  // what we do: WILL, WONT; the peer says DO, DONT
    struct telnet_option him[OPTIONS]; // what the peer does
    unsigned owed;                     // how many of both are owed
    unsigned next;                     // where to look for the next owed: us, then him
    struct codec_staged staged;
};

static struct telnet *
telnet_of(struct codec *c)
{
    return (struct telnet *)c;
}

static const struct telnet *
telnet_of_const(const struct codec *c)
{
    return (const struct telnet *)c;
}

static size_t
min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

// What we do when asked. An echo by the client would be echoed back to it: only servers echo.
static bool
we_can(const struct telnet *t, uint8_t option)
{
    return option == OPT_BINARY || option == OPT_SGA || (option == OPT_ECHO && t->server);
}

static bool
he_may(const struct telnet *t, uint8_t option)
{
    return option == OPT_BINARY || option == OPT_SGA || (option == OPT_ECHO && !t->server);
}

static void
option_settle(struct telnet *t, struct telnet_option *o, bool enable, bool supported)
{
    if (o->state == OPTION_ASKED) {
        o->state = enable ? OPTION_ON : OPTION_OFF;
        return;
    }
    if (enable == (o->state == OPTION_ON))
        return;
    o->state = enable && supported ? OPTION_ON : OPTION_OFF;
    if (!o->owed)
        t->owed++;
    o->owed = true;
}

static void
on_negotiation(struct telnet *t, uint8_t verb, uint8_t option)
{
    if (verb == CMD_DO || verb == CMD_DONT)
        option_settle(t, &t->us[option], verb == CMD_DO, we_can(t, option));
    else
        option_settle(t, &t->him[option], verb == CMD_WILL, he_may(t, option));

    t->nvt_in = t->him[OPT_BINARY].state == OPTION_OFF;
    t->nvt_out = t->us[OPT_BINARY].state == OPTION_OFF;
    t->in_after_cr = t->in_after_cr && t->nvt_in;
    t->out_cr_open = t->out_cr_open && t->nvt_out;
}

// One byte that is not plain data, in any state.
static void
on_command_byte(struct telnet *t, uint8_t byte)
{
    switch (t->at) {
    case AT_DATA: // the IAC itself
        t->at = AT_IAC;
        return;
    case AT_SB_IAC:
        if (byte == CMD_IAC) {
            t->at = AT_SB;
            return;
        }
        // The subnegotiation ends with SE, or, where SE is missing, with the next command.
        // fall through
    case AT_IAC:
        t->verb = byte;
        if (byte == CMD_SB)
            t->at = AT_SB;
        else
            t->at = byte >= CMD_WILL && byte <= CMD_DONT ? AT_OPTION : AT_DATA;
        return;
    case AT_OPTION:
        on_negotiation(t, t->verb, byte);
        t->at = AT_DATA;
        return;
    case AT_SB:
        if (byte == CMD_IAC)
            t->at = AT_SB_IAC;
        return;
    }
}

// A run of data that starts with no IAC, or with one that stands for itself.
static void
decode_data(struct telnet *t, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
            struct codec_step *step)
{
    if (t->in_after_cr && in[0] == 0) {
        t->in_after_cr = false;
        step->consumed++;
        return;
    }
    size_t n = min_size(in_len, out_size);
    const uint8_t *stop = n > 1 ? memchr(in + 1, CMD_IAC, n - 1) : NULL;
    if (stop)
        n = (size_t)(stop - in);
    if (n == 0)
        return;
    t->in_after_cr = false;
    const uint8_t *cr = t->nvt_in ? memchr(in, '\r', n) : NULL;
    if (cr) {
        n = (size_t)(cr - in) + 1;
        t->in_after_cr = true;
    }
    memcpy(out, in, n);
    step->consumed += n;
    step->produced += n;
}

static int
telnet_decode(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
              struct codec_step *step)
{
    struct telnet *t = telnet_of(c);
    while (step->consumed < in_len) {
        uint8_t byte = in[step->consumed];
        bool is_data = t->at == AT_DATA && byte != CMD_IAC;
        bool is_doubled = t->at == AT_IAC && byte == CMD_IAC;
        if (!is_data && !is_doubled) {
            on_command_byte(t, byte);
            step->consumed++;
            continue;
        }
        size_t was = step->consumed;
        decode_data(t, in + was, in_len - was, out + step->produced, out_size - step->produced,
                    step);
        if (step->consumed == was)
            break; // no room
        t->at = AT_DATA;
    }
    return 0;
}

static void
telnet_encode(struct codec *c, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size,
              struct codec_step *step)
{
    struct telnet *t = telnet_of(c);
    size_t i = 0, o = 0;
    // Two bytes of room: for an IAC and its double, or for the NUL behind a CR and one byte.
    while (i < in_len && out_size - o >= 2) {
        if (t->out_cr_open && in[i] != '\n')
            out[o++] = 0;
        t->out_cr_open = false;
        if (in[i] == CMD_IAC) {
            if (out_size - o < 2)
                break;
            out[o++] = CMD_IAC;
            out[o++] = CMD_IAC;
            i++;
            continue;
        }
        size_t n = min_size(in_len - i, out_size - o);
        const uint8_t *stop = memchr(in + i, CMD_IAC, n);
        if (stop)
            n = (size_t)(stop - (in + i));
        const uint8_t *cr = t->nvt_out ? memchr(in + i, '\r', n) : NULL;
        if (cr) {
            n = (size_t)(cr - (in + i)) + 1;
            t->out_cr_open = true;
        }
        memcpy(out + o, in + i, n);
        i += n;
        o += n;
    }
    step->consumed = i;
    step->produced = o;
}

// Makes the next answer, if one is owed.
static void
stage_next(struct telnet *t)
{
    t->staged.at = t->staged.len = 0;
    if (t->owed == 0 && !(t->finished && t->out_cr_open))
        return;
    // A command must not come between CR and its NUL.
    if (t->out_cr_open)
        t->staged.bytes[t->staged.len++] = 0;
    t->out_cr_open = false;
    if (t->owed == 0)
        return;

    struct telnet_option *o;
    for (;; t->next = (t->next + 1) % (2 * OPTIONS)) {
        o = t->next < OPTIONS ? &t->us[t->next] : &t->him[t->next - OPTIONS];
        if (o->owed)
            break;
    }
    uint8_t yes = t->next < OPTIONS ? CMD_WILL : CMD_DO;
    uint8_t no = t->next < OPTIONS ? CMD_WONT : CMD_DONT;
    t->staged.bytes[t->staged.len++] = CMD_IAC;
    t->staged.bytes[t->staged.len++] = o->state == OPTION_ON ? yes : no;
    t->staged.bytes[t->staged.len++] = (uint8_t)(t->next % OPTIONS);
    o->owed = false;
    t->owed--;
}

static size_t
telnet_reply(struct codec *c, uint8_t *out, size_t out_size)
{
    struct telnet *t = telnet_of(c);
    size_t o = 0;
    while (o < out_size) {
        if (t->staged.at == t->staged.len)
            stage_next(t);
        size_t n = codec_staged_take(&t->staged, out + o, out_size - o);
        if (n == 0)
            break;
        o += n;
    }
    return o;
}

static void
telnet_finish(struct codec *c)
{
    telnet_of(c)->finished = true;
}

static bool
telnet_is_open(const struct codec *c)
{
    return true;
}

static bool
telnet_is_shut(const struct codec *c)
{
    return telnet_of_const(c)->finished;
}

static bool
telnet_may_end(const struct codec *c)
{
    return true;
}

static const struct codec_ops telnet_ops = {
    .decode = telnet_decode,
    .encode = telnet_encode,
    .reply = telnet_reply,
    .finish = telnet_finish,
    .is_open = telnet_is_open,
    .is_shut = telnet_is_shut,
    .may_end = telnet_may_end,
};

struct codec *
codec_telnet_new(bool server)
{
    static const uint8_t opening[] = {
        CMD_IAC, CMD_WILL, OPT_ECHO,   CMD_IAC, CMD_WILL, OPT_SGA,
        CMD_IAC, CMD_WILL, OPT_BINARY, CMD_IAC, CMD_DO,   OPT_BINARY,
    };
    struct telnet *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->base.ops = &telnet_ops;
    t->server = server;
    if (!server)
        return &t->base;
    memcpy(t->staged.bytes, opening, sizeof(opening));
    t->staged.len = sizeof(opening);
    t->us[OPT_ECHO].state = OPTION_ASKED;
    t->us[OPT_SGA].state = OPTION_ASKED;
    t->us[OPT_BINARY].state = OPTION_ASKED;
    t->him[OPT_BINARY].state = OPTION_ASKED;
    return &t->base;
}
