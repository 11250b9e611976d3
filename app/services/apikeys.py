"""API keys: make, list, renew, revoke, look up; and who may touch a project."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, insert_into, now_ms
from app.errors import BadParameter, NameTaken, NotFound, Refused, Revoked
from app.models import ApiKey, KeyProject, Project
from app.prepared import Prepared
from app.services import activity, logins


def digest(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(
    session: Session,
    name: str,
    *,
    projects: Sequence[int] = (),
    admin: bool = False,
    value: str | None = None,
    by: str | None = None,
) -> str:
    """Make a key and return it; this is the only moment it is known in clear.

    Args:
        by: who is told of in the activity logs; None: the platform, which tells nobody.

    Raises:
        BadParameter: the name is empty or too long, or the value is not 16 to 128 letters, digits, - or _.
        NotFound: a project does not exist.
        NameTaken: a key of that name, or the very key, exists.

    """
    if not 1 <= len(name) <= 100:
        raise BadParameter("a key's name has 1 to 100 characters")
    if not name.isprintable() or name != name.strip():
        raise BadParameter("a key's name has no control characters, and no spaces around it")
    # 32 hex digits: what every client has seen as a key (contract 2.1).
    value = secrets.token_hex(16) if value is None else value
    if not (
        16 <= len(value) <= 128 and value.isascii() and value.replace("-", "").replace("_", "").isalnum()
    ):
        raise BadParameter("a key has 16 to 128 letters, digits, - or _")
    for project in projects:
        if session.get(Project, project) is None:
            raise NotFound(f"project {project} does not exist")
    try:
        row = insert(ApiKey).values(name=name, hash=digest(value), admin=admin, created_time=now_ms())
        key_id = session.execute(row.returning(col(ApiKey.id))).scalar_one()
    except IntegrityError:
        raise NameTaken(f"a key named {name!r}, or this very key, exists") from None
    for project in dict.fromkeys(projects):
        session.execute(insert(KeyProject).values(key_id=key_id, project_id=project))
    if by is not None:
        tell(session, key_id, admin, by, activity.KEY_CREATED, name)
        activity.happened_in(session, list(dict.fromkeys(projects)), by, activity.MEMBER_ADDED, member=name)
    return value


def tell(session: Session, key_id: int | None, admin: bool, by: str, event: str, name: str) -> None:
    """Write what was done to a user into the activity log of every project that they may touch."""
    activity.happened_in(session, projects_of(session, key_id, admin), by, event, name=name)


def ensure_admin(session: Session, value: str) -> None:
    """Make ``value`` a valid admin key; the key named ``admin`` of an earlier value is replaced by it.

    Raises:
        NameTaken: the value is that of another key, which is revoked or no admin's.
        Revoked: the value is that of the admin key, which was revoked.

    """
    row = session.execute(select(ApiKey).where(col(ApiKey.hash) == digest(value))).scalar_one_or_none()
    if row is not None and row.admin and row.revoked_time is None:
        return
    if row is not None and row.name != "admin":
        raise NameTaken(
            f"the admin key's value is that of the key {row.name!r}, which is revoked or no admin's"
        )
    if row is not None and row.revoked_time is not None:
        raise Revoked("the admin key was revoked")
    changed = execute(
        session,
        update(ApiKey)
        .where(col(ApiKey.name) == "admin")
        .values(hash=digest(value), admin=True, revoked_time=None),
    )
    if changed.rowcount == 0:
        create(session, "admin", admin=True, value=value)


def revoke(session: Session, name: str, by: str) -> None:
    """Make the key invalid from now on, and end all sign-ins with it.

    Raises:
        NotFound: there is no valid key of that name.

    """
    changed = execute(
        session,
        update(ApiKey)
        .where(col(ApiKey.name) == name, col(ApiKey.revoked_time).is_(None))
        .values(revoked_time=now_ms())
        .returning(col(ApiKey.id), col(ApiKey.admin)),
    )
    user = changed.one_or_none()
    if user is None:
        raise NotFound(f"there is no valid key named {name!r}")
    tell(session, user.id, user.admin, by, activity.KEY_REVOKED, name)
    logins.end_all(session, user.id)


def rotate(session: Session, name: str, by: str, but: str | None = None) -> str:
    """Give a user a new key, and return it, this once; the one before is invalid, and sign-ins end.

    Args:
        but: the login of the browser that asks for it.

    Raises:
        NotFound: there is no valid key of that name.
        Refused: it is the key that the platform makes valid whenever it starts.

    """
    if name == "admin":
        raise Refused(
            "the key named admin is that of CRAWLDOCK_API_KEY, or of the data directory: change it there"
        )
    value = secrets.token_hex(16)
    changed = execute(
        session,
        update(ApiKey)
        .where(col(ApiKey.name) == name, col(ApiKey.revoked_time).is_(None))
        .values(hash=digest(value))
        .returning(col(ApiKey.id), col(ApiKey.admin)),
    )
    user = changed.one_or_none()
    if user is None:
        raise NotFound(f"there is no valid key named {name!r}")
    tell(session, user.id, user.admin, by, activity.KEY_ROTATED, name)
    logins.end_all(session, user.id, but)
    return value


def members(session: Session, project_id: int) -> Sequence[AnyRow]:
    """Who may touch the project, by name: ``id``, ``name``, ``admin``, ``member``, ``created_time`` and
    ``used_time`` (ms), ``password`` (is there one?). Admins may, whether or not they are members.
    """
    member = exists().where(
        col(KeyProject.key_id) == col(ApiKey.id), col(KeyProject.project_id) == project_id
    )
    columns: list[Any] = [
        ApiKey.id, ApiKey.name, ApiKey.admin, member.label("member"), ApiKey.created_time, ApiKey.used_time,
        col(ApiKey.password).is_not(None).label("password"),
    ]  # fmt: skip
    valid = select(*columns).where(col(ApiKey.revoked_time).is_(None), or_(col(ApiKey.admin), member))
    return session.execute(valid.order_by(col(ApiKey.admin).desc(), col(ApiKey.name))).all()


def user(session: Session, key_id: int) -> ApiKey:
    """The user with a key."""
    return session.get_one(ApiKey, key_id)


def add_member(session: Session, project_id: int, name: str, by: str) -> None:
    """Let a user touch the project; one who may already goes on to.

    Raises:
        NotFound: there is no valid key of that name.

    """
    # The row is held: the key is not revoked meanwhile.
    known = select(col(ApiKey.id)).where(col(ApiKey.name) == name, col(ApiKey.revoked_time).is_(None))
    key_id = session.scalar(known.with_for_update(key_share=True)) if "\0" not in name else None
    if key_id is None:
        raise NotFound(f"there is no valid key named {name[:100]!r}")
    row = {"key_id": key_id, "project_id": project_id}
    new = insert_into(session, KeyProject).values(row).on_conflict_do_nothing()
    if session.scalar(new.returning(col(KeyProject.key_id))) is not None:
        activity.happened_to(session, project_id, by, activity.MEMBER_ADDED, member=name)


def remove_member(session: Session, project_id: int, name: str, by: str) -> None:
    """Take a user's right to touch the project; the key stays valid for others.

    Raises:
        NotFound: the project has no such member.

    """
    their = select(col(ApiKey.id)).where(col(ApiKey.name) == name).scalar_subquery()
    gone = delete(KeyProject).where(col(KeyProject.project_id) == project_id, col(KeyProject.key_id) == their)
    if "\0" in name or execute(session, gone).rowcount == 0:
        raise NotFound(f"project {project_id} has no member {name[:100]!r}")
    activity.happened_to(session, project_id, by, activity.MEMBER_REMOVED, member=name)


def listing(session: Session) -> list[tuple[ApiKey, list[int]]]:
    """All keys by name, each with the ids of its projects."""
    keys = session.scalars(select(ApiKey).order_by(col(ApiKey.name))).all()
    return [(key, list(session.scalars(_projects(key.id)))) for key in keys]


def _projects(key_id: int | None) -> Any:
    return (
        select(col(KeyProject.project_id))
        .where(col(KeyProject.key_id) == key_id)
        .order_by(col(KeyProject.project_id))
    )


# Every call asks these two: the statements are made once, on plain tables.
_KEY, _ANY = ApiKey.__table__.c, Project.__table__.c  # type: ignore[attr-defined]
_MEMBERS = KeyProject.__table__.c  # type: ignore[attr-defined]
_FIND = Prepared(
    select(_KEY.id, _KEY.name, _KEY.admin).where(
        _KEY.hash == bindparam("digest"), _KEY.revoked_time.is_(None)
    )
)
_PROJECT = Prepared(select(_ANY.id).where(_ANY.id == bindparam("project")))
_MEMBER = Prepared(
    select(_MEMBERS.project_id).where(
        _MEMBERS.project_id == bindparam("project"), _MEMBERS.key_id == bindparam("key")
    )
)


def find(session: Session, value: str) -> AnyRow | None:
    """The valid key ``value``: ``id``, ``name``, ``admin``; None when there is none."""
    key: AnyRow | None = _FIND.first(session, {"digest": digest(value)})
    return key


def projects_of(session: Session, key_id: int | None, admin: bool) -> list[int]:
    """Ids of the projects that the key may touch, in order."""
    if admin:
        return [id_ for id_ in session.scalars(select(col(Project.id)).order_by(col(Project.id))) if id_]
    return list(session.scalars(_projects(key_id)))


def may_touch(session: Session, key_id: int, admin: bool, project_id: int) -> bool:
    """Does the project exist, and may the key touch it? One question, so that neither answer leaks."""
    if admin:
        return bool(_PROJECT(session, {"project": project_id}))
    return bool(_MEMBER(session, {"project": project_id, "key": key_id}))
