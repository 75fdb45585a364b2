"""A browser for the tests of the dashboard: Debian's chromium, driven by playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from service.store import Store

ASSETS = Path(__file__).parent / "assets"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
WAIT = 90_000
"""Milliseconds; a busy machine must fail no test."""


@contextmanager
def browser() -> Iterator[Any]:
    """A headless chromium. Without one, the test is skipped; in CI it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no chromium on the PATH: apt-get install chromium"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


class Watched:
    """A page that records logged errors and requests to other servers."""

    def __init__(self, context: Any, url: str) -> None:
        self.url = url
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.sizes: dict[str, int] = {}
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _console(self, message: Any) -> None:
        # Ignore the browser's messages about the network: some tests kill the server.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def open(self, address: str) -> Any:
        """Go to an address of the dashboard, "#/..."."""
        self.page.goto(f"{self.url}/{address}")
        self.page.wait_for_selector("main h1")
        return self.page

    def outside(self) -> list[str]:
        """Requests to other servers."""
        here = urlsplit(self.url).netloc
        return [
            asked
            for asked in self.asked
            if urlsplit(asked).scheme in ("http", "https") and urlsplit(asked).netloc != here
        ]


@dataclass(frozen=True)
class Seeded:
    """A server on a store that a test has filled."""

    url: str
    store: Store


def violations(page: Any) -> list[str]:
    """What axe finds wrong on the page, one line each."""
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate((ASSETS / "axe-4.14.1.min.js").read_text() + "; null")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{item['id']}: {item['help']}: "
        + "; ".join(node["html"][:160] + " | " + node["failureSummary"][:200] for node in item["nodes"][:3])
        for item in found["violations"]
    ]
