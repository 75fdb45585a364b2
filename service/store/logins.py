"""Tokens and sessions, of which only hashes are stored; to whom experiments and attempts belong; draining workers."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

import sqlalchemy as sa

from service.schemas.logins import Login, Scope, TokenView
from service.store.engine import Base, moment, moment_or_none
from service.store.tables import attempts, experiments, pauses, sessions, tokens, workers
from sparsemod.errors import InvalidInput, NotFound

PREFIX = "sm_"
"""What every token begins with, so that one that was put somewhere by mistake is found."""

_CLOSED = sa.select(sa.select(tokens.c.id).where(tokens.c.internal.is_(sa.false())).exists())
_TOKEN = sa.select(tokens).where(tokens.c.hash == sa.bindparam("digest"))
_SESSION = (
    sa.select(tokens, sessions.c.expires_at.label("session_ends"), sessions.c.hash.label("session"))
    .join(sessions, sessions.c.token_id == tokens.c.id)
    .where(sessions.c.hash == sa.bindparam("digest"))
)


def fingerprint(secret: str) -> str:
    """What is stored of a token or a session: they are long and random, so that a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Logins(Base):
    """The part of the store about who may do what."""

    def closed(self) -> bool:
        """Whether logins are needed: once a token was made, for ever; tokens of a server's own workers do not count."""
        with self._read() as connection:
            return bool(connection.execute(_CLOSED).scalar())

    def create_token(
        self, owner: str, scopes: Iterable[Scope], seconds: float | None = None, *, internal: bool = False
    ) -> tuple[str, TokenView]:
        """A new token: its text, which is never shown again, and what is stored of it. `seconds`: how long it is good."""
        wanted = frozenset(scopes)
        if not owner.strip() or len(owner) > 200:
            raise InvalidInput("owner", owner, "a name of 1 to 200 characters")
        if not wanted:
            raise InvalidInput("scopes", [], f"at least one of {', '.join(Scope)}")
        if seconds is not None and seconds <= 0:
            raise InvalidInput("seconds", seconds, "a positive time")
        secret, now = PREFIX + secrets.token_urlsafe(32), self.clock()
        with self._write() as connection:
            values = {
                "owner": owner, "hash": fingerprint(secret), "scopes": ",".join(s for s in Scope if s in wanted), "internal": internal,
                "created_at": now, "expires_at": None if seconds is None else now + seconds, "revoked_at": None,
            }  # fmt: skip
            row = connection.execute(sa.insert(tokens).values(**values).returning(tokens)).mappings().one()
        return secret, _token(row)

    def tokens(self) -> list[TokenView]:
        """All tokens, oldest first."""
        with self._read() as connection:
            return [
                _token(row) for row in connection.execute(sa.select(tokens).order_by(tokens.c.id)).mappings()
            ]

    def revoke_token(self, number: int) -> TokenView:
        """End a token and its sessions now. Revoking it again changes nothing. Raises NotFound."""
        with self._write() as connection:
            change = sa.update(tokens).where(tokens.c.id == number)
            connection.execute(change.where(tokens.c.revoked_at.is_(None)).values(revoked_at=self.clock()))
            connection.execute(sa.delete(sessions).where(sessions.c.token_id == number))
            row = connection.execute(sa.select(tokens).where(tokens.c.id == number)).mappings().one_or_none()
            if row is None:
                raise NotFound("token", number)
            return _token(row)

    def forget_internal(self, owner: str) -> None:
        """Drop the tokens that an earlier run of a server made for its own workers."""
        with self._write() as connection:
            mine = (tokens.c.owner == owner, tokens.c.internal.is_(sa.true()))
            connection.execute(sa.delete(tokens).where(*mine))

    def token_login(self, secret: str) -> Login | None:
        """Who shows this token; None for an unknown, expired or revoked one."""
        return self._login(_TOKEN, secret)

    def session_login(self, secret: str) -> Login | None:
        """Whose session this is; None for an unknown or ended one, or one whose token is no good any more."""
        return self._login(_SESSION, secret)

    def _login(self, query: sa.Select[tuple[object, ...]], secret: str) -> Login | None:
        digest, now = fingerprint(secret), self.clock()
        with self._read() as connection:
            row = connection.execute(query, {"digest": digest}).mappings().one_or_none()
        if row is None or row["revoked_at"] is not None:
            return None
        # The database has compared hashes already; this comparison takes as long for any two texts.
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
        """A session for the page: its secret and how many seconds it lasts; never longer than its token."""
        secret, now = secrets.token_urlsafe(32), self.clock()
        if login.expires_at is not None:
            seconds = min(seconds, login.expires_at.timestamp() - now)
        with self._write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.expires_at < now))
            values = {"hash": fingerprint(secret), "token_id": login.token}
            connection.execute(sa.insert(sessions).values(**values, created_at=now, expires_at=now + seconds))
        return secret, seconds

    def close_session(self, secret: str) -> None:
        """End a session; nothing happens when there is none."""
        with self._write() as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.hash == fingerprint(secret)))

    def owner_of(self, experiment_id: int) -> str | None:
        """To whom an experiment belongs. Raises NotFound."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(experiments.c.owner).where(experiments.c.id == experiment_id)
            ).one_or_none()
        if row is None:
            raise NotFound("experiment", experiment_id)
        owner: str | None = row.owner
        return owner

    def login_of_attempt(self, attempt_id: int) -> int | None:
        """Number of the token that claimed an attempt, None where there were no logins. Raises NotFound."""
        with self._read() as connection:
            row = connection.execute(
                sa.select(attempts.c.login).where(attempts.c.id == attempt_id)
            ).one_or_none()
        if row is None:
            raise NotFound("attempt", attempt_id)
        number: int | None = row.login
        return number

    def drain_worker(self, name: str, draining: bool) -> None:
        """Hand out no more trials to a worker, or again, whatever has paused it. Those that it holds go on. Raises NotFound."""
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
