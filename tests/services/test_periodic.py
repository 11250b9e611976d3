"""Schedules: what they may say, and changing, pausing, listing them."""

from functools import partial
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from app import db
from app.errors import BadParameter, NotFound, Refused
from app.models import Activity, PeriodicRun, RunState
from app.services import periodic, plans, projects
from app.services.plans import Plan
from tests.factories import change_periodic, everything, make_periodic, make_project, runs_of

pytestmark = pytest.mark.usefixtures("database", "sent")
GOOD: dict[str, Any] = {"cron": "0 5 * * *", "spiders": ["quotes"]}


def get(periodic_id: int) -> Any:
    with db.reading() as session:
        return periodic.get(session, 1, periodic_id)


def update(periodic_id: int, by: str = "alice", **fields: Any) -> None:
    with db.transaction() as session:
        row = periodic.hold(session, 1, periodic_id)
        periodic.change(session, row, plans.parse(fields, plans.of_row(row), merge=True), by)


def pause(periodic_id: int, *, paused: bool = True) -> None:
    with db.transaction() as session:
        periodic.pause(session, 1, periodic_id, "alice", paused=paused)


def test_a_new_schedule_knows_its_next_time() -> None:
    row = get(make_periodic(cron="0 5 * * *", timezone="Asia/Kolkata", jitter=0))
    assert (row.next_time // 60_000) % 1440 == 23 * 60 + 30
    assert (row.due_time, row.enabled, row.paused_by, row.created_by) == (row.next_time, True, None, "admin")


def test_jitter_makes_it_due_later_by_chance() -> None:
    waits = set()
    for _ in range(5):
        row = get(make_periodic(jitter=600))
        waits.add(row.due_time - row.next_time)
    assert len(waits) > 1 and all(0 <= wait <= 600_000 for wait in waits)


def test_scrapy_clouds_fields_and_ours_say_the_same() -> None:
    fields = {
        "type": "spider",
        "minutes_shift": "15",
        "hour": [1, "13"],
        "dayofweek": 1,
        "spiders": ["quotes"],
    }
    assert plans.parse(fields).cron == "15 1,13 * * 1"
    assert plans.parse({"hour": "*", "spiders": ["a"]}).cron == "0 * * * *"
    plan = plans.parse({**GOOD, "cron": "5 4 3 2 1"})
    assert plan.parts() == {"minutes_shift": "5", "hour": "4", "day": "3", "month": "2", "dayofweek": "1"}


def test_what_was_shown_may_be_sent_back_with_one_of_two_fields_changed() -> None:
    old = plans.parse({**GOOD, "cron": "5 4 * * *"})
    shown = {**GOOD, "cron": old.cron, **old.parts(), "enabled": True, "disabled": False, "id": 1, "next": []}
    assert plans.parse(shown, old) == old
    assert plans.parse({**shown, "hour": "6"}, old).cron == "5 6 * * *"
    assert plans.parse({**shown, "cron": "1 1 * * *"}, old).cron == "1 1 * * *"
    assert not plans.parse({**shown, "disabled": True}, old).enabled
    assert not plans.parse({**shown, "enabled": False}, old).enabled
    with pytest.raises(BadParameter, match="is not what"):
        plans.parse({**shown, "hour": "6", "cron": "1 1 * * *"}, old)


def test_merging_leaves_what_is_not_given() -> None:
    old = plans.parse({**GOOD, "description": "d", "addtags": ["a"], "job_settings": {"A": 1}, "priority": 4})
    assert plans.parse({}, old, merge=True) == old
    assert plans.parse({"hour": "7"}, old, merge=True).cron == "0 7 * * *"
    emptied = plans.parse({"addtags": None, "job_settings": {}, "priority": None}, old, merge=True)
    assert (emptied.tags, emptied.job_settings, emptied.priority, emptied.description) == ([], None, 2, "d")
    assert plans.parse({**GOOD, "hour": None}, old).description == ""


def test_spiders_as_they_are_sent() -> None:
    spiders = [
        {"name": "a", "args": {"n": 1, "q": "x"}, "priority": "3", "addtags": ["t", "t"]},
        {"name": "b", "args": {}, "priority": None, "addtags": []},
    ]
    stored = [{"name": "a", "args": {"n": "1", "q": "x"}, "priority": 3, "tags": ["t"]}, {"name": "b"}]
    assert plans.parse({**GOOD, "spiders": spiders}).spiders == stored
    assert plans.parse({**GOOD, "spiders": '[{"name": "b"}]'}).spiders == [{"name": "b"}]
    assert plans.parse({**GOOD, "spiders": "b"}).spiders == [{"name": "b"}]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("cron", ["x", "* * * *", 5, True, ["1"], {}, "0 0 31 2 *"]),
        ("hour", ["24", "1 2", " ", True, {}, [{}], "x"]),
        ("minutes_shift", ["60", -1]),
        ("timezone", ["x", 1, [], "UTC+2"]),
        ("jitter", [-1, 1.5, "x", True, [], 86_401, "9" * 30, "²"]),
        ("overlap", ["x", True, 1, [], {}]),
        ("missed", ["x", "run"]),
        ("description", ["x" * 256, {}, True, "a\0b"]),
        ("spiders", [[], {}, "", [""], 1.5j, True, [True], [{"name": ""}], ["x" * 256], ["a\0"], ["a"] * 101, "[", "{}",
                     [[]], [{"args": {}}]]),
        ("spiders.args", [[{"name": "a", "args": bad}] for bad in
                          (1, [], {"a=b": "1"}, {"": "1"}, {"a": True}, {"a": {}}, {"a": None}, {"x" * 256: "1"},
                           {"a": "x" * 300_000})]),
        ("spiders.priority", [[{"name": "a", "priority": bad}] for bad in (5, "x", -1, [], True)]),
        ("job_settings", ["x", [], 1, {"a": "b\0"}, {"a": "x" * 300_000}, {1: 2}, {"a": "\ud800"}]),
        ("addtags", [[""], [{}], {}, ["x" * 256], [str(n) for n in range(101)]]),
        ("priority", [-1, 5, "x", True, 1.5]),
        ("enabled", ["x", 2, [], {}]),
        ("type", ["script", 1, {}]),
    ],
)  # fmt: skip
def test_bad_fields_are_named(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(BadParameter) as error:
            plans.parse({**GOOD, field.partition(".")[0]: value})
        assert field.partition(".")[0] in str(error.value) or "cron" in str(error.value), (value, error.value)


def test_missing_and_unknown_fields() -> None:
    for fields, words in (
        ({"cron": "0 5 * * *"}, "missing 'spiders'"),
        ({"spiders": ["a"]}, "missing 'cron'"),
        ({**GOOD, "colour": 1}, "unknown argument colour"),
        ({**GOOD, "spiders": [{"name": "a", "units": 1}]}, "unknown field units"),
        ({**GOOD, "enabled": True, "disabled": True}, "enabled"),
    ):
        with pytest.raises(BadParameter, match=words):
            plans.parse(fields)


def test_a_spider_that_the_project_has_not_is_refused() -> None:
    with pytest.raises(BadParameter, match="Spider not found: nobody"):
        make_periodic(spiders=["quotes", "nobody"])
    schedule = make_periodic()
    before = everything()
    with pytest.raises(BadParameter, match="Spider not found: nobody"):
        update(schedule, spiders=["nobody"])
    assert everything() == before


def test_a_schedule_whose_spider_is_gone_says_so_at_once_and_can_still_be_changed() -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["other"])
    update(schedule, description="d", enabled=False)
    with db.reading() as session:
        row = periodic.get(session, 1, schedule)
        gone = periodic.missing(session, 1, [row])
    assert (gone, row.description) == ({schedule: ["quotes"]}, "d")
    assert periodic.problem(row, gone[schedule]) == "Spider not found: quotes"


def test_a_change_counts_anew_only_when_it_is_about_the_time() -> None:
    schedule = make_periodic()
    change_periodic(schedule, next_time=1, due_time=2)
    update(schedule, description="d", priority=0)
    assert (get(schedule).next_time, get(schedule).due_time) == (1, 2)
    update(schedule, hour="6")
    assert get(schedule).next_time > 1 and get(schedule).cron == "0 6 * * *"


def test_pausing_and_going_on() -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        session.add(PeriodicRun(periodic_id=schedule, fire_time=1, state=RunState.WAITING, time=1))
    pause(schedule)
    row = get(schedule)
    assert (row.enabled, row.paused_by, row.next_time, row.due_time) == (False, "alice", None, None)
    assert [(run.state, run.reason) for run in runs_of(schedule)] == [("skipped", "paused")]
    with db.reading() as session:
        events = [
            orjson.loads(each) for each in session.scalars(select(Activity.event).order_by(Activity.id))
        ]
    assert [(each["event"], each["user"]) for each in events[:2]] == [
        ("periodic:created", "admin"), ("periodic:paused", "alice"),
    ]  # fmt: skip
    assert events[2] == {
        "event": "periodic:skipped", "periodic": schedule, "description": "", "fire_time": 1, "reason": "paused",
        "user": f"periodic job {schedule}",
    }  # fmt: skip
    pause(schedule, paused=False)
    row = get(schedule)
    assert (row.enabled, row.paused_by) == (True, None) and row.next_time
    assert get(make_periodic(disabled=True)).paused_by == "admin"


def test_another_projects_schedule_is_none_of_ours() -> None:
    make_project(2)
    theirs = make_periodic(project=2)
    for use in (periodic.get, periodic.hold, partial(periodic.remove, by="alice")):
        with (
            pytest.raises(NotFound, match=f"project 1 has no periodic job {theirs}"),
            db.transaction() as session,
        ):
            use(session, 1, theirs)


def test_the_list_is_by_id_and_can_be_searched() -> None:
    ids = [make_periodic(description=f"number {n}", cron=f"{n} 5 * * *") for n in range(5)]
    make_project(2)
    make_periodic(project=2)
    with db.reading() as session:

        def found(**wanted: Any) -> list[int]:
            return [row.id for row in periodic.listing(session, 1, **wanted)]

        assert found() == ids
        assert found(after=ids[1], limit=2) == ids[2:4]
        assert found(offset=4) == ids[4:]
        assert found(search="NUMBER 3") == [ids[3]]
        assert found(search="%") == []
        assert (periodic.count(session, 1), periodic.count(session, 1, "quotes")) == (5, 5)


def test_a_project_has_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "MOST", 2)
    make_periodic(), make_periodic()
    with pytest.raises(Refused, match="has 2 periodic jobs"):
        make_periodic()


def test_deleting_takes_the_history_along() -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        session.add(PeriodicRun(periodic_id=schedule, fire_time=1, state=RunState.STARTED, time=1))
    with db.transaction() as session:
        periodic.remove(session, 1, schedule, "alice")
    assert runs_of(schedule) == []


def test_the_history_is_read_from_its_end() -> None:
    ids = [make_periodic(), make_periodic(), make_periodic()]
    with db.transaction() as session:
        for place, schedule in enumerate(ids[:2]):
            for n in range(5):
                time = n * 10 + place
                session.add(PeriodicRun(periodic_id=schedule, fire_time=time, state=RunState.STARTED, time=1))
    with db.reading() as session:
        assert [run.fire_time for run in periodic.runs(session, ids[0], limit=2)] == [40, 30]
        assert [run.fire_time for run in periodic.runs(session, ids[0], before=30, limit=9)] == [20, 10, 0]
        last = periodic.last_runs(session, ids, 2)
    assert {one: [run.fire_time for run in runs] for one, runs in last.items()} == {
        ids[0]: [40, 30],
        ids[1]: [41, 31],
    }


def test_a_plan_is_what_a_row_says() -> None:
    plan = plans.parse({**GOOD, "addtags": ["a"], "jitter": 5, "overlap": "queue", "missed": "run_once"})
    with db.transaction() as session:
        schedule = periodic.create(session, 1, plan, "admin")
    assert plans.of_row(get(schedule)) == plan
    assert plans.of_row(get(make_periodic())) == Plan("0 5 * * *", [{"name": "quotes"}])
