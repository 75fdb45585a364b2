"""Programs that tests need and that pip does not install."""

import os
import shutil

import pytest


def needs(*programs: str, package: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, except in CI: there the test runs and fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    return pytest.mark.skipif(
        bool(missing) and not in_ci, reason=f"no {', '.join(missing)}: apt-get install {package}"
    )


needs_compiler = needs("cc", package="gcc")
