"""Browsers that somebody has signed in with: begin, find, end."""

import hashlib
import hmac
import secrets

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.models import ApiKey, Login

LIFETIME_MS = 14 * 86_400_000  # from signing in


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def begin(session: Session, key_id: int) -> str:
    """Sign somebody in; returns the token for the browser, which is kept nowhere else."""
    token = secrets.token_urlsafe(32)
    now = now_ms()
    session.execute(
        insert(Login).values(
            digest=_digest(token), key_id=key_id, created_time=now, expires_time=now + LIFETIME_MS
        )
    )
    return token


def find(session: Session, token: str) -> AnyRow | None:
    """Who has signed in: ``id``, ``name``, ``admin`` of their key; None when the login is over."""
    statement = (
        select(col(ApiKey.id), col(ApiKey.name), col(ApiKey.admin))
        .join(Login, col(Login.key_id) == col(ApiKey.id))
        .where(
            col(Login.digest) == _digest(token),
            col(Login.expires_time) > now_ms(),
            col(ApiKey.revoked_time).is_(None),
        )
    )
    return session.execute(statement).one_or_none()


def end(session: Session, token: str) -> None:
    """Sign out."""
    session.execute(delete(Login).where(col(Login.digest) == _digest(token)))


def end_all(session: Session, key_id: int, but: str | None = None) -> None:
    """Sign a user out everywhere, as when their key or password has changed.

    Args:
        but: the token of the browser in which they have just done that.

    """
    others = col(Login.key_id) == key_id
    if but is not None:
        others &= col(Login.digest) != _digest(but)
    session.execute(delete(Login).where(others))


def forget_expired(session: Session) -> int:
    """Drop logins that are over; returns how many."""
    return execute(session, delete(Login).where(col(Login.expires_time) <= now_ms())).rowcount


def form_token(token: str) -> str:
    """What each form of that browser carries: whoever cannot read the cookie cannot make it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()
