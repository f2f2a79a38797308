// SPDX-License-Identifier: BSD-3-Clause
// Which devices may become channels while the guest runs. What a command line asked for may always
// be; what a control client asks for may not be more than a broker can open once it has locked
// itself up, and never a way to run programs.
#pragma once

#include "base/error.h"
#include "host/device.h"

// locked_up: the broker is in its sandbox. 0, or -EINVAL with err that says why not.
int broker_may_open(const struct device *dev, bool locked_up, struct error *err);
