# SPDX-License-Identifier: BSD-3-Clause
"""The protocol of a control socket: every method, clients that are wrong, silent, gone or many."""

import json
import os
import socket
from pathlib import Path

import pytest

from harness.control import INTERFACE, Varlink
from harness.processes import wait_until


@pytest.fixture
def varlink(idle_guest, runtime):
    with Varlink(runtime / "vm1" / "control") as v:
        yield v


def test_varlink_service(varlink):
    info = varlink.call("org.varlink.service.GetInfo")
    assert info["interfaces"] == ["org.varlink.service", INTERFACE]
    assert {"vendor", "product", "version", "url"} <= set(info)
    for name in info["interfaces"]:
        text = varlink.call("org.varlink.service.GetInterfaceDescription",
                            {"interface": name})["description"]
        assert f"\ninterface {name}\n" in text or text.startswith(f"interface {name}\n")
    assert varlink.call("org.varlink.service.GetInterfaceDescription", {"interface": "a.b"}) == \
        ("org.varlink.service.InterfaceNotFound", {"interface": "a.b"})
    assert varlink.call("a.b.C") == ("org.varlink.service.InterfaceNotFound", {"interface": "a.b"})
    assert varlink.control("Bogus") == ("org.varlink.service.MethodNotFound", {"method": "Bogus"})
    for parameters, wrong in (({}, "channel"), ({"channel": 1}, "channel"),
                              ({"channel": "601:null", "x": 1}, "x")):
        assert varlink.control("Add", **parameters) == (
            "org.varlink.service.InvalidParameter", {"parameter": wrong})


def test_every_method_is_as_described(varlink):
    assert varlink.control("List") == {
        "channels": [{"port": 600, "inward": False, "device": "null"}]}
    assert varlink.control("Add", channel="601:null,name=x") == {"first": 601, "last": 601}
    assert varlink.control("List")["channels"][1] == {
        "port": 601, "inward": False, "device": "null,name=x", "name": "x"}
    assert varlink.control("Delete", port=601) == {}
    assert varlink.control("Delete", port=601) == (f"{INTERFACE}.NoSuchChannel", {"port": 601})
    info = varlink.control("Info")
    assert set(info) == {"name", "version", "pid", "worker", "link", "uptime", "restarts"}
    assert set(varlink.control("Stats")) == {"link", "channels"}


def test_calls_in_a_row_and_in_pieces(varlink):
    call = json.dumps({"method": f"{INTERFACE}.List"}).encode() + b"\0"
    varlink.send(call * 50)
    assert [varlink.hear() for _ in range(50)][49]["parameters"]["channels"][0]["port"] == 600
    for byte in call:
        varlink.send(bytes([byte]))
    assert varlink.hear()["parameters"]
    varlink.say(f"{INTERFACE}.Add", {"channel": "601:null"}, oneway=True)
    varlink.say(f"{INTERFACE}.List", {}, more=True)
    reply = varlink.hear()
    assert len(reply["parameters"]["channels"]) == 2 and not reply.get("continues")


@pytest.mark.parametrize("data", [
    b"\0", b"{}\0", b"[]\0", b"null\0", b"x" * 100 + b"\0", b'{"method": 1}\0',
    b'{"method": "a.b.C", "parameters": []}\0', b'{"method": "a\\u0000b.C"}\0',
    b'{"method": "a.b.C", "method": "a.b.C"}\0', b'{"method": "\xff.b.C"}\0',
    b"[" * 60000 + b"\0", b'{"a":' * 10000 + b"\0", b'{"method": "' + b"x" * (1 << 20) + b'"}\0',
    b"\xff" * (1 << 20),
], ids=lambda d: repr(d[:24]))
def test_no_call_ends_the_connection(varlink, idle_guest, runtime, data):
    try:
        varlink.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert varlink.ended()
    with Varlink(runtime / "vm1" / "control") as v:
        assert v.control("Info")["name"] == "vm1"


def test_nobody_is_held_up_by_the_silent(varlink, idle_guest, runtime):
    """1 000 clients that say nothing, some in the middle of a call, one that reads no reply."""
    path = str(runtime / "vm1" / "control")
    silent = []
    for i in range(1000):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(10)
        s.connect(path)
        s.send(b'{"method": "org.vmchannel' if i % 2 else b"")
        silent.append(s)
    deaf = Varlink(path)
    deaf.socket.settimeout(0.2)
    try:
        while True:
            deaf.say(f"{INTERFACE}.Stats")
    except (TimeoutError, BlockingIOError):
        pass
    with Varlink(path, timeout=5) as v:
        assert v.control("Info")["name"] == "vm1"
        assert v.control("Add", channel="601:null") == {"first": 601, "last": 601}
    descriptors = len(os.listdir(f"/proc/{idle_guest.daemon.process.pid}/fd"))
    assert descriptors < 60, "the silent are bounded"
    with idle_guest.connect(601):
        pass
    for s in silent:
        s.close()
    deaf.socket.close()


def test_client_that_leaves_before_its_reply(idle_guest, runtime):
    for i in range(50):
        with Varlink(runtime / "vm1" / "control") as v:
            v.say(f"{INTERFACE}.Add", {"channel": f"{700 + i}:null"})
    with Varlink(runtime / "vm1" / "control") as v:
        wait_until(lambda: len(v.control("List")["channels"]) == 51, what="all calls were served")


def test_descriptors_that_nobody_asked_for_are_closed(varlink, idle_guest, runtime):
    fds = Path(f"/proc/{idle_guest.daemon.process.pid}/fd")
    varlink.control("Info")
    before = len(os.listdir(fds))
    for _ in range(100):
        r, w = os.pipe()
        varlink.say(f"{INTERFACE}.Info", fds=[w])
        os.close(w)
        assert varlink.hear()["parameters"]
        assert os.read(r, 1) == b""  # nobody else holds the other end
        os.close(r)
    assert len(os.listdir(fds)) == before
    r, w = os.pipe()
    varlink.say(f"{INTERFACE}.Info", fds=[w] * 100)  # beyond the room
    os.close(w)
    assert os.read(r, 1) == b""
    os.close(r)
    assert varlink.ended()
