#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The codecs against peers that others wrote: python3-websockets, and Python's own telnetlib.

usage: codec_peers.py CODEC_ECHO      writes TAP; exit code 1 when a case failed
"""

import asyncio
import contextlib
import random
import socket
import subprocess
import sys
import warnings

TIMEOUT_S = 30
BROKEN, CUT = 3, 4  # exit codes of codec_echo

MISSING = []  # modules
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        import telnetlib  # until Python 3.12
    except ImportError:
        MISSING.append("telnet")
try:
    import websockets
except ImportError:
    MISSING.append("websocket")


@contextlib.contextmanager
def codec_echo(*args, ends=0):
    """A fresh codec_echo; gives its port, and checks how it ended."""
    process = subprocess.Popen([sys.argv[1], *map(str, args)], stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline())
        code = process.wait(TIMEOUT_S)
        assert code == ends, f"codec_echo: exit code {code}, wanted {ends}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def read_stream(ws, size):
    got = bytearray()
    while len(got) < size:
        got += await ws.recv()
    return bytes(got)


async def websocket_echoes():
    data = random.Random(1).randbytes(3 << 20)
    with codec_echo("websocket") as port:
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
            assert ws.subprotocol is None
            for size in (1, 125, 126, 65535, 65536, 1 << 20):
                await ws.send(data[:size])
                assert await read_stream(ws, size) == data[:size], size
            await ws.send([data[i:i + 1000] for i in range(0, 20000, 1000)])  # fragments
            assert await read_stream(ws, 20000) == data[:20000]
            await ws.send("text")
            assert await read_stream(ws, 4) == b"text"
            await asyncio.wait_for(await ws.ping(b"x" * 125), TIMEOUT_S)
        assert (ws.close_code, ws.close_reason) == (1000, "")


async def websocket_chooses_binary():
    with codec_echo("websocket") as port:
        async with websockets.connect(f"ws://127.0.0.1:{port}/any?path",
                                      subprotocols=["chat", "binary"]) as ws:
            assert ws.subprotocol == "binary"


async def websocket_refuses_base64():
    with codec_echo("websocket", ends=BROKEN) as port:
        try:
            await websockets.connect(f"ws://127.0.0.1:{port}/", subprotocols=["base64"])
            raise AssertionError("let in")
        except websockets.InvalidStatusCode as e:
            assert e.status_code == 400


async def websocket_echoes_a_close_code():
    with codec_echo("websocket") as port:
        ws = await websockets.connect(f"ws://127.0.0.1:{port}/")
        await ws.close(4321, "because")
        assert ws.close_code == 4321


async def websocket_says_goodbye():
    with codec_echo("websocket", 5) as port:
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send(b"hello")
            assert await read_stream(ws, 5) == b"hello"
            try:
                await ws.recv()
                raise AssertionError("more after the goodbye")
            except websockets.ConnectionClosedOK as e:
                assert e.rcvd.code == 1000


async def websocket_cut_is_noticed():
    with codec_echo("websocket", ends=CUT) as port:
        ws = await websockets.connect(f"ws://127.0.0.1:{port}/")
        ws.transport.abort()
        await ws.wait_closed()


async def plain_http_is_told():
    with codec_echo("websocket", ends=BROKEN) as port:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n")
            answer = s.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n"), answer


async def telnet_echoes():
    data = bytes(range(256)) * 64  # telnetlib's write doubles IAC
    asked = []
    with codec_echo("telnet") as port:
        with telnetlib.Telnet("127.0.0.1", port, TIMEOUT_S) as t:
            t.set_option_negotiation_callback(lambda s, verb, option: asked.append(verb + option))
            t.write(data + b"END")
            got = t.read_until(b"END", TIMEOUT_S)
    assert asked == [b"\xfb\x01", b"\xfb\x03", b"\xfb\x00", b"\xfd\x00"], asked
    # telnetlib drops NUL and 0x11 outside BINARY, and does not do BINARY.
    assert got == data.replace(b"\0", b"").replace(b"\x11", b"") + b"END"


CASES = [
    websocket_echoes, websocket_chooses_binary, websocket_refuses_base64,
    websocket_echoes_a_close_code, websocket_says_goodbye, websocket_cut_is_noticed,
    plain_http_is_told, telnet_echoes,
]


def main():
    failed = 0
    print(f"1..{len(CASES)}")
    for number, case in enumerate(CASES, 1):
        if case.__name__.split("_")[0] in MISSING:
            print(f"ok {number} # SKIP {case.__name__}: its Python module is missing")
            continue
        try:
            asyncio.run(asyncio.wait_for(case(), TIMEOUT_S))
            print(f"ok {number} - {case.__name__}")
        except Exception as e:  # any: it is one failed case, and the next ones still count
            failed += 1
            print(f"not ok {number} - {case.__name__}: {type(e).__name__}: {e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
