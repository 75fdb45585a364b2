"""One signed request to a receiver of webhooks.

A URL of a user must not make the server talk to its own network. The name is resolved once; every address must be
public unless the settings allow private ones; the connection goes to a checked address, so a name that resolves to
another address a moment later changes nothing. Redirects are not followed and proxies are not used.
"""

import hmac
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sparsemod.errors import InvalidInput, SparsemodError
from sparsemod.version import __version__

CONNECT_SECONDS = 5.0
WHOLE_SECONDS = 15.0
"""Time limit of a request, from the connection to the end of the answer's head."""

SIGNATURE = "Sparsemod-Signature"
"""Header `t=SECONDS,v1=HEX`: the HMAC-SHA256 of `SECONDS.BODY`."""


class DeliveryFailed(SparsemodError):
    """The receiver did not answer with 2xx. `status`: its answer, None without one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def signature(secret: str, body: bytes, seconds: int) -> str:
    """Return the value of the header SIGNATURE for a request at `seconds` since 1970."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


def check_url(url: str, *, private: bool, field: str = "url") -> SplitResult:
    """Return the parts of a receiver's URL. Raises InvalidInput for one that the server must not send to.

    `private`: whether addresses of this machine and of private networks are allowed.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(field, url, "an address of printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput(field, url, "such as https://ci.example/hook") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidInput(field, url, "an address that begins with https:// or http://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInput(field, url, "an address without a user name, a password or a fragment")
    if not private:
        _literal_is_public(parts.hostname, field, url)
    return parts


def _literal_is_public(host: str, field: str, url: str) -> None:
    allowed = "a public address; SPARSEMOD_WEBHOOK_PRIVATE_ADDRESSES=true allows others"
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        raise InvalidInput(field, url, allowed)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return  # a name: its addresses are checked before each request
    if not is_public(address):
        raise InvalidInput(field, url, allowed)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is on the public internet, as well as any IPv4 address inside it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _TRANSLATED:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found = [one for one in inner if one is not None]
        if found:
            return all(is_public(one) for one in found)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and address not in _PROTOCOLS


_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")

# `is_global` also accepts IPv6 addresses outside of it: site-local ones, and ::7f00:1, which contains 127.0.0.1.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

# `is_global` refuses only a part of it. A cloud has its metadata at 192.0.0.192.
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


def post(
    url: str, secret: str, event: str, delivery: int, body: Mapping[str, Any], *, private: bool = False
) -> int:
    """Send a delivery and return the status of the answer. Raises DeliveryFailed."""
    try:
        parts = check_url(url, private=private)
    except InvalidInput as error:
        raise DeliveryFailed(str(error)) from error
    content = json.dumps(body, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json", "User-Agent": f"sparsemod/{__version__}", "Connection": "close",
        "Sparsemod-Event": event, "Sparsemod-Delivery": str(delivery),
        SIGNATURE: signature(secret, content, int(time.time())),
    }  # fmt: skip
    connection = _connection(parts, private)
    sock = connection.sock
    # A receiver that sends a byte now and then would otherwise hold the thread for ever.
    late, too_late = threading.Event(), f"no answer within {WHOLE_SECONDS:g} s"
    watchdog = threading.Timer(WHOLE_SECONDS, _shut, (sock, late))
    watchdog.daemon = True
    watchdog.start()
    try:
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        path = parts.path or "/"
        connection.request("POST", f"{path}?{parts.query}" if parts.query else path, content, headers)
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: TLS, after the watchdog
        raise DeliveryFailed(too_late if late.is_set() else str(error) or type(error).__name__) from error
    finally:
        watchdog.cancel()
        connection.close()
    if late.is_set():
        raise DeliveryFailed(too_late)  # http.client takes the end of the connection for the end of the head
    if not 200 <= status < 300:
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        raise DeliveryFailed(f"the receiver answered {status}{redirect}", status)
    return status


def _connection(parts: SplitResult, private: bool) -> http.client.HTTPConnection:
    """Connect to a checked address of the receiver. Raises DeliveryFailed."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryFailed(f"the name {host} cannot be resolved: {error}") from error
    addresses = [(family, place) for family, _, _, _, place in found]
    for _, place in addresses:
        if not private and not is_public(ipaddress.ip_address(str(place[0]).partition("%")[0])):
            raise DeliveryFailed(
                f"{host} has the address {place[0]}, which is not public; SPARSEMOD_WEBHOOK_PRIVATE_ADDRESSES=true allows it"
            )
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    try:
        sock = _first_answering(addresses)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except OSError as error:
        raise DeliveryFailed(f"no connection to {host}:{port}: {error}") from error
    sock.settimeout(WHOLE_SECONDS)
    connection.sock = sock
    return connection


def _first_answering(addresses: list[tuple[Any, Any]]) -> socket.socket:
    last: OSError | None = None
    for family, place in addresses[:4]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(CONNECT_SECONDS)
        try:
            sock.connect(place)
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last or OSError("no address")


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
