"""The list of a project's collections, a page at a time."""

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.models import Collection

_COLLECTION = Collection.__table__.c  # type: ignore[attr-defined]


def page(session: Session, project_id: int, limit: int, after: tuple[str, str]) -> list[tuple[str, str]]:
    """(type, name) of at most ``limit`` collections, by name as the database sorts text, then type.

    Args:
        after: the name and type before; empty: from the first one on.

    """
    place = tuple_(_COLLECTION.name, _COLLECTION.type)
    found = session.execute(
        select(_COLLECTION.type, _COLLECTION.name)
        .where(_COLLECTION.project_id == project_id, _COLLECTION.name.is_not(None), place > after)
        .order_by(_COLLECTION.name, _COLLECTION.type)
        .limit(limit)
    )
    return [(each.type, each.name) for each in found]
