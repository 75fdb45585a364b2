"""Programs that tests need and that pip does not install."""

import importlib.util
import os
import shutil
import sys

import pytest


def needs(*programs: str, package: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, except in CI: there the test runs and fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    return pytest.mark.skipif(
        bool(missing) and not in_ci, reason=f"no {', '.join(missing)}: apt-get install {package}"
    )


needs_compiler = needs("cc", package="gcc")


def clang_for_arm() -> tuple[str, ...] | None:
    """Return the command of a clang for Arm cores with a C library's headers: that of the package ziglang; None without it."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-linux-musleabi")
