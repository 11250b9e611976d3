"""Passwords of users: hash, store, check.

A hash takes some 20 ms by intent, so it is made and compared outside of any transaction.
"""

from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, reading
from app.errors import BadParameter, NotFound
from app.models import ApiKey
from app.services import activity, apikeys, logins

SHORTEST, LONGEST = 8, 1024  # characters
AT_ONCE = 4  # hashes that one process works on: each takes 19 MiB and a core

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_turn = BoundedSemaphore(AT_ONCE)
# What the password of a user who has none, or who does not exist, is compared with: it takes as long.
_NOBODY = _hasher.hash("nobody")


def hashed(password: str) -> str:
    """What is stored of a password.

    Raises:
        BadParameter: it is too short or too long.

    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadParameter(f"a password has {SHORTEST} to {LONGEST} characters")
    with _turn:
        return _hasher.hash(_bytes(password))


def store(session: Session, name: str, hash_: str | None, by: str, but: str | None = None) -> None:
    """Give the user the password with this hash; None: none, only the key signs in. Their sign-ins end.

    Args:
        but: the login of the browser that asks for it.

    Raises:
        NotFound: there is no valid key of that name.

    """
    changed = execute(
        session,
        update(ApiKey)
        .where(col(ApiKey.name) == name, col(ApiKey.revoked_time).is_(None))
        .values(password=hash_)
        .returning(col(ApiKey.id), col(ApiKey.admin)),
    )
    user = changed.one_or_none()
    if user is None:
        raise NotFound(f"there is no valid key named {name!r}")
    event = activity.PASSWORD_REMOVED if hash_ is None else activity.PASSWORD_SET
    apikeys.tell(session, user.id, user.admin, by, event, name)
    logins.end_all(session, user.id, but)


def check(name: str, password: str) -> AnyRow | None:
    """The user with this password: ``id``, ``name``, ``admin``; None: no such user, or not their password.

    Both answers take the same time.
    """
    user = None
    if "\0" not in name:  # which PostgreSQL cannot be asked for
        columns = (col(ApiKey.id), col(ApiKey.name), col(ApiKey.admin), col(ApiKey.password))
        known = select(*columns).where(col(ApiKey.name) == name, col(ApiKey.revoked_time).is_(None))
        with reading() as session:
            user = session.execute(known).one_or_none()
    stored = user.password if user is not None else None
    with _turn:
        right = _matches(stored or _NOBODY, password[: LONGEST + 1])
    return user if right and stored is not None else None


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
