"""The examples of docs/contributing.md's guide, which are modules outside the package: each small, each through the conformance tests."""

import os
import subprocess
import sys

import pytest
from support_docs import DOCS, EXAMPLES, ROOT

FOLDER = EXAMPLES / "plugins"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))
MEMBERS = (
    "random", "feedback_alignment", "ternary", "rmsprop", "linear", "line", "negative", "squared", "top_error", "symmetric",
)  # fmt: skip


def command(*words: str) -> str:
    """Return the output of a process that a user starts in the folder of the examples."""
    paths = os.pathsep.join(
        [str(FOLDER), str(ROOT / "tests"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, *words], cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("module", [module for module in MODULES if module != "small_methods"])
def test_every_example_is_short_and_on_the_page(module: str) -> None:
    assert len((FOLDER / f"{module}.py").read_text().splitlines()) < 60
    assert f"<!-- example: plugins/{module}.py -->" in (DOCS / "contributing.md").read_text()


@pytest.mark.long
def test_the_examples_pass_the_conformance_tests() -> None:
    plugins = [part for module in MODULES for part in ("-p", module)]
    tests = str(ROOT / "tests" / "test_methods_conformance.py")
    found = command(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"),
        *plugins, tests, "-k", " or ".join(MEMBERS),
    )  # fmt: skip
    assert int(found.strip().splitlines()[-1].split(" passed")[0]) >= 5 * len(MEMBERS)
