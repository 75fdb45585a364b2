"""Downloads: digests are checked, files are written completely or not at all, and errors describe the manual
steps."""

import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsemod.data.download import RemoteFile, fetch
from sparsemod.errors import DataMissing, DigestMismatch

CONTENT = b"some data" * 1000
PACKED = gzip.compress(CONTENT)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves good, damaged and cut files, and 404 for the rest."""

    def do_GET(self) -> None:
        body = {
            "good.bin": CONTENT,
            "good.gz": PACKED,
            "bad.bin": b"x" + CONTENT[1:],
            "bad.gz": b"no gzip",
            "cut.bin": CONTENT[:100],
        }.get(self.path.rpartition("/")[2])
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) if "cut" in self.path else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SPARSEMOD_DATA_MIRROR",
        "SPARSEMOD_OFFLINE",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)


def remote(name: str, base: str, digest: str = MD5) -> RemoteFile:
    return RemoteFile(name, (f"{base}/{name}",), digest, unpacked=name.endswith(".gz"))


def test_good_files_arrive_and_are_not_downloaded_again(server: str, tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder"
    paths = fetch("things", [remote("good.bin", server, SHA), remote("good.gz", server)], place)
    assert [path.read_bytes() for path in paths] == [CONTENT, PACKED]
    assert sorted(p.name for p in place.iterdir()) == ["good.bin", "good.gz"]
    assert fetch("things", [RemoteFile("good.bin", (), MD5)], place) == [place / "good.bin"]


@pytest.mark.parametrize("name", ["bad.bin", "bad.gz"])
def test_a_damaged_file_is_not_kept(server: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(DigestMismatch, match=f"{name} from http"):
        fetch("things", [remote(name, server)], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["absent.bin", "cut.bin"])
def test_a_failed_download_names_file_and_reasons(server: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataMissing) as caught:
        fetch("things", [remote("good.bin", server), remote(name, server)], tmp_path)
    assert caught.value.files == (name,) and caught.value.place == str(tmp_path)
    assert ("404" if "absent" in name else "100 of 9000 bytes") in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["good.bin"]


def test_the_next_address_is_tried(server: str, tmp_path: Path) -> None:
    file = RemoteFile("good.bin", (f"{server}/absent.bin", f"{server}/good.bin"), MD5)
    assert fetch("things", [file], tmp_path)[0].read_bytes() == CONTENT


def test_a_refused_connection_is_a_missing_dataset(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(DataMissing, match="could not be downloaded") as caught:
            fetch("things", [remote("good.bin", base)], tmp_path / "nowhere", timeout=2)
    assert not (tmp_path / "nowhere").exists(), "no folder for nothing"
    assert f"{base}/good.bin" in str(caught.value) and "SPARSEMOD_DATA" in str(caught.value)


def test_a_mirror_comes_first(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_DATA_MIRROR", f"{server}/mirror/")
    assert fetch("things", [RemoteFile("good.bin", (), MD5)], tmp_path)[0].read_bytes() == CONTENT


def test_offline_sends_no_request(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEMOD_OFFLINE", "1")
    with pytest.raises(DataMissing, match="downloads are off"):
        fetch("things", [remote("good.bin", server)], tmp_path)
