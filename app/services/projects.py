"""Projects, their spiders, and who may touch them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, now_ms
from app.errors import BadParameter, NameTaken
from app.keys import LARGEST
from app.models import Project, Spider, Version


def create(session: Session, name: str, project_id: int | None = None) -> int:
    """Create a project and return its id: the one given, or the next free number.

    Raises:
        BadParameter: the name is empty or too long, or the id is not a positive number.
        NameTaken: a project with that id exists.

    """
    if not 1 <= len(name) <= 100:
        raise BadParameter("a project's name has 1 to 100 characters")
    if project_id is not None and not 1 <= project_id <= LARGEST:
        raise BadParameter(f"invalid value for id: {project_id}")
    if project_id is None:
        project_id = (session.scalar(select(func.max(col(Project.id)))) or 0) + 1
    try:
        session.execute(insert(Project).values(id=project_id, name=name, spiders=0, created_time=now_ms()))
    except IntegrityError:
        raise NameTaken(f"project {project_id} exists") from None
    return project_id


def listing(session: Session) -> Sequence[AnyRow]:
    """All projects by id: ``id``, ``name``, ``version`` (the current one's name or None)."""
    version = select(col(Version.name)).where(col(Version.id) == col(Project.version_id)).scalar_subquery()
    statement = select(col(Project.id), col(Project.name), version.label("version"))
    return session.execute(statement.order_by(col(Project.id))).all()


def exists(session: Session, project_id: int) -> bool:
    """Is there a project of that id?"""
    return session.scalar(select(col(Project.id)).where(col(Project.id) == project_id)) is not None


def current_version(project_id: Any) -> Any:
    """A scalar subquery: the name of the current version of a project (an id or a column), or NULL."""
    return (
        select(col(Version.name))
        .join(Project, col(Project.version_id) == col(Version.id))
        .where(col(Project.id) == project_id)
        .scalar_subquery()
    )


def spiders(session: Session, project_id: int, names: Sequence[str] = ()) -> Sequence[AnyRow]:
    """The project's deployed spiders by name: ``name``, ``number``, ``type``, ``version``."""
    statement = select(
        col(Spider.name),
        col(Spider.number),
        col(Spider.type),
        current_version(project_id).label("version"),
    ).where(col(Spider.project_id) == project_id, col(Spider.deployed))
    if names:
        statement = statement.where(col(Spider.name).in_(names))
    return session.execute(statement.order_by(col(Spider.name))).all()


def set_deployed(session: Session, project_id: int, names: Sequence[str]) -> None:
    """Make ``names`` exactly the spiders that the current version has; new names get the next numbers."""
    mine = col(Spider.project_id) == project_id
    known = set(session.scalars(select(col(Spider.name)).where(mine)))
    for name in sorted(set(names) - known):
        number = execute(
            session,
            update(Project)
            .where(col(Project.id) == project_id)
            .values(spiders=Project.spiders + 1)
            .returning(col(Project.spiders)),
        ).scalar_one()
        session.execute(
            insert(Spider).values(
                project_id=project_id, number=number, name=name, type="manual", deployed=True, jobs=0
            )
        )
    session.execute(update(Spider).where(mine).values(deployed=col(Spider.name).in_(names)))
