"""Metadata of jobs: shown, merged, removed (contract 6.7, 7.3, 7.4)."""

from typing import Any

import pytest

from app import db
from app.errors import BadParameter, TooLarge
from app.keys import JobKey
from app.models import JobState, Kind
from app.services import jobmeta
from app.settings import settings
from tests.factories import (
    append,
    at_once,
    batch,
    change,
    everything,
    finish,
    finished_job,
    log_entry,
    make_job,
    make_version,
    row,
    running_job,
)

pytestmark = pytest.mark.usefixtures("database", "sent")

NESTED = {"a": [1, 2.5, None, True, "ü", {}, [], {"b": [{}]}]}


def show(*keys: JobKey) -> list[dict[str, Any]]:
    with db.reading() as session:
        return jobmeta.show(session, [row(key).id or 0 for key in keys])


def update(key: JobKey, token: str | None = None, /, **fields: Any) -> bool:
    with db.transaction() as session:
        return jobmeta.update(session, row(key).id or 0, fields, token=token)


def remove(key: JobKey, field: str) -> bool:
    with db.transaction() as session:
        return jobmeta.remove(session, row(key).id or 0, field)


def pushed_job(**fields: Any) -> JobKey:
    """A job as the queue makes it."""
    key = make_job(**{"args": {}, **fields})
    change(key, pushed=True)
    return key


def test_a_pushed_job_shows_what_was_recorded() -> None:
    key = pushed_job()
    shown = show(key)[0]
    assert shown.pop("updated_time") == shown["pending_time"] == row(key).pending_time
    assert shown.pop("pending_time") > 1_700_000_000_000
    assert shown == {
        "project": 1, "spider": "quotes", "state": "pending", "priority": 2, "units": 1, "scheduled_by": "admin",
    }  # fmt: skip


def test_a_job_of_the_dash_shows_what_was_recorded() -> None:
    make_version("7")
    key = make_job(args={"a": "1"}, meta={"meta1": "data1"})
    shown, url = show(key)[0], settings().url
    times = {shown.pop("updated_time"), shown.pop("pending_time")}
    assert times == {row(key).pending_time}
    assert shown == {
        "project": 1, "spider": "quotes", "spider_type": "manual", "state": "pending", "priority": 2, "units": 1,
        "tags": [], "scheduled_by": "admin", "meta1": "data1", "spider_args": {"a": "1"}, "version": "7",
        "api_url": f"{url}/api/", "portia_url": f"{url}/", "portia_stack_version": "latest",
    }  # fmt: skip


def test_a_job_that_ran_shows_its_counters_and_a_finished_one_who_did_what() -> None:
    job = running_job(tags=["b", "a"], job_settings={"X": 1}, environment={"E": "1"}, units=2)
    append(job, batch(Kind.LOGS, [log_entry("m", 40)]), stats={"n": 1})
    finish(job, "enough")
    shown = show(job.key)[0]
    assert all(shown.pop(f"{name}_time") > 0 for name in ("pending", "running", "finished", "updated"))
    wanted = {
        "state": "finished", "priority": 4, "units": 2, "tags": ["b", "a"], "close_reason": "enough",
        "started_by": "jobrunner", "completed_by": "jobrunner", "items": 0, "pages": 0, "logs": 1, "errors": 1,
        "job_settings": {"X": 1}, "environment": {"E": "1"}, "scrapystats": {"n": 1},
    }  # fmt: skip
    assert {name: shown.get(name) for name in wanted} == wanted
    inside = {
        "token",
        "auth",
        "lease_time",
        "task_id",
        "worker",
        "duplicate_key",
        "compacted",
        "purged",
        "pushed",
    }
    assert not inside & set(shown)


def test_a_job_that_was_never_ours_has_counters_once_there_is_something_to_count() -> None:
    key = pushed_job(state=JobState.RUNNING)
    assert not set(jobmeta.COUNTERS) & set(show(key)[0])
    change(key, items=3)
    assert show(key)[0]["items"] == 3
    assert "pages" not in show(key)[0]


def test_many_jobs_in_the_order_asked() -> None:
    made = [make_job(meta={"n": n}, tags=[str(n)]) for n in range(4)]
    asked = [made[2], made[0], made[3]]
    assert [(each["n"], each["tags"]) for each in show(*asked)] == [(2, ["2"]), (0, ["0"]), (3, ["3"])]
    with db.reading() as session:
        assert jobmeta.show(session, []) == jobmeta.show(session, [999_999]) == []


def test_only_the_fields_asked_for() -> None:
    key = make_job(meta={"n": None}, tags=["t"])
    for names in (
        ["n"],
        ["tags", "state"],
        ["spider", "api_url"],
        ["nosuch"],
        ["priority"],
        ["auth", "token"],
    ):
        with db.reading() as session:
            found = jobmeta.by_id(session, [row(key).id or 0], names)[row(key).id or 0]
        assert found.key == key
        assert found.fields == {name: value for name, value in show(key)[0].items() if name in names}


def test_any_value_is_kept_under_any_name() -> None:
    key = make_job(meta={"kept": 1})
    given = {
        "n": NESTED,
        "null": None,
        "": "empty",
        "a/b ü": [],
        "token": "mine",
        "meta": {},
        "nul": "a\0b",
        "x\0": 1,
    }
    assert update(key, **given)
    assert {name: value for name, value in show(key)[0].items() if name in (*given, "kept")} == given | {
        "kept": 1
    }
    assert update(key, n=2)
    assert (show(key)[0]["n"], show(key)[0]["null"]) == (2, None)


def test_what_only_the_platform_writes_is_passed_over() -> None:
    job = running_job()
    before = show(job.key)[0]
    assert update(job.key, **dict.fromkeys(jobmeta.STAMPED, "x"), **dict.fromkeys(jobmeta.OWN, "x"))
    after = show(job.key)[0]
    assert after.pop("updated_time") >= before.pop("updated_time")
    assert after == before
    assert row(job.key).token == job.token


def test_of_a_pushed_job_nothing_is_said_that_its_maker_may_not_say() -> None:
    key = pushed_job()
    given = dict.fromkeys(jobmeta.OWN, "x")
    assert update(key, **given)
    assert {name: show(key)[0][name] for name in jobmeta.OWN} == given


def test_what_was_read_can_be_written_back() -> None:
    job = running_job(tags=["t"], job_settings={"a": {}}, environment={"E": 1}, meta={"m": NESTED})
    finish(job)
    before = show(job.key)[0]
    assert update(job.key, **before)
    assert show(job.key)[0] | {"updated_time": 0} == before | {"updated_time": 0}
    assert row(job.key).meta == {"m": NESTED}


def test_columns() -> None:
    key = make_job()
    given = {
        "priority": 0, "units": 6, "version": "v", "close_reason": "r", "spider_args": {"a": "1", "n": 2}, "job_settings": NESTED,
        "environment": {"E": "x", "N": 1.5}, "job_cmd": ["py:x.py", "-a"], "scrapystats": {"f": 1.5}, "tags": ["z", "a", "z"],
    }  # fmt: skip
    assert update(key, **given)
    shown, job = show(key)[0], row(key)
    assert {name: shown[name] for name in given} == given | {"tags": ["z", "a"]}
    assert (job.priority, job.spider_args, job.meta) == (0, {"a": "1", "n": 2}, None)


def test_a_column_that_is_null_is_shown_no_more() -> None:
    key = make_job(job_settings={"a": 1}, tags=["t"])
    assert update(key, job_settings=None, spider_args=None, tags=None, version=None)
    assert not {"job_settings", "spider_args", "version"} & set(show(key)[0])
    assert show(key)[0]["tags"] == []


def test_a_long_close_reason_is_cut() -> None:
    key = finished_job()
    update(key, close_reason="ü" * 300)
    assert show(key)[0]["close_reason"] == "ü" * 255


DEEP: Any = 1
for _ in range(300):
    DEEP = [DEEP]


VARIABLES = (
    "a",
    [],
    1,
    {"a": []},
    {"a": {}},
    {"": "x"},
    {"a=b": "x"},
    {"a": "b\0"},
    {"a\0": "b"},
    {"x" * 256: "b"},
)
WRONG: dict[str, tuple[Any, ...]] = {
    "priority": (-1, 5, 2.0, "2", None, True, [2], 2**63),
    "units": (0, 7, None, "1", 1.5),
    "tags": ("t", [1], [None], [""], {"a": 1}, ["x" * 256], ["a\0b"], 1, True, DEEP),
    "close_reason": (1, ["r"], "a\0b", True),
    "version": (1, "x" * 256, "a\0"),
    "spider_args": VARIABLES,
    "environment": (*VARIABLES, {"E": "x" * 40_000}),
    "job_settings": ("a", [], 1, False, {"a": DEEP}),
    "scrapystats": ("a", [], 1, False),
    "job_cmd": ("py:x.py", [], [1], {}, ["a\0"]),
    "any": (DEEP, {"a": DEEP}),
}


@pytest.mark.parametrize(("name", "values"), WRONG.items(), ids=list(WRONG))
def test_a_wrong_value_changes_nothing_and_is_named(name: str, values: tuple[Any, ...]) -> None:
    key = make_job(tags=["t"])
    before = everything()
    for value in values:
        with pytest.raises(BadParameter, match=f"invalid value for {name}: |nested too deeply"):
            update(key, good=1, **{name: value})
    assert everything() == before


def test_deep_values_that_are_taken_can_be_shown() -> None:
    key, value = make_job(), DEEP
    for _ in range(50):
        value = value[0]
    update(key, deep=value, job_settings={"d": value[0]})
    assert show(key)[0]["deep"] == value


def test_a_value_may_have_1_mib_and_all_together_4() -> None:
    key = make_job()
    assert update(key, n="x" * ((1 << 20) - 2))
    with pytest.raises(TooLarge, match="1048576"):
        update(key, n="x" * ((1 << 20) - 1))
    with pytest.raises(TooLarge, match="4194304"):
        update(key, **{f"n{n}": "x" * 1_000_000 for n in range(4)})
    assert "n0" not in show(key)[0]


def test_a_write_is_a_change() -> None:
    key = finished_job()
    change(key, updated_time=1, touched_time=1)
    assert update(key)
    assert row(key).updated_time == row(key).touched_time > 1


def test_a_job_that_is_not_there() -> None:
    with db.transaction() as session:
        assert not jobmeta.update(session, 99, {"a": 1})
        assert not jobmeta.remove(session, 99, "a")


def test_a_job_writes_its_own_while_it_runs() -> None:
    job, other = running_job(), running_job()
    assert update(job.key, job.token, a=1, tags=["t"])
    before = everything()
    assert not update(other.key, job.token, a=2, tags=[])
    assert everything() == before
    finish(job)
    assert not update(job.key, job.token, a=2, tags=[])
    assert (show(job.key)[0]["a"], show(job.key)[0]["tags"]) == (1, ["t"])


def test_tags_are_shown_of_a_pushed_job_once_they_were_written() -> None:
    key = pushed_job()
    assert "tags" not in show(key)[0]
    update(key, tags=[])
    assert show(key)[0]["tags"] == []
    update(key, tags=["a"])
    assert show(key)[0]["tags"] == ["a"]
    remove(key, "tags")
    assert "tags" not in show(key)[0]


def test_a_field_is_removed() -> None:
    key = make_job(priority=4, units=3, tags=["t"], job_settings={"a": 1}, meta={"m": 1, "n": None})
    for field in (
        "priority",
        "units",
        "tags",
        "job_settings",
        "m",
        "nosuch",
        "state",
        "spider",
        "pending_time",
        "auth",
    ):
        assert remove(key, field)
    shown = show(key)[0]
    assert (shown["priority"], shown["units"], shown["tags"], shown["n"]) == (2, 1, [], None)
    assert not {"job_settings", "m"} & set(shown)
    assert (shown["state"], shown["spider"], shown["pending_time"] > 0) == ("pending", "quotes", True)


def test_writers_of_different_fields_lose_nothing() -> None:
    key = make_job()
    results = at_once(8, lambda n: [update(key, **{f"f{n}": i, f"{n}-{i}": i}) for i in range(10)])
    assert results == [[True] * 10] * 8
    shown = show(key)[0]
    assert [shown[f"{n}-{i}"] for n in range(8) for i in range(10)] == [*range(10)] * 8


def test_writers_of_tags_leave_one_whole_list() -> None:
    key = make_job()
    lists = [[f"{n}-{i}" for i in range(5)] for n in range(6)]
    assert at_once(6, lambda n: update(key, tags=lists[n])) == [True] * 6
    assert show(key)[0]["tags"] in lists


def test_the_token_is_shown_while_the_job_runs() -> None:
    job, pending = running_job(), make_job()
    with db.reading() as session:
        assert jobmeta.token(session, job.id) == job.token
        assert jobmeta.token(session, row(pending).id or 0) is None
    finish(job)
    with db.reading() as session:
        assert jobmeta.token(session, job.id) is None
