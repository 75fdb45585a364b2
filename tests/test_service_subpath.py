"""A reverse proxy serves the page under a sub-path, which it strips: the page loads, with its data and links."""

import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from support_dashboard import browser
from support_store import fill, spec

from service.client.client import Client
from service.http.app import create_app
from service.http.feed import LONGEST_SECONDS
from service.processes.supervisor import free_port
from service.schemas.logins import Scope
from service.settings import Settings
from service.store import Store

ROOT = "/lab/sparsemod"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[str, Store]]:
    """The address behind the proxy, and the store."""
    store = Store.open(Settings(data_dir=tmp_path).url)
    fill(store, store.create_experiment(spec(name="behind")).id, 2)
    port = free_port()
    app = create_app(Settings(data_dir=tmp_path), store=store)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", root_path=ROOT))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)

    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not self.path.startswith(f"{ROOT}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {
                name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"
            }
            url = f"http://127.0.0.1:{port}{self.path.removeprefix(ROOT)}"
            with httpx2.stream(self.command, url, headers=headers, content=body, timeout=60) as found:
                self.send_response(found.status_code)
                for name, value in found.headers.multi_items():
                    if name not in ("transfer-encoding", "content-length", "connection", "content-encoding"):
                        self.send_header(name, value)
                self.send_header("connection", "close")
                self.end_headers()
                for piece in found.iter_bytes():
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = answer

        def log_message(self, *_: Any) -> None: ...

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}{ROOT}", store
    proxy.shutdown()
    proxy.server_close()
    app.state.feed.end()
    server.should_exit = True
    thread.join(timeout=20)
    store.close()


def test_requests_and_addresses(proxied: tuple[str, Store]) -> None:
    url, store = proxied
    with Client(url) as client:
        assert client.experiment(1).name == "behind" and client.health().status == "ok"
        digest = client.upload(b"content")
        assert client.upload(b"content") == digest
    made = httpx2.post(f"{url}/experiments", json={"spec": spec().to_dict()})
    assert made.status_code == 201 and made.headers["location"] == f"{ROOT}/experiments/2"
    assert httpx2.get(f"{url}/experiments/%32").status_code == 404
    assert httpx2.get(f"{url}/openapi.json").json()["servers"] == [{"url": ROOT}]
    secret, _ = store.create_token("ada", [Scope.WRITE])
    assert f"Path={ROOT};" in httpx2.post(f"{url}/login", json={"token": secret}).headers["set-cookie"] + ";"


@pytest.mark.long
def test_the_page(proxied: tuple[str, Store]) -> None:
    url, _ = proxied
    with browser() as running:
        page = running.new_page()
        missing: list[str] = []
        page.on("console", lambda said: print(said.text))
        page.on("pageerror", lambda said: print(said))
        page.on("response", lambda found: missing.append(found.url) if found.status >= 400 else None)
        page.goto(f"{url}/#/")
        page.get_by_role("link", name="behind").click(timeout=20_000)
        page.locator("[data-trials='2']").wait_for()
        assert page.get_by_text("CSV of all").evaluate("a => a.href").startswith(f"{url}/experiments/1/")
        page.goto(f"{url}/docs")
        page.get_by_text("/experiments/check").first.wait_for()
        assert missing == []


def test_no_address_of_the_page_begins_at_the_root() -> None:
    folder = Path("service/dashboard").absolute()
    for file in [
        *folder.rglob("*.js"),
        folder / "index.html",
        folder.parent / "http" / "static" / "api.html",
    ]:
        if "vendor" not in file.parts:
            found = re.findall(
                r"""(?:href|src)=(?:["']|\$\{`)/[a-z][^"'`]*|fetch\(["'`]/[^)]*""", file.read_text()
            )
            assert not found, (file, found)


def test_the_proxies_of_the_documentation_take_the_path_off_and_let_uploads_through() -> None:
    text = Path("docs/service.md").read_text()
    (nginx,) = re.findall(r"^```nginx\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (caddy,) = re.findall(r"^```caddy\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in (nginx, caddy):
        assert block.count("{") == block.count("}")
    # nginx strips the location's path only if proxy_pass has a path.
    assert "location /sparsemod/ {" in nginx and "proxy_pass http://127.0.0.1:8080/;" in nginx
    assert "handle_path /sparsemod/* {" in caddy
    most = Settings.model_fields["max_artifact_bytes"].default // 1024**2
    assert f"client_max_body_size {most}m;" in nginx and f"max_size {most}MiB" in caddy
    assert int(re.findall(r"proxy_read_timeout (\d+)s", nginx)[0]) > LONGEST_SECONDS
