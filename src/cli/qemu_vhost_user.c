// SPDX-License-Identifier: BSD-3-Clause
// QEMU's words for vhost-user. An inherited descriptor will not do, as QEMU passes descriptors over
// a socket only when it has connected that by path; so there is a directory that nobody else can
// enter. cli/qemu.c starts what is at the other end.
#include "cli/qemu_vhost_user.h"

#include "cli/qemu_netdev.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MEMORY "128M" // QEMU's own

// Is word that option? QEMU takes one dash or two.
static bool
is_option(const char *word, const char *name)
{
    if (*word != '-')
        return false;
    word += word[1] == '-' ? 2 : 1;
    return strcmp(word, name) == 0;
}

// "4G" of "slots=2,size=4G", "256" of "256,maxmem=1G"; its length, 0 when there is none.
static size_t
find_size(const char *text, const char **out)
{
    for (bool is_first = true; *text; is_first = false) {
        size_t len = strcspn(text, ",");
        *out = text;
        if (is_first && !memchr(text, '=', len))
            return len;
        if (len > 5 && memcmp(text, "size=", 5) == 0) {
            *out = text + 5;
            return len - 5;
        }
        text += len + (text[len] == ',');
    }
    return 0;
}

int
qemu_vhost_memory_size(char **argv, char *out, size_t out_size, struct error *err)
{
    const char *size = DEFAULT_MEMORY;
    size_t len = strlen(size);
    for (; *argv; argv++) {
        const char *found;
        size_t n = is_option(*argv, "m") && argv[1] ? find_size(argv[1], &found) : 0;
        if (n > 0) { // the last one counts, as with QEMU
            size = found;
            len = n;
        }
    }
    if (!isdigit((unsigned char)*size) || len + 2 > out_size)
        return error_set(err, 0,
                         "vhost-user: QEMU's -m '%.*s': not a size (accepted: as in 512, 4G or "
                         "size=4G, or memory with a memory-backend of your own)",
                         (int)(len < 64 ? len : 64), size);
    bool has_unit = isalpha((unsigned char)size[len - 1]);
    snprintf(out, out_size, "%.*s%s", (int)len, size, has_unit ? "" : "M");
    return 0;
}

// The user has set up memory: whether it is shared is his affair then.
static bool
has_own_memory(char **argv)
{
    for (; *argv; argv++) {
        if ((is_option(*argv, "machine") || is_option(*argv, "M")) && argv[1] &&
            strstr(argv[1], "memory-backend="))
            return true;
        if (is_option(*argv, "numa") && argv[1] && strstr(argv[1], "memdev="))
            return true;
    }
    return false;
}

// The accelerators that the option at *argv names, up to a comma: "kvm", "kvm:tcg"; NULL: none.
static const char *
accelerators(char **argv)
{
    if (is_option(*argv, "enable-kvm"))
        return "kvm";
    if (is_option(*argv, "accel"))
        return argv[1];
    if (!is_option(*argv, "machine") && !is_option(*argv, "M"))
        return NULL;
    const char *at = argv[1] ? strstr(argv[1], "accel=") : NULL;
    return at ? at + strlen("accel=") : NULL;
}

// KVM and nothing else: with kvm:tcg, QEMU emulates where there is no KVM.
static bool
uses_kvm(char **argv)
{
    bool kvm = false;
    for (; *argv; argv++) {
        const char *names = accelerators(argv);
        size_t len = names ? strcspn(names, ",") : 0;
        if (len > 0 && memmem(names, len, "tcg", 3))
            return false;
        kvm |= len > 0 && memmem(names, len, "kvm", 3);
    }
    return kvm;
}

// "QEMU emulator version 7.2.22 (...)"; 0 when it does not say.
static int
ask_major_version(const char *program)
{
    static const char *const words[] = {"--version", NULL};
    char answer[512];
    qemu_ask(program, words, answer, sizeof(answer));
    const char *at = strstr(answer, "version ");
    return at ? atoi(at + strlen("version ")) : 0;
}

static int
make_dir(struct qemu_vhost *v, struct error *err)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    // QEMU takes commas for the end of it.
    if (!base || *base != '/' || strchr(base, ',') || strlen(base) > 32 ||
        access(base, W_OK | X_OK) < 0)
        base = "/tmp";
    snprintf(v->dir, sizeof(v->dir), "%s/vmchannel-XXXXXX", base);
    if (!mkdtemp(v->dir))
        return error_set(err, errno, "vhost-user: a directory like %s/vmchannel-XXXXXX", base);
    snprintf(v->path, sizeof(v->path), "%s/link.sock", v->dir);
    return 0;
}

static bool
add_words(struct qemu_vhost *v, size_t *count, const char *option, char *value)
{
    v->words[*count] = strdup(option);
    v->words[*count + 1] = value;
    *count += 2;
    return v->words[*count - 2] && value;
}

__attribute__((format(printf, 1, 2))) static char *
format(const char *fmt, ...)
{
    char *text;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    return len < 0 ? NULL : text;
}

static int
make_words(struct qemu_vhost *v, char **argv, const char *netdev_id, int major, struct error *err)
{
    char size[32];
    size_t count = 0;
    bool ok = true;
    if (!has_own_memory(argv)) {
        int rc = qemu_vhost_memory_size(argv, size, sizeof(size), err);
        if (rc < 0)
            return rc;
        ok = add_words(
                 v, &count, "-object",
                 format("memory-backend-memfd,id=%s-memory,share=on,size=%s", netdev_id, size)) &&
             add_words(v, &count, "-machine", format("memory-backend=%s-memory", netdev_id));
    }
    char *chardev = major >= 10 // reconnect= is leaving
                        ? format("socket,id=%s-link,path=%s,reconnect-ms=1000", netdev_id, v->path)
                        : format("socket,id=%s-link,path=%s,reconnect=1", netdev_id, v->path);
    ok = add_words(v, &count, "-chardev", chardev) && ok;
    ok = ok && add_words(v, &count, "-netdev",
                         format("vhost-user,id=%s,chardev=%s-link", netdev_id, netdev_id));
    return ok ? 0 : error_set(err, ENOMEM, "command line");
}

int
qemu_vhost_prepare(struct qemu_vhost *v, char **argv, const char *netdev_id, struct error *err)
{
    memset(v, 0, sizeof(*v));
    int major = ask_major_version(argv[0]);
    // Before 8.0, QEMU crashes when vhost-user meets MSI-X under emulation.
    v->device_options = major < 8 && !uses_kvm(argv) ? ",vectors=0" : "";
    int rc = make_dir(v, err);
    if (rc < 0)
        return rc;
    rc = make_words(v, argv, netdev_id, major, err);
    if (rc < 0) {
        qemu_vhost_free_words(v);
        qemu_vhost_remove_dir(v);
    }
    return rc;
}

void
qemu_vhost_free_words(struct qemu_vhost *v)
{
    for (size_t i = 0; i < QEMU_VHOST_WORDS_MAX; i++) {
        free(v->words[i]);
        v->words[i] = NULL;
    }
}

void
qemu_vhost_remove_dir(const struct qemu_vhost *v)
{
    rmdir(v->dir);
}
