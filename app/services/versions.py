"""Deployed versions and dependency eggs: store, build, make current, delete."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from app import broker
from app.db import AnyRow, after_commit, execute, now_ms
from app.errors import NotFound, Refused
from app.models import Project, ProjectEgg, Version, VersionFile, VersionState
from app.services import activity, projects

LEASE_MS = 30_000  # a builder not heard of for so long is gone
MAIN_EGG = "__main__"  # contract 4.6
LOG_LENGTH = 200_000  # characters of a build's log that are kept, the last ones


def add(
    session: Session,
    project_id: int,
    name: str,
    eggs: Sequence[tuple[str, bytes]],
    *,
    requirements: str,
    stack: str | None,
    by: str,
) -> int:
    """Store a version and announce it to a builder after commit; returns its id.

    Args:
        eggs: the project's own as ``MAIN_EGG``, then dependency eggs under their own names.

    """
    statement = insert(Version).values(
        project_id=project_id, name=name, state=VersionState.PENDING, requirements=requirements,
        stack=stack, spiders=[], created_by=by, created_time=now_ms(), log="",
    )  # fmt: skip
    version_id = session.execute(statement.returning(col(Version.id))).scalar_one() or 0
    rows = [
        {"version_id": version_id, "name": egg, "sha256": hashlib.sha256(data).hexdigest(), "data": data}
        for egg, data in eggs
    ]
    session.execute(insert(VersionFile), rows)
    activity.happened_to(session, project_id, by, activity.DEPLOYED, version=name)
    after_commit(session, partial(broker.build, version_id))
    return version_id


def claim_build(session: Session, version_id: int) -> Version | None:
    """Pending -> building: take the version, or None when somebody else has."""
    changed = execute(
        session,
        update(Version)
        .where(col(Version.id) == version_id, col(Version.state) == VersionState.PENDING)
        .values(state=VersionState.BUILDING, lease_time=now_ms() + LEASE_MS),
    )
    return session.get(Version, version_id) if changed.rowcount == 1 else None


def _building(version_id: int) -> Any:
    return (col(Version.id) == version_id) & (col(Version.state) == VersionState.BUILDING)


def _clean(text: str) -> str:
    """The end of a text, without the character that PostgreSQL does not store."""
    return text[-LOG_LENGTH:].replace("\0", "\ufffd")


def log(session: Session, version_id: int, text: str) -> bool:
    """Store the build's output so far and extend the lease; False: the build is no longer ours."""
    values = {"log": _clean(text), "lease_time": now_ms() + LEASE_MS}
    return execute(session, update(Version).where(_building(version_id)).values(values)).rowcount == 1


def _hold(session: Session, project_id: int) -> None:
    """Hold the project until commit: who changes its version, or deletes one, does so alone."""
    session.execute(
        select(col(Project.id)).where(col(Project.id) == project_id).with_for_update(key_share=True)
    )


def activate(session: Session, version_id: int, settings_module: str, spiders: Sequence[str]) -> bool:
    """Building -> ready, and the project's version unless a newer deploy was; False: no longer ours.

    An earlier version of the same name is replaced.

    1. The project is held: of builds that end together, each sees whether a newer one has come first.
    2. Newer is what was deployed later, whether or not somebody has gone back to an older one since.
    3. What is current then is spared, whatever its name: somebody has gone back to it.
    """
    row = execute(
        session,
        update(Version)
        .where(_building(version_id))
        .values(
            state=VersionState.READY, settings_module=settings_module, spiders=list(spiders), lease_time=None
        )
        .returning(col(Version.project_id), col(Version.name), col(Version.created_by)),
    ).one_or_none()
    if row is None:
        return False
    _hold(session, row.project_id)
    newer = exists().where(
        col(Version.project_id) == row.project_id,
        col(Version.state) == VersionState.READY,
        col(Version.id) > version_id,
    )
    newest = execute(
        session,
        update(Project)
        .where(
            col(Project.id) == row.project_id,
            or_(col(Project.version_id).is_(None), col(Project.version_id) < version_id),
            ~newer,
        )
        .values(version_id=version_id),
    )
    if newest.rowcount == 1:
        projects.set_deployed(session, row.project_id, spiders)
        activity.happened_to(session, row.project_id, row.created_by, activity.VERSION, version=row.name)
    spared = col(Version.id) != current(session, row.project_id)
    _delete(session, row.project_id, row.name, col(Version.id) < version_id, spared)
    return True


def make_current(session: Session, project_id: int, version_id: int, by: str) -> None:
    """Make a version that is ready the project's version; a later deploy takes its place, as ever.

    1. The project is held, so the version is not deleted meanwhile; who deletes it finds it current then.
    2. The UPDATE names what the project leaves, so pressing the button twice tells of it once.

    Raises:
        NotFound: the project has no such version, or not any more.
        Refused: it was not built, or not yet.

    """
    _hold(session, project_id)
    mine = (col(Version.id) == version_id) & (col(Version.project_id) == project_id)
    columns = (col(Version.state), col(Version.name), col(Version.spiders))
    found = session.execute(select(*columns).where(mine)).one_or_none()
    if found is None:
        raise NotFound(f"project {project_id} has no version with the id {version_id}")
    if found.state != VersionState.READY:
        raise Refused(f"version {found.name} cannot become the current one: it is {found.state}")
    changed = execute(
        session,
        update(Project)
        .where(
            col(Project.id) == project_id,
            or_(col(Project.version_id).is_(None), col(Project.version_id) != version_id),
        )
        .values(version_id=version_id),
    )
    if changed.rowcount == 1:
        projects.set_deployed(session, project_id, found.spiders)
        activity.happened_to(session, project_id, by, activity.VERSION, version=found.name)


def end_log(session: Session, version_id: int, text: str) -> None:
    """Store the build's output with what was said last, in the transaction that ends the build."""
    session.execute(update(Version).where(col(Version.id) == version_id).values(log=_clean(text)))


def fail(session: Session, version_id: int, error: str) -> bool:
    """Building -> failed; the project's version stays what it was."""
    values = {"state": VersionState.FAILED, "error": _clean(error), "lease_time": None}
    return execute(session, update(Version).where(_building(version_id)).values(values)).rowcount == 1


def reap_builds(session: Session) -> None:
    """Building -> failed where the builder has not been heard of; for the reconciler."""
    session.execute(
        update(Version)
        .where(col(Version.state) == VersionState.BUILDING, col(Version.lease_time) < now_ms())
        .values(state=VersionState.FAILED, error="the builder died; deploy again", lease_time=None)
    )


def waiting(session: Session) -> Sequence[int]:
    """Ids of versions that no builder has taken for more than two seconds: their message was lost."""
    statement = select(col(Version.id)).where(
        col(Version.state) == VersionState.PENDING, col(Version.created_time) < now_ms() - 2000
    )
    return [found for found in session.scalars(statement) if found is not None]


def progress(session: Session, version_id: int) -> AnyRow:
    """What has become of a deploy: ``state``, ``log``, ``error``, ``spiders``.

    Raises:
        NotFound: the version was deleted meanwhile.

    """
    columns = (col(Version.state), col(Version.log), col(Version.error), col(Version.spiders))
    row = session.execute(select(*columns).where(col(Version.id) == version_id)).one_or_none()
    if row is None:
        raise NotFound("the version was deleted while it was built")
    return row


def listing(session: Session, project_id: int) -> Sequence[Version]:
    """The project's versions that can run, oldest first."""
    statement = select(Version).where(
        col(Version.project_id) == project_id, col(Version.state) == VersionState.READY
    )
    return session.scalars(statement.order_by(col(Version.id))).all()


def current(session: Session, project_id: int) -> int | None:
    """The id of the project's current version, None when it has none."""
    return session.scalar(select(col(Project.version_id)).where(col(Project.id) == project_id))


def _delete(session: Session, project_id: int, name: str, *conditions: Any) -> int:
    built = col(Version.state).in_((VersionState.READY, VersionState.FAILED))
    return execute(
        session,
        delete(Version).where(
            col(Version.project_id) == project_id, col(Version.name) == name, built, *conditions
        ),
    ).rowcount


def remove(session: Session, project_id: int, name: str) -> None:
    """Delete a version; when it was the current one, the newest that is left becomes current.

    Jobs that run it go on. Without any version left, the project's pending jobs wait for a deploy.
    The project is held: no build becomes current between the look at what is left and the choice.

    Raises:
        NotFound: the project has no such version.

    """
    _hold(session, project_id)
    if not _delete(session, project_id, name):
        raise NotFound(f"project {project_id} has no version {name}")
    left = listing(session, project_id)
    if current(session, project_id) in [version.id for version in left]:
        return
    newest = left[-1] if left else None
    session.execute(
        update(Project).where(col(Project.id) == project_id).values(version_id=newest.id if newest else None)
    )
    projects.set_deployed(session, project_id, newest.spiders if newest else [])


# Eggs


def code(session: Session, version_id: int) -> tuple[Version, list[tuple[str, str]]]:
    """A version and the eggs of its path: (name, sha256), its own first, then the project's.

    Raises:
        NotFound: the version is gone.

    """
    version = session.get(Version, version_id)
    if version is None:
        raise NotFound("the version was deleted before the job started")
    own = session.execute(
        select(col(VersionFile.name), col(VersionFile.sha256)).where(
            col(VersionFile.version_id) == version_id
        )
    ).all()
    shared = session.execute(
        select(col(ProjectEgg.name), col(ProjectEgg.sha256)).where(
            col(ProjectEgg.project_id) == version.project_id
        )
    ).all()
    rows = sorted(own, key=lambda row: (row.name != MAIN_EGG, row.name)) + sorted(shared)
    return version, [(row.name, row.sha256) for row in rows]


def egg_data(session: Session, sha256: str) -> bytes:
    """The bytes of an egg.

    Raises:
        NotFound: no version or project holds it any more.

    """
    for table in (VersionFile, ProjectEgg):
        data = session.scalars(select(col(table.data)).where(col(table.sha256) == sha256).limit(1)).first()
        if data is not None:
            return bytes(data)
    raise NotFound("the egg was deleted before it could be used")


def add_egg(session: Session, project_id: int, name: str, version: str, data: bytes) -> None:
    """Store a dependency egg; one of the same name is replaced (contract 4.6).

    Raises:
        Refused: the name is the project's own.

    """
    if name == MAIN_EGG:
        raise Refused(f"the name {MAIN_EGG} is the project's own: deploy it as a version")
    # Two who store the same name queue at the project: the second one replaces what the first one wrote.
    _hold(session, project_id)
    session.execute(
        delete(ProjectEgg).where(col(ProjectEgg.project_id) == project_id, col(ProjectEgg.name) == name)
    )
    sha256 = hashlib.sha256(data).hexdigest()
    session.add(ProjectEgg(project_id=project_id, name=name, version=version, sha256=sha256, data=data))


def remove_egg(session: Session, project_id: int, name: str) -> None:
    """Delete a dependency egg.

    Raises:
        NotFound: the project has no such egg.

    """
    gone = delete(ProjectEgg).where(col(ProjectEgg.project_id) == project_id, col(ProjectEgg.name) == name)
    if execute(session, gone).rowcount == 0:
        raise NotFound(f"project {project_id} has no egg {name}")


def eggs(session: Session, project_id: int) -> Sequence[AnyRow]:
    """The project's dependency eggs by name: ``name``, ``version``."""
    return session.execute(
        select(col(ProjectEgg.name), col(ProjectEgg.version))
        .where(col(ProjectEgg.project_id) == project_id)
        .order_by(col(ProjectEgg.name))
    ).all()


def bundle(session: Session, project_id: int) -> tuple[str, list[tuple[str, bytes]]]:
    """The current version's requirements, and all eggs with their bytes; the project's own comes first."""
    version_id = current(session, project_id)
    found: list[tuple[str, bytes]] = []
    requirements = ""
    if version_id is not None:
        version, files = code(session, version_id)
        requirements = version.requirements
        found = [(name, egg_data(session, sha256)) for name, sha256 in files]
    else:
        rows = select(ProjectEgg).where(col(ProjectEgg.project_id) == project_id)
        found = [(egg.name, egg.data) for egg in session.scalars(rows)]
    return requirements, found
