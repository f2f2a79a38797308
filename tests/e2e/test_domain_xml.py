# SPDX-License-Identifier: BSD-3-Clause
"""`vmchannel xml` on domain XML that others wrote: virt-install's for a hundred operating systems
and more command lines, and what libvirt itself makes of a domain. The schema is libvirt's own."""

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from harness import virtinst
from harness.virsh import EmbeddedVirsh

THREAD = "<interface type='vmchannel'><source port='600'/><target path='/some/path'/></interface>"
SECOND = """<interface type="vmchannel">
      <!-- for the database -->
      <target path="/run/a &amp; b,c"/>
      <source port="601"/>
      <mac address='52:54:00:c0:ff:ee'/>
      <alias name='ua-db'/>
    </interface>"""
HISTORIC = """<channel type='unix'>
      <source mode='bind' path='/tmp/guestfwd'/>
      <target type='guestfwd' address='10.0.2.4' port='602'/>
    </channel>"""
SCHEMA = "/usr/share/libvirt/schemas/domain.rng"


@pytest.fixture(scope="module")
def documents():
    found = virtinst.domains(100)
    assert len(found) >= 100
    return found


def run(vmchannel, document, *options, **kwargs):
    done = subprocess.run([vmchannel, "xml", *options], input=document, capture_output=True,
                          timeout=20, **kwargs)
    assert done.returncode == 0, (done.stderr.decode(), document.decode())
    assert done.stderr == b""
    return done.stdout


def device_ends(document):
    """Offsets behind the start tag of <devices> and behind each device."""
    body = re.search(r"<devices>(.*)</devices>", document, re.DOTALL)
    depth, ends = 0, [body.start(1)]
    for tag in re.finditer(r"<(/?)[\w:.-]+(?:[^>\"']|\"[^\"]*\"|'[^']*')*?(/?)>", body.group(1)):
        depth += 0 if tag.group(2) else -1 if tag.group(1) else 1
        if depth == 0:
            ends.append(body.start(1) + tag.end())
    return ends


def with_elements(document, number):
    """The document with our elements at places that differ from one number to the next."""
    ends = device_ends(document)
    for i, element in enumerate([THREAD, SECOND, HISTORIC][:1 + number % 3]):
        at = ends[(number * 7 + i * 3) % len(ends)]
        document = document[:at] + "\n    " + element + document[at:]
        ends = device_ends(document)
    if number % 5 == 1:
        document = document.replace("\n", "\r\n")
    if number % 5 == 2:
        document = document.replace("    ", "\t\t")
    if number % 5 == 3:
        document = re.sub(r">\s*<", "><", document)
    if number % 5 == 4:
        document = f"<?xml version='1.0' encoding='UTF-8'?>\n<!-- é -->\n{document}<!-- end -->"
    return document


@pytest.mark.timeout(120)
def test_there_and_back_on_what_others_wrote(vmchannel, documents, directory):
    paths = []
    for number, document in enumerate(documents):
        user = with_elements(document, number).encode()
        translated = run(vmchannel, user)
        assert b"'vhostuser'" in translated and translated != user
        assert run(vmchannel, translated) == translated
        assert run(vmchannel, translated, "--reverse") == user
        paths.append(Path(directory) / f"{number}.xml")
        paths[-1].write_bytes(translated)
    # What virt-xml-validate runs, once for all of them.
    done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, *paths], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["virt-xml-validate", paths[0]], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 0, done.stderr


def test_a_document_without_our_element_is_left_alone(vmchannel, documents):
    for document in documents[::10]:
        assert run(vmchannel, document.encode()) == document.encode()
        assert run(vmchannel, document.encode(), "--reverse") == document.encode()


def elements_of(text):
    """What each of our elements says, in order: libvirt may lay them out anew."""
    devices = ElementTree.fromstring(text).find("devices")
    ours = [e for e in devices if e.get("type") == "vmchannel" or
            (e.tag == "channel" and e.find("target").get("type") == "guestfwd")]
    return [(e.tag, e.attrib, [(c.tag, c.attrib) for c in e]) for e in ours]


@pytest.fixture
def virsh(session_directory):
    return EmbeddedVirsh(Path(session_directory) / "libvirt")


@pytest.mark.timeout(120)
def test_libvirt_takes_it_and_gives_it_back(vmchannel, virsh, directory):
    """Define and dump by the real libvirt: the user's elements are in their place, nothing of ours
    is left, and the same translated again is what libvirt had."""
    user = f"""<domain type='qemu'>
  <name>vmchannel-xml</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    {THREAD}
    <interface type='user'/>
    {SECOND}
    {HISTORIC}
  </devices>
</domain>
"""
    path = Path(directory) / "dom.xml"
    path.write_bytes(run(vmchannel, user.encode()))
    dumped = virsh(f"define {path} --validate", "dumpxml vmchannel-xml --inactive")
    dumped = dumped[dumped.index("<domain"):]
    back = run(vmchannel, dumped.encode(), "--reverse").decode()
    assert elements_of(back) == elements_of(user)
    for ours in ("vhostuser", "urn:vmchannel", "memoryBacking", "qemu:", "<uuid>", "<metadata>"):
        assert ours in dumped and ours not in back, ours
    assert f"\n    {'<interface type='}\"vmchannel\">\n      <source port=\"600\"/>\n" in back
    path.write_bytes(run(vmchannel, back.encode()))
    again = virsh(f"define {path} --validate", "dumpxml vmchannel-xml --inactive")
    places = re.compile(r' places="[^"]*"|\s+<address type=.pci.[^>]*>')
    assert places.sub("", again[again.index("<domain"):]) == places.sub("", dumped)


def test_serve_takes_name_link_and_channels_from_a_domain(processes, vmchannel, directory):
    path = Path(directory) / "dom.xml"
    user = f"<domain type='kvm'><name>vm7</name><devices>{THREAD}{SECOND}</devices></domain>"
    path.write_bytes(run(vmchannel, user.encode(), "--socket-dir", str(directory)))
    done = processes.run([vmchannel, "serve", "--xml", path, "--dry-run"])
    assert done.returncode == 0, done.stderr
    assert "guest:    vm7\n" in done.stdout
    assert re.search(rf"^link: +vhost-user,path={directory}/[0-9a-f-]{{36}}\.sock,server=on$",
                     done.stdout, re.MULTILINE), done.stdout
    assert "channel:  600 is unix:/some/path " in done.stdout
    assert "channel:  601 is unix:/run/a & b,,c,name=ua-db " in done.stdout


BAD = [
    # content of the first element, line, words
    ("<source port='0'/><target path='/p'/>", 3, ["0", "1 to 65535"]),
    ("<source port='70000'/><target path='/p'/>", 3, ["70000", "1 to 65535"]),
    ("<source port='601'/>\n<target path='/p'/>", 6, ["601", "line 3"]),
    ("<source port='600'/>", 3, ["600", "no path", "<target path="]),
    ("<source port='600'/>\n<target path='some/path'/>", 4, ["some/path", "absolute"]),
    ("<source port='600'/>\n\n<target path='/p'/><mac address='52:54:00:00:00:01'/>", 7,
     ["<mac>", "line 3"]),
    ("<source port='600'/><target path='/p'>", 3, ["not XML"]),
]


@pytest.mark.parametrize("content, line, words", BAD, ids=[" ".join(w) for _, _, w in BAD])
def test_bad_elements_are_refused_in_one_line(processes, vmchannel, directory, content, line,
                                              words):
    path = Path(directory) / "dom.xml"
    path.write_text("<domain type='kvm'><name>vm</name>\n<devices>\n"
                    f"<interface type='vmchannel'>{content}</interface>\n\n"
                    "<interface type='vmchannel'><source port='601'/><target path='/q'/>\n"
                    "<mac address='52:54:00:00:00:02'/></interface></devices></domain>\n")
    done = processes.run([vmchannel, "xml", path])
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    where = re.match(rf"vmchannel: {re.escape(str(path))}:(\d+): ", done.stderr)
    assert where and int(where[1]) >= line, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("argv, code, words", [
    (["xml", "a", "b"], 2, ["'b'"]),
    (["xml", "--socket-dir", "run"], 2, ["run", "absolute"]),
    (["xml", "--socket-dir", "/" + "x" * 65], 2, ["65 bytes"]),
    (["xml", "/nonexistent/dom.xml"], 1, ["/nonexistent/dom.xml", "No such file"]),
    (["xml", "/dev/null"], 1, ["/dev/null:1: not XML"]),
    (["xml", "/dev/zero"], 1, ["/dev/zero", "4194304"]),
    (["serve", "--xml", "/nonexistent/dom.xml"], 1, ["No such file"]),
], ids=lambda v: None)
def test_bad_command_lines(processes, vmchannel, argv, code, words):
    done = processes.run([vmchannel, *argv])
    assert done.returncode == code, done
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr, done.stderr


def test_the_example_of_the_docs_is_what_comes_out(vmchannel):
    text = (Path(__file__).resolve().parents[2] / "docs/libvirt.md").read_text()
    before, after = re.findall(r"```xml\n(<domain.*?</domain>\n)```", text, re.DOTALL)
    assert run(vmchannel, before.encode()).decode() == after
    assert run(vmchannel, after.encode(), "--reverse").decode() == before


def test_the_messages_of_the_docs_are_those_that_come(processes, vmchannel, directory):
    text = (Path(__file__).resolve().parents[2] / "docs/libvirt.md").read_text()
    messages = re.findall(r"^\| [^|]+ \| `dom\.xml:\d+: (.*)` \|$", text, re.MULTILINE)
    a, b = "<source port='600'/><target path='/a'/>", "<source port='601'/><target path='/b'/>"
    bad = [
        ["<source port='70000'/><target path='/some/path'/>"],
        [a, a.replace("/a", "/b")],
        ["<source port='600'/>"],
        ["<source port='600'/><target path='some/path'/>"],
        [a + "<mac address='52:54:00:00:00:01'/>", b + "<mac address='52:54:00:00:00:02'/>"],
        [a],
    ]
    assert len(messages) == len(bad)
    for message, contents in zip(messages, bad):
        private = "<access mode='private'/>" if contents == [a] else ""
        elements = "".join(f"<interface type='vmchannel'>{c}</interface>" for c in contents)
        path = Path(directory) / "dom.xml"
        path.write_text("<domain type='kvm'><name>d</name><memoryBacking>" + private +
                        f"</memoryBacking>\n<devices>\n{elements}\n</devices></domain>")
        told = processes.run([vmchannel, "xml", path]).stderr
        assert re.sub(r"^vmchannel: \S+:\d+: ", "", told).strip() == message
