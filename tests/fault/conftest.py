# SPDX-License-Identifier: BSD-3-Clause
"""The fixtures of the end-to-end tests, and the program whose calls fail on request."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

E2E = Path(__file__).resolve().parent.parent / "e2e"
sys.path.insert(0, str(E2E))
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e_conftest)
globals().update({name: value for name, value in vars(e2e_conftest).items()
                  if not name.startswith("__")})

from plan import Page, read_calls  # noqa: E402

TOTAL = {"injected": 0, "distinct": 0, "slow": 0}


@pytest.fixture(scope="session")
def vmchannel():
    path = Path(os.environ["VMCHANNEL_WITH_FAULTS"]).resolve()
    assert path.is_file()
    return path


@pytest.fixture(scope="session")
def calls(vmchannel):
    return read_calls(vmchannel)


@pytest.fixture
def page(directory, monkeypatch):
    page = Page(directory / "faults")
    monkeypatch.setenv("VMCHANNEL_FAULTS", str(page.path))
    yield page
    page.close()


@pytest.fixture(scope="session")
def total():
    return TOTAL


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(
        f"{TOTAL['distinct']} distinct faults survived, {TOTAL['injected']} calls made to fail; "
        f"after {TOTAL['slow']} of them the next connection took over 1 s")


def pytest_sessionfinish(session):
    """A whole run that injects hardly anything has lost its way."""
    whole = not session.config.getoption("keyword")
    if whole and session.testscollected > 5 and TOTAL["distinct"] < 1000:
        session.exitstatus = 1


