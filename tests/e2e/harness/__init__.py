# SPDX-License-Identifier: BSD-3-Clause
"""What the end-to-end tests stand on: processes, namespaces, guests, host services. Tests import
the names they need from the modules here; pytest's fixtures are in conftest.py."""
