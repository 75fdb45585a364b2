"""The sample of slow tests: fixed, at least one of each function, everything in CI."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CASES = """
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("case", range(20))
def test_many(case): ...

@pytest.mark.slow
def test_one(): ...

@pytest.mark.long
def test_whole(): ...

@pytest.mark.parametrize("case", range(5))
def test_quick(case): ...
"""


def passed(folder: Path, *arguments: str) -> list[str]:
    """Run CASES with the conftest of the tests; return the tests that passed."""
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (folder / "test_cases.py").write_text(CASES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:xdist",
        "-o",
        "markers=slow: slow\nlong: long",
        *arguments,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    return [line.partition(" ")[0] for line in done.stdout.splitlines() if "PASSED" in line]


@pytest.mark.parametrize(
    ("ci", "arguments", "expected"),
    [
        ("true", [], 27),
        ("", ["--all"], 27),
        ("", ["test_cases.py::test_many"], 20),
        ("", ["-k", "many"], 3),
    ],
)
def test_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, arguments: list[str], expected: int
) -> None:
    monkeypatch.setenv("CI", ci)
    assert len(passed(tmp_path, *arguments)) == expected


@pytest.mark.long
def test_the_sample_is_fixed_and_has_a_case_of_each_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "")
    sample = passed(tmp_path)
    assert passed(tmp_path) == sample
    names = [name.partition("::")[2].partition("[")[0] for name in sample]
    assert names == ["test_many"] * 3 + ["test_one"] + ["test_quick"] * 5
