"""jobq/*: the reading calls of the job queue (contract 6.12-6.15)."""

from typing import Any

import orjson
from sqlalchemy import insert, select
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Job, JobState, Kind
from tests.factories import (
    append,
    batch,
    change,
    everything,
    finish,
    finished_job,
    log_entry,
    make_job,
    make_key,
    make_project,
    make_version,
    row,
    running_job,
)

CALLS = ("count", "list", "jobsummary", "summary", "summary/pending", "1/summary", "1/summary/running")


def get(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(f"/jobq/1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    return [orjson.loads(line) for line in answer.text.splitlines()]


def keys(client: TestClient, **params: Any) -> list[JobKey]:
    """Of the list; the count of the same filter agrees."""
    found = [JobKey.parse(each["key"]) for each in get(client, "list", **params)]
    if not {"count", "start"} & set(params):
        assert count(client, **params) == len(found)
    return found


def count(client: TestClient, **params: Any) -> Any:
    answer = client.get("/jobq/1/count", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=UTF-8")
    return answer.json()


def pushed(**fields: Any) -> JobKey:
    key = make_job(**{"args": {}, **fields})
    change(key, pushed=True)
    return key


def in_order(number: int, **fields: Any) -> list[JobKey]:
    """Finished jobs, the last one entered its state first; at the times 1000, 1001, …"""
    made = [finished_job(**fields) for _ in range(number)]
    for place, key in enumerate(made):
        change(key, state_time=1000 + place)
    return made[::-1]


def test_a_row_as_recorded(client: TestClient) -> None:
    key = pushed(state=JobState.FINISHED, tags=["t1", "t2"])
    found = get(client, "list")[0]
    moment = row(key).finished_time
    assert 0 < found.pop("elapsed") < 60_000
    assert found == {
        "key": str(key), "ts": moment, "state": "finished", "spider": "quotes", "finished_time": moment, "tags": ["t1", "t2"],
    }  # fmt: skip


def test_a_row_of_a_job_that_ran(client: TestClient) -> None:
    make_version("7")
    job = running_job()
    append(job, batch(Kind.ITEMS, [{}] * 3), batch(Kind.LOGS, [log_entry("m", 40)]))
    finish(job)
    found, stored = get(client, "list")[0], row(job.key)
    assert found.pop("elapsed") > 0
    times = {name: getattr(stored, name) for name in ("pending_time", "running_time", "finished_time")}
    assert found == {
        "key": str(job.key), "ts": stored.finished_time, "state": "finished", "spider": "quotes", "close_reason": "finished",
        "items": 3, "pages": 0, "logs": 1, "errors": 1, "version": "7", **times,
    }  # fmt: skip


def test_the_fields_asked_for(client: TestClient) -> None:
    key = finished_job(tags=[], meta={"m": {"a": None}, "null": None})
    found = get(
        client, "list", jobmeta=["m", "null", "tags", "key", "spider_args", "nosuch", "auth", "state"]
    )[0]
    assert set(found) == {"key", "ts", "elapsed", "state", "m", "null", "tags", "spider_args"}
    assert (found["key"], found["m"], found["null"], found["tags"]) == (str(key), {"a": None}, None, [])
    assert get(client, "list", jobmeta="spider")[0]["spider"] == "quotes"


def test_elapsed_is_never_nought_and_counts_from_the_change_of_state(client: TestClient) -> None:
    key = finished_job()
    with db.reading() as session:
        now = session.scalar(select(db.now_ms())) or 0
    change(key, state_time=now - 5000)
    assert 5000 <= get(client, "list")[0]["elapsed"] < 60_000
    change(key, state_time=now + 100_000)
    assert get(client, "list")[0]["elapsed"] == 1


def test_states(client: TestClient) -> None:
    made = {state: make_job(state=state) for state in list(JobState)[:3]}
    gone = make_job()
    change(gone, state=JobState.DELETED)
    assert keys(client) == [made[JobState.FINISHED]]
    assert keys(client, state="pending") == [made[JobState.PENDING]]
    assert set(keys(client, state=["pending", "running"])) == {made[JobState.PENDING], made[JobState.RUNNING]}
    assert keys(client, state="deleted") == [gone]
    assert len(keys(client, state=list(JobState))) == 4


def test_the_latest_to_enter_its_state_comes_first(client: TestClient) -> None:
    first, second, third = (finished_job() for _ in range(3))
    assert keys(client) == [third, second, first]
    change(first, state_time=2**40)
    change(second, state_time=2**40)
    change(third, state_time=1)
    assert keys(client) == [second, first, third]


def test_pages(client: TestClient) -> None:
    made = in_order(5)
    assert keys(client, count=2) == made[:2]
    assert keys(client, count=2, start=3) == made[3:]
    assert keys(client, count=99, start=1) == made[1:]
    assert keys(client, start=5) == keys(client, count=0) == []


def test_a_list_has_1000_rows_at_most(client: TestClient) -> None:
    rows = [
        {"project_id": 1, "spider_id": 1, "number": n, "state": "finished", "state_time": n // 3, "updated_time": 1, "touched_time": 1}
        for n in range(1, 1203)
    ]  # fmt: skip
    with db.transaction() as session:
        session.execute(insert(Job), rows)
    assert [
        len(keys(client, **params))
        for params in ({"count": 1000}, {"count": 5000}, {"count": 1000, "start": 1000})
    ] == [1000, 1000, 202]
    found = [each["key"] for start in (0, 1000) for each in get(client, "list", start=start)]
    assert found == [f"1/1/{n}" for n in range(1202, 0, -1)]
    assert count(client) == 1202


def test_a_spider(client: TestClient) -> None:
    make_project(2, ["a", "b"])
    mine = finished_job(spider="a", project=2)
    finished_job(spider="b", project=2)
    for spider, wanted in (("a", [str(mine)]), ("nosuch", []), ("", []), ("A", []), ("ü /", [])):
        answer = client.get("/jobq/2/list", params={"spider": spider})
        assert [orjson.loads(line)["key"] for line in answer.text.splitlines()] == wanted
        assert client.get("/jobq/2/count", params={"spider": spider}).json() == len(wanted)


def test_tags(client: TestClient) -> None:
    both, foo, bar, none = (finished_job(tags=tags) for tags in (["foo", "bar"], ["foo"], ["ü b"], []))
    assert keys(client, has_tag=["foo", "ü b"]) == [bar, foo, both]
    assert keys(client, lacks_tag=["foo", "ü b"]) == [none]
    assert keys(client, has_tag="foo", lacks_tag="bar") == [foo]
    assert keys(client, has_tag="nosuch") == []


def test_named_jobs_in_the_order_of_the_list(client: TestClient) -> None:
    made = in_order(4)
    pending = make_job()
    assert keys(client, key=[str(made[3]), str(made[1]), "1/1/99", str(made[3])]) == [made[1], made[3]]
    assert keys(client, key=str(pending)) == []
    assert keys(client, key=str(pending), state="pending") == [pending]


def test_a_window_of_time(client: TestClient) -> None:
    made = in_order(5)  # at 1004, … 1000
    assert keys(client, startts=1002) == made[:3]
    assert keys(client, endts=1002) == made[3:]
    assert keys(client, startts=1001, endts=1003) == made[2:4]
    assert keys(client, startts=1005) == keys(client, endts=1000) == keys(client, startts=10**14) == []


def test_stop_before_a_job(client: TestClient) -> None:
    made = in_order(5)
    change(made[2], state_time=1003)  # as made[1], which is the newer one
    assert keys(client, stop=str(made[3])) == made[:3]
    assert keys(client, stop=str(made[2])) == made[:2]
    assert keys(client, stop=str(made[0])) == []
    assert keys(client, stop=str(made[3]), start=1, count=1) == made[1:2]


def test_stop_before_a_job_that_is_not_in_the_list_stops_nowhere(client: TestClient) -> None:
    made = in_order(2)
    for key in (make_job(), JobKey(1, 1, 99)):
        assert keys(client, stop=str(key)) == made
    assert keys(client, stop=str(made[1]), spider="nosuch") == []


def test_unknown_parameters_and_filters_are_passed_over(client: TestClient) -> None:
    key = finished_job()
    assert keys(client, filter='["state", "=", ["x"]]', count_by="x", params="{}", sort="-ts") == [key]


def test_one_json_array_when_asked(client: TestClient) -> None:
    key = finished_job()
    for path, params in (("list", {}), ("summary", {}), ("jobsummary", {"key": str(key)})):
        wanted = [each.keys() for each in get(client, path, **params)]
        for asked, accept in (({"format": "json"}, "*/*"), ({}, "application/json;q=0.9, */*;q=0.1")):
            answer = client.get(f"/jobq/1/{path}", params={**params, **asked}, headers={"accept": accept})
            assert answer.headers["content-type"].startswith("application/json")
            assert [each.keys() for each in answer.json()] == wanted
    assert client.get("/jobq/1/list", params={"format": "json", "state": "running"}).json() == []
    assert client.get("/jobq/1/list", params={"format": "jl", "state": "running"}).content == b""


# Summaries


def test_summaries_of_named_jobs(client: TestClient) -> None:
    pending, ended = make_job(meta={"n": 1}), finished_job(meta={"n": 2})
    gone = finished_job()
    change(gone, state=JobState.DELETED)
    asked = [str(key) for key in (ended, gone, pending)]
    found = get(client, "jobsummary", key=[*asked, "1/1/99", "1/9/1"], jobmeta=["n", "key"])
    assert [(each["key"], each["state"], each.get("n")) for each in found] == [
        (asked[0], "finished", 2), (asked[1], "deleted", None), (asked[2], "pending", 1),
    ]  # fmt: skip
    assert set(found[0]) == {"key", "ts", "elapsed", "state", "n"}
    assert get(client, "jobsummary", key=asked[2])[0]["spider"] == "quotes"
    assert get(client, "jobsummary") == []


def test_queues_as_recorded(client: TestClient) -> None:
    key = pushed(state=JobState.RUNNING)
    pending, running, finished = get(client, "summary")
    assert pending == {"summary": [], "count": 0, "name": "pending"}
    assert finished == {"summary": [], "count": 0, "name": "finished"}
    moment, job = row(key).running_time, running["summary"][0]
    assert (running["count"], running["name"], job.pop("elapsed") > 0) == (1, "running", True)
    assert job == {
        "key": str(key),
        "state": "running",
        "running_time": moment,
        "spider": "quotes",
        "ts": moment,
    }


def test_a_queue_has_its_length_and_its_newest_jobs(client: TestClient) -> None:
    made = in_order(7)
    make_job()
    queue = get(client, "summary")[2]
    assert (queue["count"], [each["key"] for each in queue["summary"]]) == (7, [str(key) for key in made[:5]])
    (queue,) = get(client, "summary/finished", count=2, start=6, jobmeta="spider_type")
    assert (queue["count"], queue["name"], len(queue["summary"])) == (7, "finished", 1)
    assert set(queue["summary"][0]) == {"key", "ts", "elapsed", "state", "spider_type"}
    assert [each["count"] for each in get(client, "summary", count=0)] == [1, 0, 7]


def test_queues_of_a_spider(client: TestClient) -> None:
    make_project(2, ["a", "b"])
    mine = make_job("b", 2)
    make_job("a", 2)
    for spider, wanted in ((2, [str(mine)]), (9, [])):
        for path in (f"/jobq/2/{spider}/summary/pending", f"/jobq/2/{spider}/summary"):
            queue = orjson.loads(client.get(path).text.splitlines()[0])
            assert (queue["count"], [each["key"] for each in queue["summary"]]) == (len(wanted), wanted)
    assert [orjson.loads(line)["name"] for line in client.get("/jobq/2/9/summary").text.splitlines()] == [
        "pending",
        "running",
        "finished",
    ]


# Errors


def test_who_may_ask(client: TestClient) -> None:
    make_project(2)
    job = running_job()
    member, guest = (make_key(f"{n}", projects=[n]) for n in (1, 2))
    for path in CALLS:
        for auth, status in (
            (None, 401),
            (("wrong", ""), 401),
            ((guest, ""), 403),
            ((str(job.key), job.token), 403),
            ((member, ""), 200),
        ):
            client.auth = auth
            answer = client.get(f"/jobq/1/{path}")
            assert answer.status_code == status, (path, auth)
            if status == 401:
                assert answer.json() == {"error": "Unauthorized", "message": "Unauthorized"}
                assert answer.headers["www-authenticate"] == 'Basic realm="apikey"'
        client.auth = None
        assert client.get(f"/jobq/x/{path}", params={"state": "x"}).status_code == 401
        client.auth = (member, "")
        assert client.get(f"/jobq/3/{path}").status_code == 403
        assert client.get(f"/jobq/x/{path}").status_code == 400


BAD: list[tuple[str, str]] = [
    *[("list", query) for query in (
        "state=x", "state=", "state=Pending", "count=-1", "count=x", "count=1.5", "count=99999999999999999999", "start=-1", "start=1/1/1", "key=1",
        "key=2/1/1", "key=1/1/x", "key=", "stop=x", "stop=2/1/1", "stop=", "startts=x", "startts=-1", "endts=1.5", "endts=9999999999999999", "has_tag=",
        "lacks_tag=", "jobmeta=", "format=csv", "format=msgpack", "spider=%00", "has_tag=%ff", "spider=a&spider=b", "key=1/1/99999999999",
        "has_tag=" + "x" * 256,
    )],
    *[("count", query) for query in ("state=x", "key=1", "stop=x", "startts=x", "spider=%ff")],
    *[("jobsummary", query) for query in ("key=1/1", "key=2/1/1", "jobmeta=", "format=xml")],
    *[("summary", query) for query in ("count=x", "start=-1", "jobmeta=", "format=x")],
    ("summary/deleted", ""), ("summary/x", ""), ("summary/%ff", ""), ("x/summary", ""), ("0/summary", ""), ("99999999999/summary/pending", ""),
]  # fmt: skip


def test_bad_parameters_are_named(client: TestClient) -> None:
    before = everything()
    for path, query in BAD:
        answer = client.get(f"/jobq/1/{path}?{query}")
        named = query.partition("=")[0] or ("queue" if path.startswith("summary") else "spider")
        assert answer.status_code == 400, (path, query, answer.text)
        assert named in answer.json()["message"] or "UTF-8" in answer.json()["message"], (
            path,
            query,
            answer.text,
        )
    assert everything() == before


def test_nothing_is_written_here(client: TestClient) -> None:
    for path in CALLS:
        assert client.post(f"/jobq/1/{path}").status_code == 405
