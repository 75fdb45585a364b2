"""Temporary folders: removed at the end, and the next process removes leftovers of a killed one."""

import os
import subprocess
import sys
import time
from pathlib import Path

from sparsemod.data.download import PARTIAL_SECONDS, remove_partial_downloads
from sparsemod.files import scratch

KILLED = """
import os, signal, sys
from sparsemod.files import scratch
with scratch("sparsemod-x-", sys.argv[1]) as folder:
    (folder / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "sparsemod-x-unlocked").mkdir()  # may be about to be locked
    with scratch("sparsemod-x-", tmp_path) as first:
        (first / "file").write_text("whole")
        with scratch("sparsemod-x-", tmp_path) as second:
            assert first.is_dir() and second.is_dir() and first != second
            assert (first / "file").read_text() == "whole"
        assert len(list(tmp_path.iterdir())) == 2
        first.rename(tmp_path / "kept")
    assert {path.name for path in tmp_path.iterdir()} == {"sparsemod-x-unlocked", "kept"}


def test_downloads_that_broke_off_are_removed_once_they_are_old(tmp_path: Path) -> None:
    for name in (".a.bin.x.part", ".b.bin.y.part", "c.part"):
        (tmp_path / name).touch()
    old = time.time() - PARTIAL_SECONDS - 10
    os.utime(tmp_path / ".a.bin.x.part", (old, old))
    remove_partial_downloads(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".b.bin.y.part", "c.part"}
