// SPDX-License-Identifier: BSD-3-Clause
// What the files of the device grammar share: the setters of single fields, and the reading of
// options by the one table in device_options.c. Nobody else includes this.
#pragma once

#include "base/options.h"
#include "host/device.h"

// A form of device: what may be given how depends on it.
enum device_form {
    DEVICE_SHORT, // -serial's: unix:PATH,...
    DEVICE_LONG,  // -chardev's: socket,path=PATH,...
};

// QEMU's defaults for an empty device of that kind.
void device_init(struct device *dev, enum device_kind kind);

// device_options.c: the options after what the device begins with, and then the rules that need
// more than one option. Each 0, or -EINVAL with err.
int device_read_options(struct device *dev, enum device_form form, struct options *opts,
                        struct error *err);

// device_address.c: setters of what a device begins with. Each 0, or -EINVAL with err.
int device_set_path(struct device *dev, const char *path, struct error *err);
int device_set_inet(struct device *dev, const char *text, struct error *err); // [HOST]:PORT
int device_set_udp(struct device *dev, const char *text, struct error *err);  // ...[@[HOST]:PORT]
int device_set_vsock(struct device *dev, const char *text, struct error *err);
// One part of an address, "HOST" or "PORT" of `dev` in messages; brackets are stripped.
int device_set_host(const struct device *dev, const char *host, size_t len, struct device_addr *out,
                    struct error *err);
int device_set_port(const struct device *dev, const char *port, size_t len, struct device_addr *out,
                    struct error *err);
