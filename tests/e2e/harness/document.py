# SPDX-License-Identifier: BSD-3-Clause
"""docs/hypervisors.md as the tests read it: a section for each hypervisor, in it fenced blocks that
have a role behind their language ("```sh vmchannel"). Runs nothing."""

import re
import shlex
from dataclasses import dataclass, field

from harness.programs import ROOT

DOCUMENT = ROOT / "docs/hypervisors.md"
NOT_RUN = "**From its documentation, not run"
TESTED = "**Tested.**"
REST = "..."  # in a command: what the document leaves to the reader


@dataclass
class Section:
    title: str
    text: str = ""
    blocks: list = field(default_factory=list)  # (role, text)

    @property
    def is_tested(self) -> bool:
        return TESTED in self.text

    def texts(self, role) -> list[str]:
        return [text for r, text in self.blocks if r == role]

    def text_of(self, role) -> str:
        [text] = self.texts(role)
        return text


def sections() -> dict[str, Section]:
    found, section, role = {}, None, None
    for line in DOCUMENT.read_text().splitlines():
        fence = re.match(r"```(\w*) ?(\w*)$", line)
        if role is None and (heading := re.match(r"## (.+)", line)):
            section = found[heading[1]] = Section(heading[1])
        elif section is None:
            continue
        elif fence and role is None:
            role, block = fence[2], []
        elif fence:
            section.blocks.append((role, "\n".join(block) + "\n"))
            role = None
        elif role is not None:
            block.append(line)
        else:
            section.text += line + "\n"
    return found


def table_states() -> dict[str, str]:
    """The table at the top: title -> "tested" or "not run"."""
    return dict(re.findall(r"^\| \[(.+?)\]\(#.+?\) \| .+? \| (.+?) \|$", DOCUMENT.read_text(),
                           re.MULTILINE))


def command(text, rest=()) -> list[str]:
    """The only command of a block as arguments, with `rest` in place of "..."."""
    argv = []
    for word in shlex.split(text.replace("\\\n", "")):
        argv += rest if word == REST else [word]
    return [str(a) for a in argv]
