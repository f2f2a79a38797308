# SPDX-License-Identifier: BSD-3-Clause
"""proxy=v2 (design 3.9): a PROXY protocol header leads the stream: the service knows who calls."""

import socket
import struct

import pytest

from harness.daemon import Daemon
from harness.processes import wait_until
from harness.services import peer_name, receive_all, receive_exactly
from test_rendezvous import host_client

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def read_header(connection):
    """(source, destination, {type: value}); the addresses are (IP, port), or None."""
    head = receive_exactly(connection, 16)
    assert head[:12] == SIGNATURE and head[12] == 0x21
    (length,) = struct.unpack(">H", head[14:])
    body = receive_exactly(connection, length)
    addresses = (None, None)
    if head[13] == 0x11:
        ips = [socket.inet_ntoa(body[i:i + 4]) for i in (0, 4)]
        addresses = tuple(zip(ips, struct.unpack(">HH", body[8:12])))
        body = body[12:]
    elif head[13] == 0x21:
        ips = [socket.inet_ntop(socket.AF_INET6, body[i:i + 16]) for i in (0, 16)]
        addresses = tuple(zip(ips, struct.unpack(">HH", body[32:36])))
        body = body[36:]
    else:
        assert head[13] == 0
    tlvs = {}
    while body:
        kind, size = struct.unpack(">BH", body[:3])
        tlvs[kind] = body[3:3 + size]
        body = body[3 + size:]
    return *addresses, tlvs


def test_unix_service_is_told_its_guest(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},proxy=v2,name=db", options=["--name", "vm7"])
    for number in (1, 2):
        g = guest.connect()
        g.sendall(b"first words")
        h = service.accept()
        source, destination, tlvs = read_header(h)
        assert source == g.getsockname() and destination == ("10.0.2.4", 600)
        identity = f"vmchannel/vm7/600/{number}".encode()
        assert tlvs == {0x05: identity, 0xE0: b"vm7", 0xE2: b"db"}
        assert peer_name(h) == b"\0" + identity
        assert receive_exactly(h, 11) == b"first words"
        h.sendall(b"answer")
        assert receive_exactly(g, 6) == b"answer"


def test_header_comes_before_the_guest_says_anything(guest, listen, socket_path):
    service = listen(socket_path)
    guest.start(f"600:unix:{socket_path},proxy=v2")
    with guest.connect():
        assert read_header(service.accept())[1] == ("10.0.2.4", 600)


def test_host_client_of_a_server_is_told(guest, socket_path):
    guest.start(f"600:unix:{socket_path},server=on,proxy=v2")
    gone = host_client(socket_path)
    gone.close()  # before anybody needed it
    h = host_client(socket_path)
    g = guest.connect()
    g.sendall(b"x")
    assert read_header(h)[0] == g.getsockname()
    assert receive_exactly(h, 1) == b"x"


def test_tcp_service(make_guest):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        guest = make_guest("tap").start(f"600:tcp:127.0.0.1:{port},proxy=v2")
        g = guest.connect()
        h, _ = listener.accept()
        h.settimeout(10)
        with h:
            assert read_header(h)[0] == g.getsockname()


def test_command(make_guest):
    guest = make_guest("tap").start("600:cmd:cat,proxy=v2")
    g = guest.connect()
    g.sendall(b"x")
    assert read_header(g)[0] == g.getsockname()
    assert receive_exactly(g, 1) == b"x"


@pytest.mark.parametrize("element", [
    "<interface type='vmchannel'><source port='600'/><target path='{}' proxy='v2'/></interface>",
    "<channel type='unix'><source path='{}'/>"
    "<target type='guestfwd' address='10.0.2.4' port='600' proxy='v2'/></channel>"])
@pytest.mark.parametrize("kind", ["tap", "netns"])
def test_the_uuid_of_a_domain_is_told(make_guest, listen, socket_path, directory, processes,
                                      vmchannel, kind, element):
    service = listen(socket_path)
    uuid = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
    user = (f"<domain type='kvm'><name>vm7</name><uuid>{uuid.upper()}</uuid>"
            f"<devices>{element.format(socket_path)}</devices></domain>")
    (directory / "user.xml").write_text(user)
    done = processes.run([vmchannel, "xml", directory / "user.xml"])
    assert done.returncode == 0, done.stderr
    (directory / "dom.xml").write_text(done.stdout)
    assert processes.run([vmchannel, "xml", "--reverse", directory / "dom.xml"]).stdout == user
    guest = make_guest(kind).start(options=["--xml", directory / "dom.xml"])
    guest.daemon.wait_for_log("ready")
    g = guest.connect()
    source, destination, tlvs = read_header(service.accept())
    assert source == g.getsockname() and destination == ("10.0.2.4", 600)
    assert tlvs == {0x05: b"vmchannel/vm7/600/1", 0xE0: b"vm7", 0xE1: uuid.encode()}
    g.close()


def test_guest_without_an_address(listen, socket_path, directory, processes, vmchannel):
    service = listen(socket_path)
    daemon = Daemon(processes, vmchannel, ["--link", f"hybrid,path={directory}/v.sock",
                                           "-vmchannel", f"600:unix:{socket_path},proxy=v2"])
    path = directory / "v.sock_600"
    daemon.wait_until_up(path.exists, "the listener")
    g = socket.socket(socket.AF_UNIX)
    g.connect(str(path))
    source, destination, tlvs = read_header(service.accept())
    assert source is None and destination is None
    assert tlvs == {0x05: b"vmchannel/guest/600/1", 0xE0: b"guest"}
    g.close()
    daemon.stop()


NGINX = """
daemon off; pid {d}/nginx.pid; error_log {d}/nginx.log; user root;
events {{}}
http {{
    access_log off;
    client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3;
    uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;
    server {{
        listen unix:{d}/web.sock proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_port to $proxy_protocol_server_addr";
    }}
}}
"""


def test_nginx_understands_it(make_guest, processes, directory):
    (directory / "nginx.conf").write_text(NGINX.format(d=directory))
    nginx = processes.start(["/usr/sbin/nginx", "-p", directory, "-c", directory / "nginx.conf",
                             "-e", directory / "nginx.log"])
    path = directory / "web.sock"
    wait_until(path.exists, what="nginx")
    guest = make_guest("tap").start(f"80:unix:{path},proxy=v2")
    g = guest.connect(80)
    g.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = receive_all(g).split(b"\r\n\r\n")[1].decode()
    assert answer == f"10.0.2.15 {g.getsockname()[1]} to 10.0.2.4"
    nginx.terminate()
    nginx.wait(5)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("device, part", [
    ("unix:/p,proxy", "option proxy"),
    ("unix:/p,proxy=v1", "option proxy: 'v1': unknown (accepted: proxy=v2)"),
    ("telnet::600,proxy=v2", "does not go with this device"),
    ("unix:/p,telnet=on,proxy=v2", "goes with a plain stream alone"),
    ("file:/p,proxy=v2", "does not go with this device"),
])
def test_bad_use_is_named(processes, vmchannel, device, part):
    done = processes.run([vmchannel, "serve", "--dry-run", "--link", "stream,path=/l",
                          "-vmchannel", f"600:{device}"])
    assert done.returncode == 2 and part in done.stderr
