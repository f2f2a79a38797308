// SPDX-License-Identifier: BSD-3-Clause
// See address.h.

#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static bool
parse_unix(const char *path, struct address *out)
{
    struct sockaddr_un *sun = (void *)&out->sa;

    if (strlen(path) >= sizeof(sun->sun_path))
        return false;
    sun->sun_family = AF_UNIX;
    strcpy(sun->sun_path, path);
    out->len = sizeof(*sun);
    return true;
}

bool
address_parse(const char *addr, const char *port, struct address *out)
{
    struct sockaddr_in *sin = (void *)&out->sa;
    struct sockaddr_in6 *sin6 = (void *)&out->sa;
    struct sockaddr_vm *svm = (void *)&out->sa;

    memset(out, 0, sizeof(*out));
    if (strncmp(addr, "unix:", 5) == 0)
        return parse_unix(addr + 5, out);
    if (strncmp(addr, "vsock:", 6) == 0) {
        bool is_any = strcmp(addr + 6, "any") == 0;
        svm->svm_family = AF_VSOCK;
        svm->svm_cid = is_any ? VMADDR_CID_ANY : (unsigned)strtoul(addr + 6, NULL, 10);
        svm->svm_port = (unsigned)strtoul(port, NULL, 10);
        out->len = sizeof(*svm);
        return true;
    }
    if (strchr(addr, ':')) {
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons((uint16_t)atoi(port));
        out->len = sizeof(*sin6);
        return inet_pton(AF_INET6, addr, &sin6->sin6_addr) == 1;
    }
    sin->sin_family = AF_INET;
    sin->sin_port = htons((uint16_t)atoi(port));
    out->len = sizeof(*sin);
    return inet_pton(AF_INET, addr, &sin->sin_addr) == 1;
}

int
address_listen(const struct address *a)
{
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) == 0 && listen(fd, 1024) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}
