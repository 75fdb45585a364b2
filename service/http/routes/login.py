"""Logging in with a token, for the page: a browser keeps a session cookie instead of the token."""

from fastapi import APIRouter, Request, Response
from starlette.requests import cookie_parser

from service.errors import LoginNeeded
from service.http.auth import COOKIE, HOW_TO, SESSION_SECONDS, who
from service.http.routes.common import StoreDep, failures
from service.schemas.logins import LoginRequest, Me

router = APIRouter(tags=["logins"])


@router.post("/login", summary="Log in", responses=failures(400, 413))
def log_in(request: Request, response: Response, store: StoreDep, wanted: LoginRequest) -> Me:
    """Changes a token for a session cookie, which scripts cannot read and other sites cannot use. It ends after twelve hours or with the token."""
    if not store.closed():
        return Me(open=True)
    login = store.token_login(wanted.token)
    if login is None:
        raise LoginNeeded(f"this token is not known, has expired or was revoked. {HOW_TO}")
    session, seconds = store.open_session(login, SESSION_SECONDS)
    response.set_cookie(
        COOKIE,
        session,
        max_age=int(seconds),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path=request.scope.get("root_path", "") or "/",
    )
    response.headers["cache-control"] = "no-store"
    return Me(open=False, login=login)


@router.post("/logout", status_code=204, summary="Log out", responses=failures())
def log_out(request: Request, store: StoreDep) -> Response:
    """Ends the session."""
    session = cookie_parser(request.headers.get("cookie", "")).get(COOKIE, "")
    if session:
        store.close_session(session)
    response = Response(status_code=204)
    response.delete_cookie(
        COOKIE, path=request.scope.get("root_path", "") or "/", httponly=True, samesite="strict"
    )
    return response


@router.get("/me", summary="Who am I?", responses=failures())
def show_me(request: Request, response: Response, store: StoreDep) -> Me:
    """Whether there are logins here, and who is logged in."""
    response.headers["cache-control"] = "no-store"
    if not store.closed():
        return Me(open=True)
    login, _ = who(store, request.headers)
    return Me(open=False, login=login)
