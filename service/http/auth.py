"""Authorization: the only place that admits or refuses a request.

Every endpoint has a line in `RULES`; the server does not start when one is missing. Until the first token is
created, everything is open, but only to this machine. After that, a request must show a token
(`Authorization: Bearer ...`) or the dashboard's session cookie, and the token must have one of the endpoint's
scopes.

Another site can make a browser send requests to this server. Therefore the cookie is SameSite=Strict, a
request that changes something needs this server's Origin, and an open server answers only to a local host
name (a foreign name may resolve to 127.0.0.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.routing import APIRoute, APIRouter
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from service.errors import Forbidden, LoginNeeded
from service.http.early_answer import refuse
from service.http.pools import RequestPool
from service.http.request_path import inner_path
from service.schemas.logins import Login, Scope
from service.settings import is_address, is_local
from service.store import Store
from sparsemod.errors import NotFound, SparsemodError

COOKIE = "sparsemod_session"

SESSION_SECONDS = 12 * 3600.0
"""How long a login of the dashboard lasts."""

SAFE = ("GET", "HEAD", "OPTIONS")

HOW_TO = "`sparsemod token create NAME --scope write` on the server's machine creates a token"


@dataclass(frozen=True)
class Rule:
    """Who may use an endpoint: everyone (`scopes` empty), or a token with one of `scopes`.

    `owned`: only the owner of the experiment, the model or the webhook, or an admin. `bound`: only the token that claimed the attempt.
    """

    scopes: frozenset[Scope] = frozenset()
    owned: bool = False
    bound: bool = False


PUBLIC = Rule()
READ = Rule(frozenset({Scope.READ, Scope.WRITE, Scope.ADMIN}))
WRITE = Rule(frozenset({Scope.WRITE, Scope.ADMIN}))
OWN = Rule(frozenset({Scope.WRITE, Scope.ADMIN}), owned=True)
WORK = Rule(frozenset({Scope.WORKER, Scope.ADMIN}))
REPORT = Rule(frozenset({Scope.WORKER, Scope.ADMIN}), bound=True)
FILES = Rule(frozenset(Scope))
ADMIN = Rule(frozenset({Scope.ADMIN}))

RULES: dict[str, Rule] = {
    "GET /experiments": READ,
    "POST /experiments": WRITE,
    "POST /experiments/check": READ,
    "GET /experiments/{experiment}": READ,
    "DELETE /experiments/{experiment}": OWN,
    "POST /experiments/{experiment}/stop": OWN,
    "POST /experiments/{experiment}/resume": OWN,
    "POST /experiments/{experiment}/retry": OWN,
    "POST /experiments/{experiment}/keep": OWN,
    "POST /experiments/{experiment}/extend": OWN,
    "POST /experiments/{experiment}/mend": OWN,
    "GET /experiments/{experiment}/events": READ,
    "GET /experiments/{experiment}/stream": READ,
    "GET /experiments/{experiment}/points": READ,
    "GET /experiments/{experiment}/timeline": READ,
    "GET /experiments/{experiment}/importance": READ,
    "GET /experiments/{experiment}/repetitions": READ,
    "GET /experiments/{experiment}/study": READ,
    "GET /experiments/{experiment}/membership": READ,
    "GET /experiments/{experiment}/ax": READ,
    "GET /experiments/{experiment}/trials": READ,
    "POST /experiments/{experiment}/trials": OWN,
    "GET /experiments/{experiment}/trials/{index}": READ,
    "GET /experiments/{experiment}/trials/{index}/curve": READ,
    "GET /experiments/{experiment}/trials/{index}/log": READ,
    "GET /experiments/{experiment}/trials/{index}/graph": READ,
    "GET /experiments/{experiment}/trials/{index}/devices": READ,
    "POST /experiments/{experiment}/trials/{index}/stop": OWN,
    "GET /experiments/{experiment}/trials/{index}/exports": READ,
    "POST /experiments/{experiment}/trials/{index}/exports": OWN,
    "GET /experiments/{experiment}/exports": READ,
    "GET /stream": READ,
    "GET /pareto/{experiment}": READ,
    "GET /pareto/{experiment}/devices": READ,
    "POST /pareto/{experiment}/exports": OWN,
    "GET /artifacts/{digest}": FILES,
    "HEAD /artifacts/{digest}": FILES,
    "PUT /artifacts/{digest}": WORK,
    "GET /models": READ,
    "POST /models": WRITE,
    "GET /models/{model}": READ,
    "DELETE /models/{model}": OWN,
    "POST /models/{model}/experiments": WRITE,
    "GET /webhooks": WRITE,
    "POST /webhooks": WRITE,
    "GET /webhooks/{webhook}/deliveries": OWN,
    "POST /webhooks/{webhook}/ping": OWN,
    "POST /webhooks/{webhook}/enable": OWN,
    "DELETE /webhooks/{webhook}": OWN,
    "GET /catalogue": READ,
    "GET /workers": READ,
    "POST /workers/{name}/drain": ADMIN,
    "POST /claims": WORK,
    "POST /attempts/{attempt}/heartbeat": REPORT,
    "POST /attempts/{attempt}/points": REPORT,
    "POST /attempts/{attempt}/checkpoint": REPORT,
    "POST /attempts/{attempt}/finish": REPORT,
    "GET /audit": ADMIN,
    "GET /metrics": READ,
    "GET /quota": READ,
    "GET /health": PUBLIC,
    "POST /login": PUBLIC,
    "POST /logout": PUBLIC,
    "GET /me": PUBLIC,
    "GET /": PUBLIC,
    "GET /docs": PUBLIC,
    "GET /dashboard/{name}": PUBLIC,
}
"""Method and path of every endpoint, without the converters of path parameters."""


class MissingRule(SparsemodError):
    """An endpoint has no line in `RULES`."""


class LoginFacts(Protocol):
    """What an access rule needs to know from the store, see `service.store.logins`."""

    def closed(self) -> bool:
        """Return whether requests need a login."""

    def token_login(self, secret: str) -> Login | None:
        """Return the login of a token."""

    def session_login(self, secret: str) -> Login | None:
        """Return the login of a session."""

    def login_of_attempt(self, attempt_id: int) -> int | None:
        """Return the id of the token that claimed an attempt. Raises NotFound."""


class SharedFacts:
    """The facts about a group of requests that are checked together: each is read once, after they have arrived.

    `attempts`: those that the requests name.
    """

    def __init__(self, store: Store, attempts: Iterable[int]) -> None:
        self._store, self._numbers = store, frozenset(attempts)
        self._logins: dict[str, Login | None] = {}

    @cached_property
    def _closed(self) -> bool:
        return self._store.closed()

    @cached_property
    def _attempts(self) -> dict[int, int | None]:
        return self._store.logins_of_attempts(self._numbers)

    def closed(self) -> bool:
        """See LoginFacts."""
        return self._closed

    def token_login(self, secret: str) -> Login | None:
        """See LoginFacts."""
        if secret not in self._logins:
            self._logins[secret] = self._store.token_login(secret)
        return self._logins[secret]

    def session_login(self, secret: str) -> Login | None:
        """See LoginFacts."""
        return self._store.session_login(secret)

    def login_of_attempt(self, attempt_id: int) -> int | None:
        """See LoginFacts."""
        if attempt_id not in self._attempts:
            raise NotFound("attempt", attempt_id)
        return self._attempts[attempt_id]


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that a request reaches: its route, its rule and the parameters of its path."""

    route: APIRoute
    rule: Rule
    parameters: dict[str, Any]


class Gate:
    """Finds the endpoint of a request, and admits or refuses the request."""

    def __init__(self, store: Store, routers: Iterable[APIRouter]) -> None:
        self._store = store
        self._routes: dict[str, list[tuple[APIRoute, Rule]]] = {}
        for router in routers:
            for route, rule in rules_of(router):
                self._routes.setdefault(_first(route.path_format), []).append((route, rule))

    def endpoint(self, scope: Connection) -> Endpoint | None:
        """Return the endpoint that this request reaches, None when no endpoint matches.

        Raises NotFound for an id that is not in its canonical spelling.
        """
        path, method = inner_path(scope), scope["method"]
        for route, rule in self._routes.get(_first(path), ()):
            if method not in (route.methods or ()):
                continue
            match = route.path_regex.match(path)
            if match is None:
                continue
            parameters = {
                name: route.param_convertors[name].convert(value) for name, value in match.groupdict().items()
            }
            if not _canonical(scope, route, parameters):
                raise NotFound("page", scope["path"])
            return Endpoint(route, rule, parameters)
        return None

    def admit(self, scope: Connection, endpoint: Endpoint, facts: LoginFacts | None = None) -> Login | None:
        """Return the login of the request, or None when the server is open. Reads the database unless the endpoint
        is public, or `facts` knows the answers. Raises LoginNeeded, Forbidden, and NotFound for a webhook of another
        owner."""
        facts = self._store if facts is None else facts
        rule, headers = endpoint.rule, Headers(scope=scope)
        unsafe = scope["method"] not in SAFE
        if unsafe and "origin" in headers and not _same_origin(headers):
            raise Forbidden(f"a page of {headers['origin'][:100]} may not change anything here")
        if not rule.scopes:
            return None
        if not facts.closed():
            _from_here(scope, headers)
            return None
        login, by_cookie = who(facts, headers)
        if login is None:
            raise LoginNeeded(f"this request needs a valid token. {HOW_TO}")
        if by_cookie and unsafe and "origin" not in headers:
            raise Forbidden("a request with a cookie that changes something needs an Origin header")
        if not rule.scopes.intersection(login.scopes):
            needed = " or ".join(s.value for s in Scope if s in rule.scopes)
            raise Forbidden(
                f"{login.owner}'s token has the scope {', '.join(login.scopes)}; this needs {needed}"
            )
        if rule.owned or rule.bound:
            self._check_ownership(rule, endpoint.parameters, login, facts)
        return login

    def _check_ownership(
        self, rule: Rule, parameters: dict[str, Any], login: Login, facts: LoginFacts
    ) -> None:
        """Raise Forbidden unless the experiment, the model or the attempt belongs to `login`, NotFound for a webhook of
        another owner."""
        try:
            if rule.owned and Scope.ADMIN not in login.scopes:
                kind = next(kind for kind in ("model", "webhook", "experiment") if kind in parameters)
                owner_of = {
                    "model": self._store.owner_of_model,
                    "webhook": self._store.owner_of_webhook,
                    "experiment": self._store.owner_of,
                }[kind]
                number: int = parameters[kind]
                owner = owner_of(number)
                if kind == "webhook" and owner != login.owner:
                    raise NotFound(kind, number)  # its URL may be a secret: do not even say that it exists
                if owner not in (None, login.owner):
                    raise Forbidden(f"{kind} {number} belongs to {owner}")
            if rule.bound:
                number = parameters["attempt"]
                if facts.login_of_attempt(number) not in (None, login.token):
                    raise Forbidden(f"attempt {number} was claimed with another token")
        except NotFound:
            if "webhook" in parameters:
                raise
            return  # the endpoint raises its own NotFound


class Guard:
    """ASGI middleware: pass a request to its endpoint, or answer 401 or 403 before its body is read."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate
        self._pool = RequestPool("checks of tokens", 8)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            endpoint = self._gate.endpoint(scope)
            if endpoint is not None:
                if endpoint.rule.scopes:
                    login = await self._pool.run(self._gate.admit, scope, endpoint)
                else:  # needs no database and no place
                    login = self._gate.admit(scope, endpoint)
                scope["sparsemod_login"] = login
                scope["sparsemod_admitted"] = endpoint.parameters
        except SparsemodError as error:
            await refuse(error, receive, send)
            return
        await self._app(scope, receive, send)


def rules_of(router: APIRouter) -> list[tuple[APIRoute, Rule]]:
    """Return the endpoints of a router with their rules. Raises MissingRule."""
    rules = []
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise MissingRule(f"{route!r} is not an endpoint that the guard can check")
        for method in sorted(route.methods or ()):
            line = f"{method} {route.path_format}"
            if line not in RULES:
                raise MissingRule(f"service.http.auth.RULES has no line for {line}")
            rules.append((route, RULES[line]))
    return rules


def _first(path: str) -> str:
    """Return the first segment of a path. Routes with different ones never match the same path."""
    return path.partition("/")[2].partition("/")[0]


def _canonical(scope: Connection, route: APIRoute, parameters: dict[str, Any]) -> bool:
    """Return whether a path with ids has its canonical spelling, the one that the server itself writes.

    The router sees the percent-decoded path. So `/experiments/%33`, or a path with a line feed at its end,
    matches the route of `/experiments/3`, while a proxy or a log takes it for another path.
    """
    if not any(isinstance(value, int) for value in parameters.values()):
        return True
    spelled = route.path_format.format(**parameters).encode()
    raw: bytes | None = scope.get("raw_path")
    return inner_path(scope).encode() == spelled and (raw is None or raw.endswith(spelled))


async def guarded(request: Request) -> None:
    """Dependency of every endpoint: raise Forbidden for a request that did not pass the guard."""
    # The endpoint may act only on the parameters that the guard has checked.
    if request.scope.get("sparsemod_admitted") != request.path_params:
        raise Forbidden("this endpoint has no access rule")


def who(store: LoginFacts, headers: Headers) -> tuple[Login | None, bool]:
    """Return the login of a request, and whether it came by cookie. A token takes precedence over a cookie."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind:
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret:
            return None, False
        return store.token_login(secret), False
    session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    if not session:
        return None, False
    return store.session_login(session), True


def _same_origin(headers: Headers) -> bool:
    # Ignore the scheme: behind a proxy that ends TLS, ours is http and the page's is https.
    try:
        origin = urlsplit(headers["origin"]).netloc
    except ValueError:  # not an address, such as "http://["
        return False
    return origin.lower() == headers.get("host", "").lower() != ""


def _from_here(scope: Connection, headers: Headers) -> None:
    """Raise Forbidden unless a request to an open server comes from this machine."""
    # A TCP socket has two addresses; a direct call of the application or a Unix socket has none.
    client, server = scope.get("client"), scope.get("server")
    if client is not None and is_address(client[0]) and not is_local(client[0]):
        raise Forbidden(f"without logins this server answers its own machine only. {HOW_TO}")
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:  # not an address, such as "["
        host = ""
    if not is_local(host) and (server is None or host != server[0]):
        raise Forbidden(f"without logins this server answers as localhost only. {HOW_TO}")
