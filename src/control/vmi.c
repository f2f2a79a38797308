// SPDX-License-Identifier: BSD-3-Clause
// Picks three strings out of a VirtualMachineInstance. What a channel may be is not known here.
#include "control/vmi.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE " \t\r\n"

// The string at a key, NULL without one; false with err when it is something else.
static bool
get_string(const json_t *object, const char *key, const char **out, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    if (value && !*out)
        error_set(err, 0, "--vmi: annotation %s: not a string", key);
    return *out || !value;
}

static int
split_words(const char *text, struct vmi *out, struct error *err)
{
    for (text += strspn(text, SPACE); *text; text += strspn(text, SPACE)) {
        size_t len = strcspn(text, SPACE);
        char **grown = realloc(out->channels, (out->channel_count + 1) * sizeof(*grown));
        if (grown)
            out->channels = grown;
        char *word = grown ? strndup(text, len) : NULL;
        if (!word)
            return error_set(err, ENOMEM, "annotation " VMI_CHANNELS);
        out->channels[out->channel_count++] = word;
        text += len;
    }
    return 0;
}

static int
read_metadata(const json_t *metadata, struct vmi *out, struct error *err)
{
    const json_t *annotations = json_object_get(metadata, "annotations");
    const char *uid = json_string_value(json_object_get(metadata, "uid"));
    const char *channels, *dir;
    if (!get_string(annotations, VMI_CHANNELS, &channels, err) ||
        !get_string(annotations, VMI_SOCKET_DIR, &dir, err))
        return -EINVAL;
    snprintf(out->uid, sizeof(out->uid), "%s", uid ? uid : "");
    if (dir && (dir[0] != '/' || strlen(dir) >= sizeof(out->socket_dir)))
        return error_set(err, 0,
                         "annotation " VMI_SOCKET_DIR ": '%.64s': not an absolute path of at most "
                         "%zu bytes",
                         dir, sizeof(out->socket_dir) - 1);
    if (dir)
        memcpy(out->socket_dir, dir, strlen(dir) + 1);
    return channels ? split_words(channels, out, err) : 0;
}

int
vmi_parse(const char *json, size_t len, struct vmi *out, struct error *err)
{
    json_error_t why;
    memset(out, 0, sizeof(*out));
    json_t *root = json_loadb(json, len, 0, &why);
    if (!root)
        return error_set(err, 0, "--vmi: line %d: not JSON: %s", why.line, why.text);
    int rc = json_is_object(root) ? read_metadata(json_object_get(root, "metadata"), out, err)
                                  : error_set(err, 0, "--vmi: not a JSON object");
    json_decref(root);
    return rc;
}

void
vmi_fini(struct vmi *vmi)
{
    for (size_t i = 0; i < vmi->channel_count; i++)
        free(vmi->channels[i]);
    free(vmi->channels);
    memset(vmi, 0, sizeof(*vmi));
}
