// SPDX-License-Identifier: BSD-3-Clause
// See client.h. A reply is checked like any other text from outside: a daemon of another version,
// or somebody else who listens there, makes an error and nothing worse.
#include "control/client.h"

#include "base/fdpass.h"
#include "base/log.h"
#include "base/unix_listener.h"
#include "control/path.h"
#include "control/service.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONTROL    "org.vmchannel.Control."
#define TIMEOUT_MS 5000
#define READ_BYTES 16384

struct control_client {
    int fd;
    char name[128]; // for messages, escaped
};

static int64_t
clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct control_client *
control_client_new(const char *name, bool *gone, struct error *err)
{
    char path[CONTROL_PATH_SIZE];
    struct sockaddr_un sa;
    if (gone)
        *gone = false;
    if (control_path(name, path, err) < 0)
        return NULL;
    int len = unix_address(&sa, path, false, false);
    struct control_client *c = len < 0 ? NULL : calloc(1, sizeof(*c));
    if (!c) {
        error_set(err, len < 0 ? -len : ENOMEM, "%s", path);
        return NULL;
    }
    log_escape(c->name, sizeof(c->name), name, strlen(name));
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&sa, (socklen_t)len) == 0)
        return c;
    int errnum = errno;
    if (errnum == ENOENT || errnum == ECONNREFUSED || errnum == ENOTDIR) {
        if (gone)
            *gone = true;
        error_set(err, 0,
                  "%s: no such guest runs here with a control socket (vmchannel list shows "
                  "those that do)",
                  c->name);
    } else {
        error_set(err, errnum, "%s: %s", c->name, path);
    }
    control_client_free(c);
    return NULL;
}

void
control_client_free(struct control_client *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

// --- the connection ------------------------------------------------------------------------------

static int
wait_for(const struct control_client *c, short events, int64_t deadline_ms, struct error *err)
{
    int64_t left = deadline_ms - clock_ms();
    struct pollfd p = {.fd = c->fd, .events = events};
    int n = left > 0 ? poll(&p, 1, (int)left) : 0;
    if (n == 0)
        return error_set(err, ETIMEDOUT, "%s: no answer", c->name);
    return n > 0 || errno == EINTR ? 0 : error_set(err, errno, "%s", c->name);
}

static int
say(const struct control_client *c, const char *text, int fd, int64_t deadline_ms,
    struct error *err)
{
    size_t len = strlen(text) + 1;
    for (size_t at = 0; at < len;) {
        bool first = at == 0 && fd >= 0;
        ssize_t n = fdpass_send(c->fd, text + at, len - at, &fd, first ? 1 : 0);
        if (n > 0) {
            at += (size_t)n;
            continue;
        }
        if (n != -EAGAIN)
            return error_set(err, (int)-n, "%s", c->name);
        int rc = wait_for(c, POLLOUT, deadline_ms, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// One whole reply, without its NUL: its length, or -errno.
static ssize_t
hear(const struct control_client *c, char **out, int64_t deadline_ms, struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc;
    for (;;) {
        char *grown = len < CONTROL_REPLY_MAX ? realloc(text, len + READ_BYTES) : NULL;
        if (!grown) {
            rc = error_set(err, EMSGSIZE, "%s: its answer", c->name);
            break;
        }
        text = grown;
        ssize_t n = recv(c->fd, text + len, READ_BYTES, MSG_DONTWAIT);
        if (n > 0) {
            len += (size_t)n;
            if (text[len - 1] != '\0')
                continue;
            *out = text;
            return (ssize_t)(len - 1);
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            rc = error_set(err, n == 0 ? EPIPE : errno, "%s: no answer", c->name);
        else
            rc = wait_for(c, POLLIN, deadline_ms, err);
        if (rc < 0)
            break;
    }
    free(text);
    return rc;
}

// --- replies -------------------------------------------------------------------------------------

// Text from the wire into a message or a field: nothing in it reaches a terminal as it is.
static void
take_text(char *out, size_t size, const json_t *value)
{
    log_escape(out, size, json_string_value(value) ? json_string_value(value) : "",
               json_string_length(value));
}

static int
fail_with(const char *who, const char *name, const json_t *parameters, struct error *err)
{
    char text[400];
    if (strcmp(name, CONTROL "Refused") == 0) {
        take_text(text, sizeof(text), json_object_get(parameters, "reason"));
        error_set(err, 0, "%s: %s", who, text);
        return -EPERM;
    }
    if (strcmp(name, CONTROL "NoSuchChannel") == 0) {
        json_int_t port = json_integer_value(json_object_get(parameters, "port"));
        error_set(err, 0, "%s: channel %d: there is none", who, (int)port);
        return -ENOENT;
    }
    log_escape(text, sizeof(text), name, strlen(name));
    error_set(err, 0, "%s: answered %s", who, text);
    return -EPROTO;
}

// Of a good reply the parameters, a new reference; NULL with err and *rc.
static json_t *
parameters_of(const char *who, const char *reply, size_t len, int *rc, struct error *err)
{
    json_t *root = json_loadb(reply, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *error = json_object_get(root, "error");
    json_t *parameters = json_object_get(root, "parameters");
    json_t *out = NULL;
    *rc = 0;
    if (!json_is_object(root) || (parameters && !json_is_object(parameters)) ||
        (error && !json_is_string(error)))
        *rc = error_set(err, EPROTO, "%s: its answer makes no sense", who);
    else if (error)
        *rc = fail_with(who, json_string_value(error), parameters, err);
    else
        out = parameters ? json_incref(parameters) : json_object();
    json_decref(root);
    if (!out && *rc == 0)
        *rc = error_set(err, ENOMEM, "%s", who);
    return out;
}

// Takes parameters over. NULL as above.
static json_t *
call(struct control_client *c, const char *method, json_t *parameters, int fd, int *rc,
     struct error *err)
{
    char *reply = NULL;
    json_t *out = NULL;
    int64_t deadline = clock_ms() + TIMEOUT_MS;
    json_t *message = json_pack("{s:o, so}", "method", json_sprintf(CONTROL "%s", method),
                                "parameters", parameters);
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    *rc = text ? say(c, text, fd, deadline, err)
               : error_set(err, 0, "%s: what was given is no UTF-8", c->name);
    ssize_t len = *rc < 0 ? *rc : hear(c, &reply, deadline, err);
    if (len < 0)
        *rc = (int)len;
    else
        out = parameters_of(c->name, reply, (size_t)len, rc, err);
    free(reply);
    free(text);
    json_decref(message);
    return out;
}

static uint64_t
number_in(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

static void
take_numbers(void *to, const json_t *from, const struct control_number *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        control_number_set(to, &numbers[i], number_in(from, numbers[i].name));
}

static void
take_info(struct control_info *out, const json_t *from)
{
    *out = (struct control_info){
        .pid = (uint32_t)number_in(from, "pid"),
        .worker = (uint32_t)number_in(from, "worker"),
        .uptime_s = number_in(from, "uptime"),
        .restarts = number_in(from, "restarts"),
    };
    take_text(out->name, sizeof(out->name), json_object_get(from, "name"));
    take_text(out->version, sizeof(out->version), json_object_get(from, "version"));
    take_text(out->link, sizeof(out->link), json_object_get(from, "link"));
}

static int
take_channels(struct control_status *out, const json_t *list)
{
    size_t count = json_array_size(list);
    out->channels = calloc(count + 1, sizeof(*out->channels));
    if (!out->channels)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const json_t *from = json_array_get(list, i);
        struct control_channel *ch = &out->channels[i];
        ch->port = (uint16_t)number_in(from, "port");
        ch->inward = json_is_true(json_object_get(from, "inward"));
        take_text(ch->device, sizeof(ch->device), json_object_get(from, "device"));
        take_text(ch->name, sizeof(ch->name), json_object_get(from, "name"));
    }
    out->channel_count = count;
    return 0;
}

static void
take_stats(struct control_status *out, const json_t *stats)
{
    const json_t *list = json_object_get(stats, "channels");
    take_numbers(&out->link, json_object_get(stats, "link"), control_link_numbers,
                 CONTROL_LINK_NUMBERS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *from = json_array_get(list, i);
        for (size_t j = 0; j < out->channel_count; j++)
            if (out->channels[j].port == number_in(from, "port") &&
                out->channels[j].inward == json_is_true(json_object_get(from, "inward")))
                take_numbers(&out->channels[j], from, control_channel_numbers,
                             CONTROL_CHANNEL_NUMBERS);
    }
}

int
control_reply_parse(const char *reply, size_t len, struct error *err)
{
    int rc;
    struct control_status status = {.channels = NULL};
    json_t *parameters = parameters_of("test", reply, len, &rc, err);
    if (!parameters)
        return rc;
    take_info(&status.info, parameters);
    rc = take_channels(&status, json_object_get(parameters, "channels"));
    if (rc == 0)
        take_stats(&status, parameters);
    control_status_fini(&status);
    json_decref(parameters);
    return rc;
}

// --- calls ---------------------------------------------------------------------------------------

int
control_client_info(struct control_client *c, struct control_info *out, struct error *err)
{
    int rc;
    json_t *info = call(c, "Info", json_object(), -1, &rc, err);
    if (info)
        take_info(out, info);
    json_decref(info);
    return rc;
}

int
control_client_status(struct control_client *c, struct control_status *out, struct error *err)
{
    *out = (struct control_status){.channels = NULL};
    int rc = control_client_info(c, &out->info, err);
    if (rc < 0)
        return rc;
    json_t *list = call(c, "List", json_object(), -1, &rc, err);
    if (!list)
        return rc;
    rc = take_channels(out, json_object_get(list, "channels"));
    json_decref(list);
    if (rc < 0)
        return error_set(err, -rc, "%s", c->name);
    json_t *stats = call(c, "Stats", json_object(), -1, &rc, err);
    if (stats)
        take_stats(out, stats);
    json_decref(stats);
    return rc;
}

void
control_status_fini(struct control_status *status)
{
    free(status->channels);
    status->channels = NULL;
    status->channel_count = 0;
}

int
control_client_stats_json(struct control_client *c, char **out, struct error *err)
{
    int rc;
    json_t *stats = call(c, "Stats", json_object(), -1, &rc, err);
    if (!stats)
        return rc;
    *out = json_dumps(stats, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    json_decref(stats);
    return *out ? 0 : error_set(err, ENOMEM, "%s", c->name);
}

// A call whose reply says nothing.
static int
order(struct control_client *c, const char *method, json_t *parameters, int fd, struct error *err)
{
    int rc;
    json_decref(call(c, method, parameters, fd, &rc, err));
    return rc;
}

int
control_client_add(struct control_client *c, const char *channel, struct error *err)
{
    return order(c, "Add", json_pack("{s:s}", "channel", channel), -1, err);
}

int
control_client_remove(struct control_client *c, uint16_t port, struct error *err)
{
    return order(c, "Delete", json_pack("{s:i}", "port", port), -1, err);
}

int
control_client_capture(struct control_client *c, int fd, uint32_t snaplen, struct error *err)
{
    return order(c, "Capture", json_pack("{s:I}", "snaplen", (json_int_t)snaplen), fd, err);
}
