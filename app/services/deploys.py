"""The read side of versions: what was deployed, by whom, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow
from app.errors import NotFound
from app.models import Project, Version, VersionFile, VersionState

_COLUMNS: list[Any] = [
    Version.id, Version.name, Version.state, Version.stack, Version.spiders, Version.settings_module,
    Version.created_by, Version.created_time, Version.error,
]  # fmt: skip


@dataclass(frozen=True)
class Deploy:
    """A version, and how its spiders differ from those of the one that was ready before it."""

    version: AnyRow  # ``id``, ``name``, ``state``, ``stack``, ``spiders``, ``settings_module``, ``error``,
    # ``created_by``, ``created_time`` (ms)
    current: bool
    before: str | None  # the name of that one; None: this is the first, or it was not built
    added: Sequence[str]
    removed: Sequence[str]


@dataclass(frozen=True)
class Detail:
    """All there is to know of one deploy."""

    deploy: Deploy
    requirements: str
    log: str
    eggs: Sequence[AnyRow]  # ``name``, ``size`` in bytes


def history(session: Session, project_id: int, limit: int, below: int | None = None) -> list[Deploy]:
    """Versions with smaller ids than ``below``, the last one first, whatever has become of them."""
    mine = [col(Version.project_id) == project_id]
    if below is not None:
        mine.append(col(Version.id) < below)
    rows = session.execute(select(*_COLUMNS).where(*mine).order_by(col(Version.id).desc()).limit(limit)).all()
    current = session.scalar(select(col(Project.version_id)).where(col(Project.id) == project_id))
    before = _ready_before(session, project_id, rows[-1].id) if rows else None
    found = []
    for row in reversed(rows):
        found.append(_deploy(row, before, row.id == current))
        before = row if row.state == VersionState.READY else before
    return found[::-1]


def _ready_before(session: Session, project_id: int, version_id: int) -> AnyRow | None:
    """The last version before this one that can run, as far as it was not deleted or replaced."""
    earlier = (
        col(Version.project_id) == project_id,
        col(Version.state) == VersionState.READY,
        col(Version.id) < version_id,
    )
    columns = (col(Version.id), col(Version.name), col(Version.spiders))
    last = select(*columns).where(*earlier).order_by(col(Version.id).desc()).limit(1)
    return session.execute(last).one_or_none()


def _deploy(row: AnyRow, before: AnyRow | None, current: bool) -> Deploy:
    if row.state != VersionState.READY or before is None:
        return Deploy(row, current, None, (), ())
    now, then = set(row.spiders), set(before.spiders)
    return Deploy(row, current, before.name, sorted(now - then), sorted(then - now))


def detail(session: Session, project_id: int, version_id: int) -> Detail:
    """One version.

    Raises:
        NotFound: the project has no such version.

    """
    mine = (col(Version.project_id) == project_id, col(Version.id) == version_id)
    columns = (*_COLUMNS, col(Version.requirements), col(Version.log))
    row = session.execute(select(*columns).where(*mine)).one_or_none()
    if row is None:
        raise NotFound(f"project {project_id} has no version with the id {version_id}")
    current = session.scalar(select(col(Project.version_id)).where(col(Project.id) == project_id))
    size = func.length(col(VersionFile.data)).label("size")
    eggs = select(col(VersionFile.name), size).where(col(VersionFile.version_id) == version_id)
    return Detail(
        _deploy(row, _ready_before(session, project_id, version_id), version_id == current),
        row.requirements,
        row.log,
        session.execute(eggs.order_by(col(VersionFile.name))).all(),
    )
