"""Tokens and sessions: created, valid, stale, never shown again; the page's cookie; requests from other
sites' pages."""

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from support_auth import bearer, open_app, store_of
from support_store import SPEC, Clock

from service.cli import main, take_token
from service.client.client import Client
from service.client.credentials import VARIABLE, authorization
from service.errors import Forbidden, LoginNeeded
from service.http.app import create_app
from service.http.auth import COOKIE
from service.schemas.logins import Scope
from service.settings import Settings
from service.store import Store
from sparsemod.errors import InvalidInput, NotFound

pytest_plugins = ["support_store_fixtures"]

HOME = {"origin": "http://testserver"}


def test_without_a_token_everything_is_open(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        assert http.get("/me").json() == {"open": True, "login": None}
        assert http.post("/login", json={"token": "whatever"}).json() == {"open": True, "login": None}
        assert http.post("/experiments", json={"spec": SPEC}).status_code == 201
        # A token of a server's own workers closes nothing.
        store_of(http).create_token("workers", [Scope.WORKER], internal=True)
        assert http.get("/experiments").status_code == 200
        store_of(http).create_token("me", [Scope.READ])
        assert http.get("/experiments").status_code == 401
        assert http.get("/me").json() == {"open": False, "login": None}


def test_an_open_server_is_for_its_own_machine_only(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    for client, host, expected in (
        ("127.0.0.1", "localhost:8080", 200),
        ("127.0.0.1", "127.0.0.1:8080", 200),
        ("::1", "[::1]:8080", 200),
        ("127.0.0.1", "evil.example", 403),  # a foreign name that resolves to this server
        ("127.0.0.1", "localhost.evil.example", 403),
        ("192.168.1.7", "localhost", 403),
        ("192.168.1.7", "192.168.1.5:8080", 403),
    ):
        with TestClient(app, base_url="http://localhost", client=(client, 5000)) as http:
            assert http.get("/experiments", headers={"host": host}).status_code == expected, (client, host)


def test_pages_of_other_sites_change_nothing(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        for origin in (
            "http://evil.example",
            "null",
            "http://testserver.evil.example",
            "http://testserver:81",
        ):
            for path in ("/experiments", "/login", "/logout", "/claims"):
                answer = http.post(path, json={"spec": SPEC}, headers={"origin": origin})
                assert answer.status_code == 403, (origin, path)
        assert http.get("/experiments").json()["total"] == 0
        assert http.post("/experiments", json={"spec": SPEC}, headers=HOME).status_code == 201


@pytest.mark.parametrize(
    "broken", ["http://[", "[", "http://[::1", "\\", "//", "http://testserver@evil.example", ""]
)
def test_an_origin_or_a_host_that_is_none_is_refused(tmp_path: Path, broken: str) -> None:
    with open_app(tmp_path) as http:
        assert http.post("/experiments", json={"spec": SPEC}, headers={"origin": broken}).status_code == 403
        both = {"origin": broken, "host": broken}
        assert http.post("/experiments", json={"spec": SPEC}, headers=both).status_code == 403
    # Of a socket, the address is checked, too.
    app = create_app(Settings(data_dir=tmp_path))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000)) as http:
        assert http.get("/experiments", headers={"host": broken}).status_code == 403


def test_a_mistyped_token_is_not_repeated(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        store_of(http).create_token("me", [Scope.READ])
        for body in ({"token": "sm_se cret"}, {"tokn": "sm_secret"}, ["sm_secret"], {"token": ["sm_secret"]}):
            answer = http.post("/login", json=body)
            assert answer.status_code == 422 and "se" not in answer.json()["error"]["value"]
            assert "cret" not in answer.text and "(not shown)" in answer.text


def test_the_pages_session(store: Store, clock: Clock, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path), store=store)) as http:
        secret, made = store.create_token("me", [Scope.WRITE], 3600)
        for wrong in ("sm_wrong", secret[:-1], secret + "x"):
            assert http.post("/login", json={"token": wrong}, headers=HOME).status_code == 401
        answer = http.post("/login", json={"token": secret}, headers=HOME)
        assert answer.status_code == 200 and answer.json()["login"]["owner"] == "me"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=3600" in cookie
        assert secret not in cookie and http.cookies[COOKIE] not in answer.text
        assert http.get("/me").json()["login"]["scopes"] == ["write"]
        assert http.get("/experiments").status_code == 200
        assert http.post("/experiments", json={"spec": SPEC}).status_code == 403  # no Origin
        other = http.post("/experiments", json={"spec": SPEC}, headers={"origin": "http://evil.example"})
        assert other.status_code == 403
        assert http.post("/experiments", json={"spec": SPEC}, headers=HOME).json()["owner"] == "me"
        # A header that is wrong is not saved by a cookie that is right.
        assert http.get("/experiments", headers=bearer("sm_wrong")).status_code == 401
        session = http.cookies[COOKIE]
        assert http.post("/logout", headers=HOME).status_code == 204
        http.cookies.set(COOKIE, session)
        assert http.get("/experiments").status_code == 401
        http.post("/login", json={"token": secret}, headers=HOME)
        store.revoke_token(made.token)
        assert http.get("/experiments").status_code == 401  # the session went with its token


def test_the_cookie_is_secure_over_https(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    secret, _ = app.state.store.create_token("me", [Scope.READ])
    for scheme, secure in (("https", True), ("http", False)):
        with TestClient(app, base_url=f"{scheme}://lab.example") as http:
            answer = http.post(
                "/login", json={"token": secret}, headers={"origin": f"{scheme}://lab.example"}
            )
            assert answer.status_code == 200 and ("Secure" in answer.headers["set-cookie"]) == secure
            assert answer.headers["cache-control"] == "no-store"
            assert http.get("/experiments").status_code == 200


def test_stale_tokens_and_sessions(store: Store, clock: Clock) -> None:
    short, _ = store.create_token("me", [Scope.READ], 60)
    long, made = store.create_token("me", [Scope.READ, Scope.WORKER])
    found = store.token_login(short)
    assert found is not None and found.owner == "me"
    session, seconds = store.open_session(found, 3600)
    assert seconds == 60  # never longer than its token
    assert store.session_login(session) is not None
    clock.advance(61)
    assert store.token_login(short) is None and store.session_login(session) is None
    found = store.token_login(long)
    assert found is not None and found.expires_at is None
    session, _ = store.open_session(found, 10)
    clock.advance(11)
    assert store.session_login(session) is None and store.token_login(long) is not None
    session, _ = store.open_session(found, 10)
    store.revoke_token(made.token)
    store.revoke_token(made.token)
    assert store.token_login(long) is None and store.session_login(session) is None
    with pytest.raises(NotFound):
        store.revoke_token(77)
    # Once tokens exist, the server stays closed, even when all of them are stale.
    assert store.closed()
    assert store.token_login("") is None and store.token_login(made.owner) is None


def test_only_hashes_are_stored(store: Store) -> None:
    secret, _ = store.create_token("me", [Scope.ADMIN])
    login = store.token_login(secret)
    assert login is not None
    session, _ = store.open_session(login, 60)
    with store.engine.connect() as connection:
        for table in ("tokens", "sessions"):
            text = str(connection.execute(sa.text(f"SELECT * FROM {table}")).all())
            assert text and secret not in text and session not in text and secret[3:] not in text


def test_malformed_tokens_are_rejected(store: Store) -> None:
    for owner, scopes, seconds in (("", [Scope.READ], None), ("me", [], None), ("me", [Scope.READ], 0.0)):
        with pytest.raises(InvalidInput):
            store.create_token(owner, scopes, seconds)


def test_no_token_reaches_the_log(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from starlette.testclient import TestClient
from service.http.app import create_app
from service.cli.logs import configure_logs
from service.settings import Settings
configure_logs()
app = create_app(Settings(data_dir=Path({str(tmp_path)!r})))
store = app.state.store
secret, _ = store.create_token("me", ["admin"])
def crash(): raise RuntimeError("crash")
store.workers = crash
with TestClient(app, raise_server_exceptions=False) as http:
    shown = {{"authorization": "Bearer " + secret}}
    assert http.get("/workers", headers=shown).status_code == 500
    assert http.post("/login", json={{"token": secret}}, headers={{"origin": "http://testserver"}}).status_code == 200
    session = http.cookies["sparsemod_session"]
    assert http.get("/workers").status_code == 500
print(secret, session)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    secret, session = done.stdout.split()
    assert "request crashed" in done.stderr and "RuntimeError: crash" in done.stderr
    assert secret not in done.stderr and session not in done.stderr


def test_client_and_command_line_show_their_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert authorization() == {}
    monkeypatch.setenv(VARIABLE, " sm_a\n")
    assert authorization() == bearer("sm_a") and authorization("") == {} and authorization("b") == bearer("b")
    assert Client("http://x")._http.headers["authorization"] == "Bearer sm_a"
    assert take_token(["list", "--token", "sm_b", "--server=x"]) == ["list", "--server=x"]
    assert authorization() == bearer("sm_b")
    assert take_token(["--token=sm_c", "list"]) == ["list"] and authorization() == bearer("sm_c")
    with pytest.raises(InvalidInput, match="--token"):
        take_token(["list", "--token"])
    monkeypatch.delenv(VARIABLE)
    place = tmp_path / "token"
    monkeypatch.setenv(f"{VARIABLE}_FILE", str(place))
    with pytest.raises(InvalidInput, match="SPARSEMOD_TOKEN_FILE"):
        authorization()
    place.write_text("sm_d\n")
    assert authorization() == bearer("sm_d")
    place.write_text("sm d\n")
    with pytest.raises(InvalidInput) as found:
        authorization()
    assert "sm d" not in str(found.value)


def test_the_token_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["token", *arguments, "--data-dir", str(tmp_path)])
        assert end.value.code == 0
        return capsys.readouterr().out

    secret = run("create", "lab", "--scope", "worker", "--scope", "read", "--days", "2").strip()
    store = Store.open(Settings(data_dir=tmp_path).url)
    login = store.token_login(secret)
    assert login is not None and set(login.scopes) == {Scope.READ, Scope.WORKER}
    listed = run("list")
    assert "lab" in listed and "read, worker" in listed and "valid" in listed and secret not in listed
    assert "revoked" in run("revoke", "1")
    assert store.token_login(secret) is None and "revoked" in run("list")
    store.close()


def test_the_clients_errors(tmp_path: Path) -> None:
    with open_app(tmp_path) as http:
        secret, _ = store_of(http).create_token("me", [Scope.READ])

        def bridge(token: str) -> Client:
            import httpx2

            def handle(request: httpx2.Request) -> httpx2.Response:
                answer = http.request(
                    request.method, str(request.url), headers=dict(request.headers), content=request.read()
                )
                return httpx2.Response(answer.status_code, content=answer.content)

            return Client("http://localhost", token=token, transport=httpx2.MockTransport(handle))

        assert bridge(secret).experiments() == []
        with pytest.raises(Forbidden, match="this needs worker or admin"):
            bridge(secret).claim("w")
        with pytest.raises(LoginNeeded, match="sparsemod token create"):
            bridge("sm_wrong").experiments()
