#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A service on the host: nothing but a Unix socket. usage: host_program.py PATH"""
import socket
import sys

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening on", sys.argv[1], flush=True)

while True:
    connection, _ = listener.accept()
    print("accepted a connection", flush=True)
    with connection, connection.makefile("rw") as guest:
        for line in guest:
            print("it says:", line.strip(), flush=True)
            print("welcome, I read:", line.strip(), file=guest, flush=True)
    print("it closed the connection", flush=True)
