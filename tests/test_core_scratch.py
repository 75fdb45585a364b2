"""Temporary folders and files written atomically: nothing is left over and nothing is half written."""

import errno
import gzip
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsemod.data.download import PARTIAL_SECONDS, remove_partial_downloads
from sparsemod.errors import InvalidInput
from sparsemod.files import (
    NewFile,
    append_durably,
    digest_of,
    fingerprint,
    pieces_of,
    scratch,
    stream_digest,
    write_atomically,
)

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


CONTENT = os.urandom(3 << 20)
EXPECTED = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def test_a_digest_is_the_same_by_every_way(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(CONTENT)
    packed.write_bytes(gzip.compress(CONTENT, 1))
    with gzip.open(packed) as unpacked:
        assert stream_digest(pieces_of(unpacked)) == EXPECTED
    with NewFile(tmp_path / "new") as new:
        new.write(CONTENT[:1000])
        new.write(CONTENT[1000:])
        assert (new.digest, new.size) == (EXPECTED, len(CONTENT))
    assert digest_of(CONTENT) == digest_of(plain) == f"sha256:{fingerprint(CONTENT)}" == EXPECTED
    assert fingerprint("é") == fingerprint("é".encode())
    assert (
        stream_digest([b"a", b"b"], "md5") == f"md5:{hashlib.md5(b'ab', usedforsecurity=False).hexdigest()}"
    )
    with pytest.raises(InvalidInput, match="a file that can be read"):
        digest_of(tmp_path / "missing")


def test_a_new_file_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"first")
    assert target.stat().st_mode & 0o777 == 0o644
    with pytest.raises(KeyError), NewFile(target, suffix=".part") as file:
        file.write(b"half")
        assert file.temporary.name.startswith(".file.") and file.temporary.suffix == ".part"
        assert target.read_bytes() == b"first"
        raise KeyError
    with NewFile(target) as forgotten:
        forgotten.write(b"not placed")
    with NewFile(target, mode=0o600) as file:
        file.write(b"second")
        file.sync()
        file.place()
    assert target.read_bytes() == b"second" and target.stat().st_mode & 0o777 == 0o600
    append_durably(target, b" and third")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sparsemod.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        append_durably(target, b" and half")
    assert target.read_bytes() == b"second and third"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
