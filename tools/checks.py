"""The static checks of `dev.py check` and `dev.py test`: ruff, mypy, the import contracts, the documentation, the page.

This file uses only the standard library.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TYPESCRIPT = "5.9.3"
"""Version of the compiler that checks the dashboard's modules."""


def checks(venv: Path, site: Path) -> dict[str, list[str]]:
    """Return the static checks: name -> command. The `docs` check builds the documentation into the folder `site`."""
    tool = venv / "bin"
    return {
        "mypy": [str(tool / "mypy")],
        "docs": [str(tool / "mkdocs"), "build", "--strict", "--quiet", "--site-dir", str(site)],
        "ruff": [str(tool / "ruff"), "check", "--output-format", "concise", "."],
        "format": [str(tool / "ruff"), "format", "--check", "--output-format", "concise", "."],
        "imports": [str(tool / "lint-imports")],
    }


def page_check(root: Path) -> list[str] | None:
    """Return the command that type-checks the dashboard's modules.

    Print a line and return None when npm is missing or cannot get TypeScript.
    """
    npm = shutil.which("npm")
    if npm is None:
        print("page     skipped: npm is not installed", flush=True)
        return None
    tsc = [npm, "exec", "--yes", f"--package=typescript@{TYPESCRIPT}", "--", "tsc"]
    try:
        there = (
            subprocess.run([*tsc, "--version"], check=False, capture_output=True, timeout=120).returncode == 0
        )
    except subprocess.TimeoutExpired:
        there = False
    if not there:
        print("page     skipped: npm could not get TypeScript", flush=True)
        return None
    return [*tsc, "--project", str(root / "service" / "dashboard" / "jsconfig.json")]


def run_checks(root: Path, venv: Path, environment: Mapping[str, str]) -> list[str]:
    """Run the static checks of the checkout `root`, two at a time, with the environment variables `environment`.

    Print the output of failed checks and return their names.
    """

    def one(item: tuple[str, list[str]]) -> tuple[str, subprocess.CompletedProcess[str], float]:
        started = time.monotonic()
        done = subprocess.run(
            item[1],
            check=False,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return item[0], done, time.monotonic() - started

    failed = []
    page = page_check(root)
    with tempfile.TemporaryDirectory(prefix="sparsemod-docs-") as site, ThreadPoolExecutor(2) as pool:
        for name, done, seconds in pool.map(
            one, [*checks(venv, Path(site)).items(), *([("page", page)] if page else [])]
        ):
            print(f"{name:8} {'failed' if done.returncode else 'ok'} ({seconds:.1f} s)", flush=True)
            if done.returncode:
                failed.append(name)
                print(done.stdout, flush=True)
    return failed
