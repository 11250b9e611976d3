"""The schedules of a project's own yml: read, and made true by a deploy."""

from collections.abc import Sequence
from typing import Any

import yaml
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import AnyRow
from app.errors import BadParameter, DeployFailed
from app.services import periodic, plans
from app.services.periodic import TABLE
from app.services.plans import NAME_LENGTH, Plan

FILE = "scrapinghub.yml"
LIST = "periodic_jobs"
MOST_BYTES = 256 << 10
MOST_VALUES = 20_000  # of the file, an alias counted as what it stands for

Named = Sequence[tuple[str, Plan]]


def read(data: bytes, spiders: Sequence[str]) -> Named | None:
    """The schedules that a yml has, by name; None when it says nothing of schedules.

    Args:
        spiders: those of the version that is deployed.

    Raises:
        DeployFailed: it cannot be read, or an entry cannot be; the message names entry and field.

    """
    content = _load(data)
    if not isinstance(content, dict) or LIST not in content:
        return None
    entries = content[LIST] or []
    if not isinstance(entries, list):
        raise DeployFailed(f"{FILE}: {LIST} is not a list")
    if len(entries) > periodic.MOST:
        raise DeployFailed(f"{FILE}: {LIST} has more than {periodic.MOST} entries")
    found: dict[str, Plan] = {}
    for place, entry in enumerate(entries, 1):
        name = _name(place, entry)
        if name in found:
            raise DeployFailed(f"{FILE}: {LIST}: two entries are named {name!r}")
        found[name] = _plan(name, entry, spiders)
    return list(found.items())


def _load(data: bytes) -> Any:
    if len(data) > MOST_BYTES:
        raise DeployFailed(f"{FILE} is larger than {MOST_BYTES >> 10} KiB")
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise DeployFailed(
            f"{FILE} cannot be read: {str(error)[:1000]}\n"
            '(what begins with * needs quotes: cron: "*/5 * * * *")'
        ) from None
    # Aliases may stand for more than fits into memory, or for what they are part of.
    left, values = [content], 0
    while left:
        value = left.pop()
        values += 1
        if values > MOST_VALUES:
            raise DeployFailed(f"{FILE} has more than {MOST_VALUES} values")
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return content


def _name(place: int, entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_LENGTH or "\0" in name:
        raise DeployFailed(f"{FILE}: {LIST}: entry {place} has no name, which is a text of its own")
    return name


def _plan(name: str, entry: dict[str, Any], spiders: Sequence[str]) -> Plan:
    try:
        plan = plans.parse({"description": name, **{str(key): entry[key] for key in entry if key != "name"}})
        for each in plan.spiders:
            if each["name"] not in spiders:
                raise BadParameter(f"invalid value for spiders: Spider not found: {each['name']}")
    except BadParameter as error:
        raise DeployFailed(f"{FILE}: {LIST}: {name}: {error}") from None
    return plan


def hold(session: Session, project_id: int) -> Sequence[AnyRow]:
    """The declared schedules of a project as they stay until commit.

    First of all that a deploy locks, as a firing locks its schedule first: else they would wait crosswise.
    """
    mine = select(TABLE).where(TABLE.c.project_id == project_id).order_by(TABLE.c.id)
    rows = session.execute(mine.with_for_update(key_share=True)).all()
    return [row for row in rows if row.declared is not None]


def apply(session: Session, project_id: int, named: Named, by: str) -> list[str]:
    """Make the declared schedules those that are named, and leave those made by hand as they are.

    One that somebody paused by hand stays paused.

    Returns: what has changed, a line each.
    """
    old = {row.declared: row for row in hold(session, project_id)}
    said = []
    for name in sorted(set(old) - {name for name, _ in named}):
        periodic.remove(session, project_id, old[name].id, by)
        said.append(f"periodic job {name}: removed")
    for name, plan in named:
        if name not in old:
            periodic.create(session, project_id, plan, by, declared=name)
            said.append(f"periodic job {name}: added")
        else:
            said.append(f"periodic job {name}: {_update(session, old[name], plan, by)}")
    return said


def _update(session: Session, row: AnyRow, plan: Plan, by: str) -> str:
    paused = row.paused_by is not None
    wanted = plans.parse({"enabled": plan.enabled and not paused}, plan, merge=True)
    still = f", still paused by {row.paused_by}" if paused else ""
    if wanted == plans.of_row(row):
        return f"unchanged{still}"
    periodic.change(session, row, wanted, by, deploy=True)
    return f"updated{still}"
