# SPDX-License-Identifier: BSD-3-Clause
"""The measurements. Each takes a subject that is up and gives its figures by name. Every one is
bounded in time. Bytes towards the host are counted by the service, those towards the guest by the
load program; CPU time is read from /proc over a window within the load."""

import os
import time
from contextlib import contextmanager

from world import (Failed, cpu_seconds, parse_result, pss_mib, read_line, result_of,
                   wait_until)

LOAD_ENDS_WITHIN_S = 15
IDLE_WITHIN_S = 25
BESIDE_TIMES = 3  # as long, since a few per cent are to be seen


class Effort:
    """How long each measurement takes."""

    def __init__(self, quick):
        self.quick = quick
        self.run_ms = 300 if quick else 800
        self.trip_ms = 200 if quick else 500
        self.connect_ms = 300 if quick else 1000
        self.connects = 20000
        self.most_idle = 1000 if quick else 10000
        self.rotate_ms = 300 if quick else 800
        self.firsts = 1 if quick else 2

    def warm_ms(self, subject):
        if self.quick:
            return 200
        return 1500 if subject.starts_slowly else 400


def bulk(subject, effort, way, connections, run_times=1, apart=False):
    """Throughput, and CPU seconds per GB of the daemon and of the whole path; without a daemon, of
    the process that writes and of the one that reads. Apart: the daemon has a CPU to itself."""
    world = subject.world
    kind, counter = ("sink", "sunk") if way == "send" else ("source", "sourced")
    world.settle()
    before = world.counters.read()[counter]
    warm_ms, run_ms = effort.warm_ms(subject), run_times * effort.run_ms
    load = subject.load(kind, way, connections, warm_ms, run_ms)
    try:
        if apart:
            keep_apart(subject, load)
        wait_until(lambda: world.counters.read()[counter] > before or load.poll() is not None, 5,
                   "the first byte")
        time.sleep(warm_ms / 1000)
        sample = _Sample(subject, load, counter)
        time.sleep(0.8 * run_ms / 1000)
        spent = _Sample(subject, load, counter).since(sample)
        result = result_of(load, LOAD_ENDS_WITHIN_S)
    finally:
        subject.end_load(load)
    received = result["bytes"] / result["seconds"]
    rate = spent["bytes"] / spent["seconds"] if way == "send" else received
    if rate <= 0:
        raise Failed("nothing arrived")
    figures = {"gbit": rate * 8 / 1e9}
    for part in parts_of(subject):
        figures[part] = spent[part] / spent["seconds"] / (rate / 1e9)
    if subject.has_two_sides:
        sides = ("load", "service") if way == "send" else ("service", "load")
        figures |= {"writer": figures.pop(sides[0]), "reader": figures.pop(sides[1])}
    if connections > 1:
        mean = result["bytes"] / connections
        figures["unfair"] = (result["most"] - result["least"]) / mean / 2 if mean else 1.0
    return figures


def keep_apart(subject, load):
    first, *others = sorted(os.sched_getaffinity(0))
    for pid in subject.pids():
        os.sched_setaffinity(pid, {first})
    for pid in [subject.world.service.pid, *subject.load_pids(load)]:
        os.sched_setaffinity(pid, others or {first})


def parts_of(subject):
    """Of whose CPU time there is something to say."""
    if subject.has_two_sides:
        return ("path", "load", "service")
    return ("path", "daemon") if subject.daemon else ("path",)


class _Sample:
    """What the clocks say at one instant."""

    def __init__(self, subject, load, counter):
        service = subject.world.service.pid
        others = [pid for pid in subject.path_pids() if pid != service]
        self.now = {"seconds": time.monotonic(),
                    "bytes": subject.world.counters.read()[counter],
                    "daemon": cpu_seconds(subject.pids()),
                    "load": cpu_seconds(subject.load_pids(load)),
                    "service": cpu_seconds([service])}
        self.now["path"] = self.now["load"] + self.now["service"] + cpu_seconds(others)

    def since(self, before):
        return {what: now - before.now[what] for what, now in self.now.items()}


def trip(subject, effort, size):
    """Round trips of `size` bytes, in microseconds, and the daemon's CPU time for each."""
    before = cpu_seconds(subject.pids())
    load = subject.load("echo", "trip", size, effort.trip_ms)
    try:
        result = result_of(load, LOAD_ENDS_WITHIN_S)
    finally:
        subject.end_load(load)
    figures = {"p50": result["p50_us"], "p99": result["p99_us"]}
    if subject.daemon:
        figures["cpu"] = (cpu_seconds(subject.pids()) - before) * 1e6 / result["count"]
    return figures


def rotate(subject, effort, connections):
    """As trip, over so many connections in turn, once all of them are there."""
    if connections > effort.most_idle:
        return {}
    load = subject.load("echo", "rotate", connections, 64, effort.rotate_ms)
    try:
        line = read_line(load, IDLE_WITHIN_S)
        if line != b"ready\n":
            parse_result(line)
            raise Failed(f"the load program said {line!r}")
        before = cpu_seconds(subject.pids())
        result = result_of(load, LOAD_ENDS_WITHIN_S)
        cpu = (cpu_seconds(subject.pids()) - before) * 1e6 / result["count"]
    finally:
        subject.end_load(load)
    return {"p50": result["p50_us"], "p99": result["p99_us"], "cpu": cpu}


def beside(subject, effort):
    """Bulk on one connection beside none, many and very many that do nothing, by turns. Who shares
    a CPU with whom makes more of a difference than they do: here it is always the same."""
    most = effort.most_idle
    runs = {0: [], most // 100: [], most: []}
    for idle in (0, most // 100, most, 0, most, 0):
        with idle_connections(subject, idle):
            runs[idle].append(bulk(subject, effort, "send", 1, BESIDE_TIMES, apart=True))
    figures = {f"{name}{idle}": sum(run[name] for run in of_idle) / len(of_idle)
               for idle, of_idle in runs.items() for name in ("gbit", "daemon")}
    return figures | {"slower": 100 * (1 - figures[f"gbit{most}"] / figures["gbit0"]),
                      "dearer": 100 * (figures[f"daemon{most}"] / figures["daemon0"] - 1)}


def connect(subject, effort):
    """Connections per second, one after another, each with an echoed byte."""
    load = subject.load("echo", "connect", effort.connect_ms, effort.connects)
    try:
        result = result_of(load, LOAD_ENDS_WITHIN_S)
    finally:
        subject.end_load(load)
    return {"rate": result["count"] / result["seconds"]}


def first(subject, effort):
    """Milliseconds from the start of the daemon to the first answered connection."""
    best = None
    for _ in range(effort.firsts):
        subject.first_daemon = None
        began = time.monotonic_ns()
        process = subject.start_first()
        try:
            answered = result_of(process, LOAD_ENDS_WITHIN_S)["answered_ns"]
        finally:
            subject.world.end(process)
            if subject.first_daemon:
                subject.world.end(subject.first_daemon)
        took = (answered - began) / 1e6
        best = took if best is None else min(best, took)
    return {"ms": best}


def memory(subject, effort, count):
    """MiB of all the daemon's processes, at so many connections that do nothing."""
    if count == 0:
        return {"mib": pss_mib(subject.pids())}
    if count > effort.most_idle:
        return {}
    with idle_connections(subject, count):
        return {"mib": pss_mib(subject.pids())}


@contextmanager
def idle_connections(subject, count):
    """So many connections that do nothing, there within the `with`."""
    if count == 0:
        yield
        return
    before = subject.world.counters.read()
    load = subject.load("sink", "idle", count)
    try:
        _wait_idle(subject, load, before["accepted"] + count)
        yield
    finally:
        load.kill()
        subject.end_load(load)
    closed = before["closed"] + count
    wait_until(lambda: subject.world.counters.read()["closed"] >= closed, 20, "the closing")


def _wait_idle(subject, load, accepted):
    def there():
        if load.poll() is not None:
            raise Failed(f"idle connections: {load.stdout.read()!r}")
        return subject.world.counters.read()["accepted"] >= accepted

    wait_until(there, IDLE_WITHIN_S, "so many connections")


MANY = ("memory1000", "memory10000", "rotate10000", "beside")  # many connections at once

# What differs little from round to round is measured in the first rounds only.
ROUNDS_MOST = {"memory": 3, "memory1000": 2, "memory10000": 2}

# In this order: memory is that of a daemon that has not worked yet.
MEASURES = {
    "memory": lambda s, e: memory(s, e, 0),
    "memory1000": lambda s, e: memory(s, e, 1000),
    "memory10000": lambda s, e: memory(s, e, 10000),
    "send": lambda s, e: bulk(s, e, "send", 1),
    "receive": lambda s, e: bulk(s, e, "receive", 1),
    "send16": lambda s, e: bulk(s, e, "send", 16),
    "receive16": lambda s, e: bulk(s, e, "receive", 16),
    "trip1": lambda s, e: trip(s, e, 1),
    "trip64": lambda s, e: trip(s, e, 64),
    "connect": connect,
    "first": first,
    "rotate1": lambda s, e: rotate(s, e, 1),
    "rotate100": lambda s, e: rotate(s, e, 100),
    "rotate10000": lambda s, e: rotate(s, e, 10000),
    "beside": beside,
}
