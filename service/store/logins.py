"""Tokens and sessions (stored as hashes), owners of experiments and attempts, draining workers."""

import hmac
import secrets
import time
from collections.abc import Iterable

import sqlalchemy as sa

from service.schemas.logins import Login, Scope, TokenView
from service.store.engine import Base, moment, moment_or_none
from service.store.tables import attempts, experiments, pauses, sessions, tokens, workers
from sparsemod.errors import InvalidInput, NotFound
from sparsemod.files import fingerprint

PREFIX = "sm_"
"""Prefix of every token. It makes a leaked token easy to find."""

OPEN_SECONDS = 0.5
"""How long a process may take an open server for open without asking the database again."""

_CLOSED = sa.select(sa.select(tokens.c.id).where(tokens.c.internal.is_(sa.false())).exists())
_TOKEN = sa.select(tokens).where(tokens.c.hash == sa.bindparam("digest"))
_SESSION = (
    sa.select(tokens, sessions.c.expires_at.label("session_ends"), sessions.c.hash.label("session"))
    .join(sessions, sessions.c.token_id == tokens.c.id)
    .where(sessions.c.hash == sa.bindparam("digest"))
)


def hash_of(secret: str) -> str:
    """Return the stored hash of a token or a session.

    The secrets are long and random, so a plain hash is safe.
    """
    return fingerprint(secret)


class Logins(Base):
    """Methods of the store for access control."""

    _closed = False
    _open_until = 0.0  # time.monotonic until which `closed` does not ask the database again

    def closed(self) -> bool:
        """Return whether logins are required. They are, permanently, once a token exists.

        The tokens that a server creates for its own workers do not count. The first token of another process counts
        after OPEN_SECONDS at the latest.
        """
        now = time.monotonic()
        if not self._closed and now >= self._open_until:
            with self._read() as connection:
                self._closed = bool(connection.execute(_CLOSED).scalar())
            self._open_until = now + OPEN_SECONDS
        return self._closed

    def create_token(
        self, owner: str, scopes: Iterable[Scope], seconds: float | None = None, *, internal: bool = False
    ) -> tuple[str, TokenView]:
        """Create a token. Return its text, which is never shown again, and its record.

        `seconds`: lifetime, None for no end. Raises InvalidInput.
        """
        scope_set = frozenset(scopes)
        if not owner.strip() or len(owner) > 200:
            raise InvalidInput("owner", owner, "a name of 1 to 200 characters")
        if not scope_set:
            raise InvalidInput("scopes", [], f"at least one of {', '.join(Scope)}")
        if seconds is not None and seconds <= 0:
            raise InvalidInput("seconds", seconds, "a positive time")
        secret, now = PREFIX + secrets.token_urlsafe(32), self.clock()
        with self._write() as connection:
            values = {
                "owner": owner, "hash": hash_of(secret), "scopes": ",".join(s for s in Scope if s in scope_set), "internal": internal,
                "created_at": now, "expires_at": None if seconds is None else now + seconds, "revoked_at": None,
            }  # fmt: skip
            row = connection.execute(sa.insert(tokens).values(**values).returning(tokens)).mappings().one()
        self._open_until = 0.0
        return secret, _token(row)

    def tokens(self) -> list[TokenView]:
        """Return all tokens, oldest first."""
        with self._read() as connection:
            return [
                _token(row) for row in connection.execute(sa.select(tokens).order_by(tokens.c.id)).mappings()
            ]

    def revoke_token(self, number: int) -> TokenView:
        """Revoke a token and end its sessions. Revoking it again changes nothing. Raises NotFound."""
        with self._write() as connection:
            change = sa.update(tokens).where(tokens.c.id == number)
            connection.execute(change.where(tokens.c.revoked_at.is_(None)).values(revoked_at=self.clock()))
            connection.execute(sa.delete(sessions).where(sessions.c.token_id == number))
            row = connection.execute(sa.select(tokens).where(tokens.c.id == number)).mappings().one_or_none()
            if row is None:
                raise NotFound("token", number)
            return _token(row)

    def forget_internal(self, owner: str) -> None:
        """Delete the tokens that an earlier run of the server created for its own workers."""
        with self._write() as connection:
            mine = (tokens.c.owner == owner, tokens.c.internal.is_(sa.true()))
            connection.execute(sa.delete(tokens).where(*mine))

    def token_login(self, secret: str) -> Login | None:
        """Return the login of a token, None when it is unknown, expired or revoked."""
        return self._login(_TOKEN, secret)

    def session_login(self, secret: str) -> Login | None:
        """Return the login of a session, None when it or its token is unknown, expired or revoked."""
        return self._login(_SESSION, secret)

    def _login(self, query: sa.Select[tuple[object, ...]], secret: str) -> Login | None:
        digest, now = hash_of(secret), self.clock()
        with self._read() as connection:
            row = connection.execute(query, {"digest": digest}).mappings().one_or_none()
        if row is None or row["revoked_at"] is not None:
            return None
        # The database has compared the hashes already. This comparison takes constant time.
        if not hmac.compare_digest(str(row["session"] if "session" in row else row["hash"]), digest):
            return None
        ends = [when for when in (row["expires_at"], row.get("session_ends")) if when is not None]
        if any(when <= now for when in ends):
            return None
        return Login(
            token=row["id"],
            owner=row["owner"],
            scopes=tuple(Scope(name) for name in row["scopes"].split(",")),
            expires_at=moment_or_none(min(ends, default=None)),
        )

    def open_session(self, login: Login, seconds: float) -> tuple[str, float]:
        """Open a session for the dashboard.

        Return its secret and its lifetime in seconds, at most that of the token.
        """
        secret, now = secrets.token_urlsafe(32), self.clock()
        if login.expires_at is not None:
            seconds = min(seconds, login.expires_at.timestamp() - now)
        with self._write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires_at < now))
            values = {"hash": hash_of(secret), "token_id": login.token}
            connection.execute(sa.insert(sessions).values(**values, created_at=now, expires_at=now + seconds))
        return secret, seconds

    def close_session(self, secret: str) -> None:
        """End a session. Do nothing when it does not exist."""
        with self._write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.hash == hash_of(secret)))

    def owner_of(self, experiment_id: int) -> str | None:
        """Return the owner of an experiment, None without logins. Raises NotFound."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(experiments.c.owner).where(experiments.c.id == experiment_id)
            ).one_or_none()
        if row is None:
            raise NotFound("experiment", experiment_id)
        owner: str | None = row.owner
        return owner

    def login_of_attempt(self, attempt_id: int) -> int | None:
        """Return the id of the token that claimed an attempt, None without logins. Raises NotFound."""
        found = self.logins_of_attempts([attempt_id])
        if attempt_id not in found:
            raise NotFound("attempt", attempt_id)
        return found[attempt_id]

    def logins_of_attempts(self, numbers: Iterable[int]) -> dict[int, int | None]:
        """Return attempt -> id of the token that claimed it, None without logins; unknown attempts are left out."""
        query = sa.select(attempts.c.id, attempts.c.login).where(attempts.c.id.in_(sorted(numbers)))
        with self._read() as connection:
            return {row.id: row.login for row in connection.execute(query)}

    def drain_worker(self, name: str, draining: bool) -> None:
        """Stop handing out trials to a worker, or start again and remove its pauses.

        Its running trials continue. Raises NotFound.
        """
        with self._write() as connection:
            changed = connection.execute(
                sa.update(workers).where(workers.c.name == name).values(draining=draining)
            )
            if changed.rowcount == 0:
                raise NotFound("worker", name)
            if not draining:
                connection.execute(sa.delete(pauses).where(pauses.c.worker == name))


def _token(row: sa.RowMapping) -> TokenView:
    return TokenView(
        token=row["id"],
        owner=row["owner"],
        scopes=tuple(Scope(name) for name in row["scopes"].split(",")),
        internal=row["internal"],
        created_at=moment(row["created_at"]),
        expires_at=moment_or_none(row["expires_at"]),
        revoked_at=moment_or_none(row["revoked_at"]),
    )
