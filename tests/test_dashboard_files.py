"""The files of the dashboard: vendored files as published, small modules, no requests to other servers."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.http.app import create_app
from service.http.routes.overview import DASHBOARD
from service.settings import Settings
from sparsemod.units import CHOICES, METRICS

VENDOR = DASHBOARD / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())
FILES = {item["file"]: item["sha256"] for package in MANIFEST["packages"] for item in package["files"]}
OURS = sorted(path for path in DASHBOARD.rglob("*.js") if VENDOR not in path.parents)
IMPORT = re.compile(r"""(?:from\s+|import\s*\(\s*|import\s+)["']([^"']+)["']""")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data_dir=tmp_path))) as client:
        yield client


@pytest.mark.parametrize("name", sorted(FILES))
def test_vendored_files_are_those_that_were_published(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == FILES[name]


def test_nothing_is_vendored_without_digest_and_licence() -> None:
    assert {p.name for p in VENDOR.iterdir() if p.suffix in (".mjs", ".js", ".css")} == set(FILES)
    for package in MANIFEST["packages"]:
        assert len((VENDOR / package["licence_file"]).read_text()) > 500, package["package"]
        assert package["integrity"].startswith("sha512-")
        assert all(package["version"] in item["file"] for item in package["files"])


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(DASHBOARD)))
def test_modules_are_small_and_import_existing_files(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < 400
    assert text.startswith("// "), "its first line says what it is for"
    mapped = set(
        json.loads(
            re.findall(r'importmap">(.*?)</script>', (DASHBOARD / "index.html").read_text(), re.DOTALL)[0]
        )["imports"]
    )
    for name in IMPORT.findall(text):
        if "${" in name:
            continue
        if name.startswith("."):
            assert (path.parent / name).resolve().is_file(), f"{name} is not there"
        else:
            assert name in mapped, f"{name} is not in the import map"


@pytest.mark.parametrize(
    "path", [*OURS, DASHBOARD / "index.html", *DASHBOARD.glob("style/*.css")], ids=lambda path: path.name
)
def test_nothing_comes_from_another_server(path: Path) -> None:
    found = [url for url in re.findall(r"https?://[^\s\"'`<>]+", path.read_text()) if "www.w3.org" not in url]
    assert found == []


def test_the_page_has_a_content_security_policy(http: TestClient) -> None:
    answer = http.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    for name in re.findall(r'"\.(/dashboard/[^"]+)"', answer.text):
        assert http.get(name).status_code == 200, name


def test_files_are_compressed_and_cached(http: TestClient) -> None:
    name = "/dashboard/vendor/echarts-6.1.0.mjs"
    packed = http.get(name, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]
    assert packed.content == http.get(name, headers={"accept-encoding": "identity"}).content
    ours = http.get("/dashboard/app.js")
    assert ours.headers["content-type"].startswith("text/javascript")
    assert ours.headers["cache-control"] == "no-cache"
    assert http.get("/dashboard/app.js", headers={"if-none-match": ours.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "../app.py",
        "%2e%2e/app.py",
        "vendor/manifest.json",
        "..%2f..%2fpyproject.toml",
        "jsconfig.json",
    ],
)
def test_only_the_pages_own_files_are_served(http: TestClient, name: str) -> None:
    assert http.get(f"/dashboard/{name}").status_code == 404


def imported_by(name: str) -> set[str]:
    """Return the modules that a module loads statically, itself included: names within the dashboard's
    folder."""
    libraries = dict(
        re.findall(
            r'"([^"]+)": "\./dashboard/([^"]+)"', (DASHBOARD / "index.html").read_text(encoding="utf-8")
        )
    )
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = DASHBOARD / module
        begin = "" if module.startswith("vendor/") else "^"  # those are one line
        pattern = rf"""{begin}(?:import|export)\b[^;"'`]*?(?:from\s*)?["']([^"']+)["']"""
        for wanted in re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE):
            if wanted.startswith("."):
                waiting.append(str((path.parent / wanted).resolve().relative_to(DASHBOARD)))
            elif wanted in libraries:
                waiting.append(libraries[wanted])
    return seen


def test_the_first_load_is_small() -> None:
    """The files that the list of experiments needs: everything that is not imported dynamically."""
    seen = imported_by("app.js")
    assert not any("chart" in name or "echarts" in name or "uplot" in name for name in seen), (
        "charts come when they are wanted"
    )
    page = [
        "index.html",
        "early.js",
        *(str(path.relative_to(DASHBOARD)) for path in DASHBOARD.rglob("*.css")),
    ]
    total = sum(len(gzip.compress((DASHBOARD / name).read_bytes(), 6)) for name in [*seen, *page])
    assert total < 60_000


def test_modules_that_are_begun_early_are_those_that_are_imported() -> None:
    text = (DASHBOARD / "early.js").read_text(encoding="utf-8")
    lists = [
        re.findall(r'"([^"]+)"', text.partition(f"const {name} = [")[2].partition("]")[0])
        for name in ("page", "experiment")
    ]
    page = imported_by("app.js")
    assert sorted(lists[0]) == sorted(page - {"app.js"})
    assert sorted(lists[1]) == sorted(imported_by("views/experiment.js") - page)


def test_the_form_offers_all_objectives() -> None:
    text = (DASHBOARD / "views" / "create.js").read_text()
    offered = re.findall(r'"(\w+)"', text.partition("const OBJECTIVES = [")[2].partition("]")[0])
    # "error" means the metric of the spec's task, whatever its name.
    assert offered == [name for name in CHOICES if name == "error" or not METRICS[name].trained]
