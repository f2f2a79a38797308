// SPDX-License-Identifier: BSD-3-Clause
// See hook_unit.h. Each call has a time limit, as libvirt waits for the hook.
#include "cli/hook_unit.h"

#include "cli/keeper_files.h"
#include "cli/systemctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

// Longer than the unit's own limits.
#define START_MS 20000
#define STOP_MS  10000
#define ASK_MS   5000

#define UNIT_SIZE 64
#define ENV_SIZE  512

static const char *
unit_name(const char *uuid, char out[UNIT_SIZE])
{
    snprintf(out, UNIT_SIZE, "vmchannel@%s.service", uuid);
    return out;
}

// systemd.exec(5), EnvironmentFile=: a value in double quotes, with a backslash before what is
// special there.
static void
quote(const char *value, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = value; *p && n + 3 < size; p++) {
        if (strchr("\"\\`$", *p))
            out[n++] = '\\';
        out[n++] = *p;
    }
    out[n] = '\0';
}

static int
write_files(const struct keeper *k, const char *run_as, struct error *err)
{
    char guest[ENV_SIZE / 2], text[ENV_SIZE];
    quote(k->guest, guest, sizeof(guest));
    int len = snprintf(text, sizeof(text), "GUEST=\"%s\"\nRUN_AS=\"%s\"\n", guest, run_as);
    int rc = keeper_files_write(k->socket, ".xml", k->xml, k->xml_len, err);
    if (rc == 0)
        rc = keeper_files_write(k->socket, ".env", text, (size_t)len, err);
    if (rc == 0)
        rc = keeper_files_link(k->socket, ".log", k->log_path, err);
    return rc < 0 ? rc : keeper_files_make_control(k, err);
}

int
hook_unit_start(const struct keeper *k, const char *uuid, const char *run_as, struct error *err)
{
    char unit[UNIT_SIZE];
    int rc = write_files(k, run_as, err);
    if (rc == 0)
        rc = systemctl("start", unit_name(uuid, unit), START_MS, err);
    if (rc == 0)
        return 0;
    if (rc == SYSTEMCTL_NOT_INSTALLED)
        rc = -ENOPKG;
    else
        hook_unit_stop(uuid, NULL); // it would be started again and again
    keeper_files_remove(k->socket, k->guest);
    return rc < 0 ? rc : -ECHILD;
}

bool
hook_unit_is_running(const char *uuid)
{
    char unit[UNIT_SIZE];
    return systemctl("is-active", unit_name(uuid, unit), ASK_MS, NULL) == 0;
}

int
hook_unit_stop(const char *uuid, struct error *err)
{
    char unit[UNIT_SIZE];
    int rc = systemctl("stop", unit_name(uuid, unit), STOP_MS, err);
    if (rc == SYSTEMCTL_NOT_INSTALLED)
        return 0;
    return rc > 0 ? -ECHILD : rc;
}
