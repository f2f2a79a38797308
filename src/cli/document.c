// SPDX-License-Identifier: BSD-3-Clause
// Plain reading and writing, for commands that work on a document and end. What is in it is left to
// the command.
#include "cli/document.h"

#include "config/domain_xml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MACHINE_ID "/etc/machine-id"

static int
read_all(int fd, const char *name, struct buffer *out, struct error *err)
{
    char piece[16384];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, errno, "%s", name);
        if (n == 0)
            break;
        buffer_add(out, piece, (size_t)n);
        if (out->len > DOMAIN_XML_MAX)
            return error_set(err, EFBIG, "%s: over %u bytes", name, DOMAIN_XML_MAX);
    }
    buffer_add(out, "", 0); // so that there is data also when it is empty
    return out->failed ? error_set(err, ENOMEM, "%s", name) : 0;
}

int
document_read(const char *path, struct buffer *out, struct error *err)
{
    if (!path || strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, "standard input", out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "%s", path);
    int rc = read_all(fd, path, out, err);
    close(fd);
    return rc;
}

int
document_write(const struct buffer *text, struct error *err)
{
    for (size_t at = 0; at < text->len;) {
        ssize_t n = write(STDOUT_FILENO, text->data + at, text->len - at);
        if (n < 0 && errno != EINTR)
            return error_set(err, errno, "standard output");
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

const char *
document_host_seed(char out[64])
{
    int fd = open(MACHINE_ID, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 63);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return out;
}
