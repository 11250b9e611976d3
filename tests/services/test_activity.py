"""The activity log, a part at a time."""

from typing import Any

import orjson
import pytest

from app import db
from app.services import activity
from tests.factories import make_job, make_project

pytestmark = pytest.mark.usefixtures("database", "sent")


def add(*events: dict[str, Any]) -> None:
    with db.transaction() as session:
        activity.add(session, 1, [orjson.dumps(event) for event in events])


def part(limit: int = 10, below: int | None = None, **wanted: str) -> tuple[list[Any], int | None]:
    with db.reading() as session:
        found = activity.part(session, 1, limit, below, **wanted)
    return [orjson.loads(row.event) for row in found.events], found.next


def test_an_empty_log() -> None:
    make_project(2)
    assert part() == part(user="admin") == part(kind="job:") == ([], None)


def test_the_newest_come_first_and_each_is_in_one_part() -> None:
    add(*({"n": n} for n in range(7)))
    seen, below = [], None
    while True:
        events, below = part(3, below)
        seen += [event["n"] for event in events]
        if below is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1, 0]
    assert part(7)[1] is None


def test_events_of_one_user_or_kind() -> None:
    make_job()
    add({"event": "job:odd", "user": "Admin"}, {"event": "other", "user": 'a"b%'}, {"user": ["admin"]})
    with db.transaction() as session:
        activity.happened_to(session, 1, "joe", activity.RENAMED, name="x")
    assert [event["event"] for event in part(kind="job:")[0]] == ["job:odd", "job:scheduled"]
    assert [event["event"] for event in part(user="admin")[0]] == ["job:scheduled"]
    assert [event["event"] for event in part(user='a"b%')[0]] == ["other"]
    assert part(user="joe") == ([{"event": "project:renamed", "user": "joe", "name": "x"}], None)
    assert part(user="joe", kind="job:") == ([], None)


def test_a_search_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "SCANNED", 4)
    add({"event": "rare", "user": "a"}, *({"event": "common", "user": "a"} for _ in range(9)))
    below, asked, seen = None, 0, []
    while True:
        events, below = part(10, below, kind="rare")
        asked, seen = asked + 1, seen + events
        if below is None:
            break
    assert (len(seen), asked) == (1, 3)
