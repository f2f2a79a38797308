# SPDX-License-Identifier: BSD-3-Clause
"""The fixtures of the end-to-end tests."""

import importlib.util
import sys
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent / "e2e"
sys.path.insert(0, str(E2E))
spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e_conftest)
globals().update({name: value for name, value in vars(e2e_conftest).items()
                  if not name.startswith("__")})
