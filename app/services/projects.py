"""Projects, their spiders, and who may touch them."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlmodel import col

from app.db import AnyRow, execute, insert_into, now_ms
from app.errors import BadParameter, NameTaken, NotFound
from app.jsonlines import value_json
from app.keys import LARGEST
from app.models import Project, ProjectSetting, Spider, Version
from app.services import activity

TOLD_LENGTH = 255  # characters of the names of settings that one event tells


def create(session: Session, name: str, project_id: int | None = None) -> int:
    """Create a project and return its id: the one given, or the next free number.

    Raises:
        BadParameter: the name is empty or too long, or the id is not a positive number.
        NameTaken: a project with that id exists.

    """
    check_project_name(name)
    if project_id is not None and not 1 <= project_id <= LARGEST:
        raise BadParameter(f"invalid value for id: {project_id}")
    if project_id is None:
        project_id = (session.scalar(select(func.max(col(Project.id)))) or 0) + 1
    try:
        session.execute(insert(Project).values(id=project_id, name=name, spiders=0, created_time=now_ms()))
    except IntegrityError:
        raise NameTaken(f"project {project_id} exists") from None
    return project_id


def check_project_name(name: str) -> None:
    """Refuse what no project can be called.

    Raises:
        BadParameter: it is such a name.

    """
    if not 1 <= len(name) <= 100:
        raise BadParameter("a project's name has 1 to 100 characters")
    if not name.isprintable() or name != name.strip():
        raise BadParameter("a project's name has no control characters, and no spaces around it")


def rename(session: Session, project_id: int, name: str, by: str) -> None:
    """Give a project another name.

    Raises:
        BadParameter: no project can have that name.

    """
    check_project_name(name)
    other = update(Project).where(col(Project.id) == project_id, col(Project.name) != name)
    if execute(session, other.values(name=name)).rowcount == 1:
        activity.happened_to(session, project_id, by, activity.RENAMED, name=name)


def listing(session: Session) -> Sequence[AnyRow]:
    """All projects by id: ``id``, ``name``, ``version`` (the current one's name or None)."""
    version = select(col(Version.name)).where(col(Version.id) == col(Project.version_id)).scalar_subquery()
    statement = select(col(Project.id), col(Project.name), version.label("version"))
    return session.execute(statement.order_by(col(Project.id))).all()


def name(session: Session, project_id: int) -> str:
    """The name of a project; empty when there is none of that id."""
    return session.scalar(select(col(Project.name)).where(col(Project.id) == project_id)) or ""


def current_version(project_id: Any) -> Any:
    """A scalar subquery: the name of the current version of a project (an id or a column), or NULL."""
    return (
        select(col(Version.name))
        .join(Project, col(Project.version_id) == col(Version.id))
        .where(col(Project.id) == project_id)
        .scalar_subquery()
    )


def spiders(session: Session, project_id: int, names: Sequence[str] = ()) -> Sequence[AnyRow]:
    """The project's spiders by name: ``name``, ``number``, ``type``, ``tags`` (None: none), and ``version``
    (None: no version has it).

    Those that were deployed or declared; not those that only jobs of the queue have named (contract 6.8).
    """
    statement = select(
        col(Spider.name),
        col(Spider.number),
        col(Spider.type),
        col(Spider.tags),
        case((col(Spider.deployed), current_version(project_id))).label("version"),
    ).where(col(Spider.project_id) == project_id, or_(col(Spider.deployed), col(Spider.declared)))
    if names:
        statement = statement.where(col(Spider.name).in_(names))
    return session.execute(statement.order_by(col(Spider.name))).all()


def spider_number(session: Session, project_id: int, name: str) -> int | None:
    """The number of a spider, deployed or not; None when the project has never heard of the name."""
    return session.scalar(select(col(Spider.number)).where(_named(project_id, name)))


def _named(project_id: int, name: str) -> Any:
    return and_(col(Spider.project_id) == project_id, col(Spider.name) == name)


def check_name(name: str) -> None:
    """Refuse what no spider can be called.

    Raises:
        BadParameter: it is such a name.

    """
    if not 1 <= len(name) <= 255 or "\0" in name:
        raise BadParameter("invalid value for spider: a name has 1 to 255 characters and no NUL")


def add_spider(session: Session, project_id: int, name: str) -> int:
    """The number of a spider; a new name gets the next one, but is no spider of the project yet.

    Raises:
        BadParameter: no spider can have that name.
        NotFound: there is no such project.

    """
    check_name(name)
    known = spider_number(session, project_id, name)
    if known is not None:
        return known
    # The UPDATE holds the project until commit. Of two who add the same name, the second one waits here
    # and then finds it; a number that it took for nothing is passed over, as numbers may be.
    number = execute(
        session,
        update(Project)
        .where(col(Project.id) == project_id)
        .values(spiders=Project.spiders + 1)
        .returning(col(Project.spiders)),
    ).scalar_one_or_none()
    if number is None:
        raise NotFound(f"unknown project: {project_id}")
    known = spider_number(session, project_id, name)
    if known is None:
        new = {"project_id": project_id, "number": number, "name": name, "type": "manual", "jobs": 0}
        session.execute(insert(Spider).values(**new, deployed=False, declared=False))
    return number if known is None else known


def declare(session: Session, project_id: int, name: str) -> int:
    """Make a spider of the project by hand, and return its number (contract 6.2).

    Raises:
        BadParameter, NotFound: as ``add_spider``.

    """
    number = add_spider(session, project_id, name)
    session.execute(
        update(Spider).where(_named(project_id, name), ~col(Spider.declared)).values(declared=True)
    )
    return number


def set_deployed(session: Session, project_id: int, names: Sequence[str]) -> None:
    """Make ``names`` exactly the spiders that the current version has; new names get the next numbers."""
    mine = col(Spider.project_id) == project_id
    known = set(session.scalars(select(col(Spider.name)).where(mine)))
    for name in sorted(set(names) - known):
        add_spider(session, project_id, name)
    # Held in the order in which schedules hold several of them.
    session.execute(
        select(col(Spider.id)).where(mine).order_by(col(Spider.id)).with_for_update(key_share=True)
    )
    session.execute(update(Spider).where(mine).values(deployed=col(Spider.name).in_(names)))


# Settings (contract 6.4)


def settings(session: Session, project_id: int) -> dict[str, Any]:
    """What was set, by name."""
    statement = select(col(ProjectSetting.name), col(ProjectSetting.value))
    found = session.execute(statement.where(col(ProjectSetting.project_id) == project_id))
    return {name: orjson.loads(value) for name, value in found}


def setting(session: Session, project_id: int, name: str) -> Any:
    """One setting; None when it is not set, or set to null."""
    found = session.get(ProjectSetting, (project_id, name))
    return None if found is None else orjson.loads(found.value)


def set_settings(session: Session, project_id: int, values: dict[str, Any], by: str) -> None:
    """Merge values into the settings; null is a value too. The activity log has their names only.

    Raises:
        BadParameter: a name is empty, has a NUL or more than 255 characters; a value is nested too deeply.
        TooLarge: a value has more than 1 MiB.

    """
    rows = []
    for name, value in sorted(values.items()):  # in one order, so that no two writers wait for each other
        if not 1 <= len(name) <= 255 or "\0" in name:
            raise BadParameter(f"invalid name of a setting: {name[:50]!r}; 1 to 255 characters, no NUL")
        rows.append({"project_id": project_id, "name": name, "value": value_json(value).decode()})
    if rows:
        new = insert_into(session, ProjectSetting)
        written = new.on_conflict_do_update(
            index_elements=["project_id", "name"], set_={"value": new.excluded.value}
        )
        session.execute(written, rows)
        names = ", ".join(sorted(values))[:TOLD_LENGTH]
        activity.happened_to(session, project_id, by, activity.SETTINGS, name=names)


def remove_setting(session: Session, project_id: int, name: str, by: str) -> None:
    """Remove a setting, if there is one of that name."""
    mine = col(ProjectSetting.project_id) == project_id
    if execute(session, delete(ProjectSetting).where(mine, col(ProjectSetting.name) == name)).rowcount:
        activity.happened_to(session, project_id, by, activity.SETTING_REMOVED, name=name)
