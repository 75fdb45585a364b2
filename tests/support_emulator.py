"""Tests that need the emulated device fail in CI where its programs are missing, and are skipped with the reason elsewhere."""

import os

import pytest

from sparsemod.emulator import available

_MISSING = available()
_CI = os.environ.get("CI", "").lower() in {"1", "true"}
needs_emulator = pytest.mark.skipif(_MISSING is not None and not _CI, reason=_MISSING or "")
