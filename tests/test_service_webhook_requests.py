"""Requests to webhooks: signatures, answers that fail, slow receivers, addresses that are refused."""

import contextlib
import hashlib
import hmac
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support_auth import open_app
from support_docs import DOCS, blocks
from support_receiver import Receiver, receiving

from service.files import webhook_request
from service.files.webhook_request import DeliveryFailed, check_url, is_public, post, signature
from sparsemod.errors import InvalidInput


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_request_is_signed(receiver: Receiver) -> None:
    body = {"event": "ping", "é": "ü"}
    assert post(f"{receiver.url}/hook?a=1", "secret", "ping", 7, body, private=True) == 204
    ((path, headers, content),) = receiver.requests
    assert path == "/hook?a=1" and json.loads(content) == body and headers["Sparsemod-Delivery"] == "7"
    seconds, _, found = headers["Sparsemod-Signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(b"secret", f"{seconds}.".encode() + content, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(found, expected)
    names: dict[str, Any] = {}
    (example,) = blocks("python", (DOCS / "operations.md",))
    exec(example.text, names)  # noqa: S102
    assert names["genuine"]("secret", headers["Sparsemod-Signature"], content)
    assert not names["genuine"]("secret", headers["Sparsemod-Signature"], content + b" ")
    assert not names["genuine"]("secret", signature("secret", content, 1), content)  # too old
    assert signature("other", content, int(seconds)) != headers["Sparsemod-Signature"]


def test_redirects_are_not_followed_and_other_answers_fail(receiver: Receiver) -> None:
    receiver.answers = [302, 307, 500, 404]
    for status in (302, 307, 500, 404):
        with pytest.raises(DeliveryFailed, match=f"answered {status}") as failed:
            post(receiver.url, "secret", "ping", 1, {}, private=True)
        assert failed.value.status == status
    assert [path for path, _, _ in receiver.requests] == ["/"] * 4


def test_a_receiver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_request, "WHOLE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DeliveryFailed):
            post(url, "secret", "ping", 1, {}, private=True)
    with pytest.raises(DeliveryFailed, match="no connection to"):
        post(url, "secret", "ping", 1, {}, private=True)


def test_a_receiver_that_answers_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte arrives in time, the end of the head never does."""
    monkeypatch.setattr(webhook_request, "WHOLE_SECONDS", 0.5)

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(600):  # a minute, much longer than the limit
                connection.sendall(b"x")
                time.sleep(0.1)
            connection.sendall(b"\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.5 s"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}", "secret", "ping", 1, {}, private=True)


PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.1.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::",
    "64:ff9b::7f00:1", "ff02::1", "fec0::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b:1::7f00:1", "192.0.0.192",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_public(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidInput, match=r"a public address; SPARSEMOD_WEBHOOK_PRIVATE_ADDRESSES"):
        check_url(f"http://{host}:8080/x", private=False)
    assert check_url(f"http://{host}:8080/x", private=True).port == 8080
    # A name with such an address, even beside a public one.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(socket.AF_INET, 0, 0, "", ("93.184.216.34", 80)), (family, 0, 0, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(webhook_request, "_first_answering", lambda _: pytest.fail("it connected"))
    with pytest.raises(DeliveryFailed, match="which is not public"):
        post("http://evil.example/", "secret", "ping", 1, {})


@pytest.mark.parametrize("url", ["ftp://x", "x", "", "gopher://receiver.example/hook"])
def test_the_error_says_which_addresses_a_webhook_may_have(tmp_path: Path, url: str) -> None:
    with open_app(tmp_path) as http:
        error = http.post("/webhooks", json={"url": url}).json()["error"]
    assert error["field"] == "url" and error["value"] == repr(url)
    assert error["allowed"] == "an address that begins with https:// or http://"


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example", "https://", "https://me:pw@a.example", "https://a.example/#x", "http://a.example:0/",
     "http://a.example:99999/", "https://a.example/é", "https://a.example/a b", "http://[::1", "file:///etc/passwd", "http://localhost/", "http://db.internal/"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^url"):
        check_url(url, private=False)


def test_public_addresses_pass() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"):
        assert is_public(ipaddress.ip_address(address))
