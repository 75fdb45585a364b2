"""Uploads are data: weights as safetensors, arrays without objects, nothing pickled, and names that are no paths."""

import hashlib
import io
import json
import pickle
import struct
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of
from support_store import completed, fill, spec
from support_stream import served

from service.client.client import Client
from service.errors import TooLarge
from service.files.upload_checks import check_arrays, check_artifact, check_safetensors, refuse_pickled
from service.http.app import create_app
from service.http.early_answer import LINGER_SECONDS
from service.schemas.logins import Scope
from service.settings import Settings
from sparsemod.errors import InvalidInput
from sparsemod.files import chunks, digest_of
from sparsemod.records import Artifact

WEIGHTS = save(
    {"layer.weight": np.ones((3, 2), dtype=np.float32), "layer.bias": np.zeros(3, dtype=np.float32)}
)


def archive(**members: bytes) -> bytes:
    return packed(zipfile.ZIP_STORED, members)


def packed(how: int, members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return out.getvalue()


def array(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values), allow_pickle=True)
    return out.getvalue()


PICKLES = [pickle.dumps({"w": [1.0]}, protocol) for protocol in (2, 3, 4, 5)]
TORCH = archive(archive_data__pkl=PICKLES[0])
OBJECTS = [array([{"w": 1}]), archive(w__npy=array([{"w": 1}]))]
RENAMED = [archive(w__bin=PICKLES[0]), archive(w=PICKLES[3]), archive(w__txt=array([{"w": 1}]))]


def saved_by_torch() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, out)
    return out.getvalue()


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with open_app(tmp_path, max_artifact_bytes=5_000) as client:
        yield client


def put(http: TestClient, content: bytes) -> Any:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return http.put(f"/artifacts/{digest}", content=content)


@pytest.mark.parametrize("content", [*PICKLES, TORCH, saved_by_torch(), *OBJECTS, *RENAMED])
def test_pickled_data_are_not_taken(http: TestClient, tmp_path: Path, content: bytes) -> None:
    answer = put(http, content)
    assert answer.status_code == 422 and "safetensors" in answer.json()["error"]["allowed"]
    assert [p for p in (tmp_path / "artifacts").rglob("*") if p.is_file()] == []


def long_list(members: int, *, very: bool) -> bytes:
    """An archive whose header claims so many members; with `very`, in the format for very many."""
    member = b"PK\1\2" + struct.pack("<6H3L5H2L", *(20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + b"a"
    listed, first = member * members, b"PK\3\4" + bytes(26)
    large = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, members, members, len(listed), len(first))
    where = b"PK\6\7" + struct.pack("<LQL", 0, len(first) + len(listed), 1)
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    if very:
        return first + listed + large + where + end
    return (
        first + listed + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, members, members, len(listed), len(first), 0)
    )


def test_an_archive_with_a_very_long_list_is_not_opened(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        for content in (
            long_list(20, very=True),
            long_list(50_000, very=True),
            long_list(50_000, very=False),
        ):
            answer = put(http, content)
            refused = answer.json()["error"]["value"]
            assert answer.status_code == 422 and ("list of members" in refused or "ZIP64" in refused)
        assert put(http, long_list(20, very=False)).status_code == 200


def test_objects_in_an_archive_of_arrays_are_found_once_more(tmp_path: Path) -> None:
    """Files that were stored earlier are checked again when a result names them."""
    path = tmp_path / "network"
    path.write_bytes(OBJECTS[1])
    with pytest.raises(InvalidInput, match="holds pickled objects"):
        check_arrays(path, "digest")


def test_a_damaged_archive_does_not_crash(http: TestClient) -> None:
    broken = bytearray(archive(w__npy=b"x" * 100))
    broken[broken.rindex(b"PK\1\2")] = 0
    answer = put(http, bytes(broken))
    assert answer.status_code == 422 and answer.json()["error"]["value"] == "'a damaged archive'"


def test_archives_that_unpack_to_huge_files_are_rejected(tmp_path: Path) -> None:
    content = {"header.json": b"{}", "w.npy": array(np.zeros(3_000_000, dtype=np.int8))}
    path = tmp_path / "bomb"
    path.write_bytes(packed(zipfile.ZIP_DEFLATED, content))
    with pytest.raises(InvalidInput, match="that unpack to 3000") as found:
        check_arrays(path, "digest")
    assert found.value.field == "digest"


def test_a_header_that_fills_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "header"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 9 * 1024**2))
        file.truncate(10 * 1024**2)
    with pytest.raises(InvalidInput, match="header of 9437184 bytes"):
        check_safetensors(path, "digest")


def test_a_safetensors_file_that_looks_like_a_pickle_is_taken(tmp_path: Path) -> None:
    for length in (
        0x280,
        0x380,
        0x480,
        0x580,
    ):  # headers of these lengths begin like a pickle of protocol 2 to 5
        header = json.dumps({"__metadata__": {"x": ""}}).encode()
        header += b" " * (length - len(header))
        path = tmp_path / "file"
        path.write_bytes(struct.pack("<Q", length) + header)
        assert path.read_bytes()[0] == 0x80
        refuse_pickled(path)
        check_safetensors(path, "digest")


def test_the_error_of_a_large_file_names_the_setting(http: TestClient) -> None:
    found = put(http, b"x" * 6_000)
    assert found.status_code == 413 and "SPARSEMOD_MAX_ARTIFACT_BYTES" in found.json()["error"]["allowed"]
    found = http.post("/attempts/1/finish", content=b" " * 9_000_000)
    assert found.status_code == 413 and "SPARSEMOD_MAX_REQUEST_BYTES" in found.json()["error"]["allowed"]


def test_the_client_gets_the_reason_for_a_rejected_file(tmp_path: Path) -> None:
    """Over a socket, while it is still sending: in the announced case and in the other one."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(20_000_000)
    app = create_app(Settings(data_dir=tmp_path, max_artifact_bytes=100_000, max_request_bytes=100_000))
    secret, _ = app.state.store.create_token("me", [Scope.WORKER])
    reader, _ = app.state.store.create_token("me", [Scope.READ])
    with served(app) as url, httpx2.Client(trust_env=False, timeout=60) as plain:
        began = time.monotonic()
        with (
            pytest.raises(TooLarge, match="SPARSEMOD_MAX_ARTIFACT_BYTES"),
            Client(url, token=secret) as client,
        ):
            client.upload(large)
        for token, path, status in (
            (secret, f"/artifacts/{digest_of(large)}", 413),
            (reader, f"/artifacts/{digest_of(large)}", 403),
            (secret, "/claims", 413),
        ):
            method = "PUT" if path.startswith("/artifacts") else "POST"
            # Send chunks without a length; first only the last chunk is too large, then the whole body.
            for pieces in ([bytes(90_000), bytes(20_000)], chunks(large)):
                answer = plain.request(method, url + path, content=iter(pieces), headers=bearer(token))
                assert answer.status_code == status and answer.json()["error"]["message"], (path, answer.text)
        assert plain.get(f"{url}/experiments").status_code == 401
        assert time.monotonic() - began < 20 * LINGER_SECONDS


BAD = [
    ("weights", b"just bytes", "w.safetensors", "digest"),
    ("weights", WEIGHTS[:-1], "w.safetensors", "digest"),
    ("weights", struct.pack("<Q", 1 << 40) + b"{}", "w.safetensors", "digest"),
    ("weights", struct.pack("<Q", 4) + b"[{}]", "w.safetensors", "digest"),
    ("weights", archive(w__npy=array([1.0])), "w.safetensors", "digest"),
    ("network", b"just bytes", "n.npz", "digest"),
    ("network", archive(w__npy=b"no array"), "n.npz", "digest"),
    ("network", archive(run__py=b"import os"), "n.npz", "digest"),
    ("network", packed(zipfile.ZIP_LZMA, {"w.npy": array([1.0])}), "n.npz", "digest"),
    ("weights", WEIGHTS, "../w.safetensors", "name"),
    ("weights", WEIGHTS, "/etc/passwd", "name"),
    ("weights", WEIGHTS, "..", "name"),
    ("weights", WEIGHTS, ".hidden", "name"),
    ("weights", WEIGHTS, "a\\b", "name"),
    ("weights", WEIGHTS, "a\nb", "name"),
    ("weights", WEIGHTS, "", "name"),
    ("weights", WEIGHTS, "x" * 101, "name"),
]


@pytest.mark.parametrize(("kind", "content", "name", "field"), BAD, ids=range(len(BAD)))
def test_a_result_with_a_file_of_another_format(
    http: TestClient, kind: str, content: bytes, name: str, field: str
) -> None:
    store = store_of(http)
    fill(store, store.create_experiment(spec()).id, 1)
    claim = http.post("/claims", json={"worker": "w"}).json()
    assert put(http, content).status_code == 200
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    file = Artifact(kind=kind, digest=digest, size=len(content), name=name)
    body = {"token": claim["token"], "result": completed(artifacts=(file,)).model_dump(mode="json")}
    answer = http.post(f"/attempts/{claim['attempt']}/finish", json=body)
    assert answer.status_code == 422 and answer.json()["error"]["field"] == f"result.artifacts.0.{field}"
    assert store.experiment(1).counts["running"] == 1  # type: ignore[index]
    if kind == "weights" and field == "digest":
        body = {"token": claim["token"], "digest": digest}
        assert http.post(f"/attempts/{claim['attempt']}/checkpoint", json=body).status_code == 422


def test_good_files_are_taken(http: TestClient) -> None:
    store = store_of(http)
    fill(store, store.create_experiment(spec()).id, 1)
    claim = http.post("/claims", json={"worker": "w"}).json()
    network = archive(header__json=b"{}", w__npy=array([1, 2]))
    files = []
    for kind, content, name in (("weights", WEIGHTS, "weights.safetensors"), ("network", network, "network.npz"), ("log", b"text", "log.txt")):  # fmt: skip
        digest = put(http, content).json()["digest"]
        files.append(Artifact(kind=kind, digest=digest, size=len(content), name=name))
    beat = {"token": claim["token"], "digest": files[0].digest}
    assert http.post(f"/attempts/{claim['attempt']}/checkpoint", json=beat).status_code == 204
    body = {"token": claim["token"], "result": completed(artifacts=tuple(files)).model_dump(mode="json")}
    assert http.post(f"/attempts/{claim['attempt']}/finish", json=body).status_code == 200
    # It never changes; but no cache between may hand it out to people without a login.
    kept = http.get(f"/artifacts/{files[0].digest}").headers
    assert kept["cache-control"] == "private, max-age=31536000, immutable"
    assert kept["content-disposition"] == "attachment" and kept["x-content-type-options"] == "nosniff"


@given(st.binary(max_size=200), st.integers(0, 200), st.binary(max_size=4))
def test_damaged_files_never_crash_the_check(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, patch: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    network = archive(header__json=b"{}", w__npy=array([1, 2]))
    for good in (WEIGHTS, network):
        for content in (noise, good[:at] + patch + good[at + len(patch) :]):
            path.write_bytes(content)
            for check in (check_safetensors, check_arrays):
                try:
                    check(path, "digest")
                except InvalidInput as error:
                    assert error.field == "digest"


def test_a_file_that_was_never_uploaded_is_somebody_elses_complaint(tmp_path: Path) -> None:
    file = Artifact(kind="weights", digest="sha256:" + "0" * 64, size=1, name="w")
    check_artifact(file, tmp_path / "nowhere", "result.artifacts.0")
