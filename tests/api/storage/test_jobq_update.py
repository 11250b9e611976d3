"""jobq/*: updating and cancelling jobs, and who may (contract 6.10, 6.11)."""

from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from app import db
from app.models import Job
from tests.api.storage.queue import events, lines, meta, push, refused, send, stored
from tests.factories import (
    claim,
    everything,
    finish,
    finished_job,
    make_job,
    make_key,
    make_project,
    row,
    running_job,
    states,
)

# Updating


def test_a_job_without_a_close_reason(client: TestClient) -> None:
    for before in ("pending", "running"):
        key = push(client, state=before)
        assert lines(client, "update", {"key": key, "state": "finished"}) == [
            {"key": key, "prevstate": before}
        ]
        assert (stored(key).close_reason, stored(key).completed_by, stored(key).token) == (
            None,
            "admin",
            None,
        )


def test_fields_of_an_update_are_metadata(client: TestClient) -> None:
    key = push(client, a=1, b=2, state="running")
    update = {
        "key": key,
        "state": "finished",
        "b": 3,
        "close_reason": "done",
        "tags": ["x"],
        "finished_time": 5,
    }
    lines(client, "update", update)
    found = meta(client, key)
    assert [found[name] for name in ("a", "b", "close_reason", "tags")] == [1, 3, "done", ["x"]]
    assert found["finished_time"] > 5
    assert lines(client, "update", {"key": key, "a": 9, "units": 4}) == [
        {"key": key, "prevstate": "finished"}
    ]
    assert (meta(client, key)["a"], meta(client, key)["units"]) == (9, 4)
    assert events() == ["started", "completed"]


@pytest.mark.parametrize("state", ["pending", "running", "finished", "deleted"])
def test_the_same_state_again_stamps_nothing(client: TestClient, state: str) -> None:
    key = push(client, state=state)
    before = everything()
    assert lines(client, "update", {"key": key, "state": state}) == [{"key": key, "prevstate": state}]
    assert everything() == before


@pytest.mark.parametrize(
    ("state", "wanted"),
    [("running", "pending"), ("finished", "running"), ("finished", "pending"), ("deleted", "finished"), ("deleted", "running")],
)  # fmt: skip
def test_no_job_goes_back(client: TestClient, state: str, wanted: str) -> None:
    first, key = push(client), push(client, state=state)
    message = refused(client, "update", {"key": key, "state": wanted})
    assert message == f"job {key} is {state}, it cannot become {wanted}"
    # Among others it has no line, as an unknown job: what was done already is not taken back.
    found = lines(client, "update", {"key": first, "state": "running"}, {"key": key, "state": wanted})
    assert found == [{"key": first, "prevstate": "pending"}]


def test_the_lines_of_an_update_follow_each_other(client: TestClient) -> None:
    key, other = push(client), push(client)
    steps = [
        (key, "running"),
        (other, "finished"),
        ("1/1/99", "running"),
        (key, "finished"),
        ("1/9/1", "deleted"),
        (key, "deleted"),
    ]
    answer = lines(client, "update", *({"key": each, "state": state} for each, state in steps))
    assert answer == [
        {"key": key, "prevstate": "pending"}, {"key": other, "prevstate": "pending"},
        {"key": key, "prevstate": "running"}, {"key": key, "prevstate": "finished"},
    ]  # fmt: skip
    assert events() == ["scheduled", "scheduled", "started", "completed", "completed", "deleted"]


def test_an_update_gives_and_takes_the_token(client: TestClient) -> None:
    key = push(client)
    lines(client, "update", {"key": key, "state": "running"})
    token = client.get(f"/jobs/{key}/auth").json()
    assert client.post(f"/logs/{key}", content=b"{}", auth=(key, token)).status_code == 200
    assert claim() is None
    lines(client, "update", {"key": key, "state": "finished"})
    assert client.post(f"/logs/{key}", content=b"{}", auth=(key, token)).status_code == 401


@pytest.mark.parametrize("state", ["finished", "deleted"])
def test_a_job_is_taken_from_our_worker(client: TestClient, revoked: list[list[str]], state: str) -> None:
    job = running_job()
    for _ in range(2):
        lines(client, "update", {"key": str(job.key), "state": state, "close_reason": "enough"})
    assert (revoked, finish(job)) == ([["task"]], False)
    assert (row(job.key).state, row(job.key).close_reason, row(job.key).lease_time) == (state, "enough", None)


def test_a_stop_wins_over_the_reason_of_an_update(client: TestClient) -> None:
    for reason, wanted in (
        ("shutdown", "cancelled"),
        (None, "cancelled"),
        ("cancel_timeout", "cancel_timeout"),
    ):
        key = push(client, state="running")
        send(client, "cancel", [{"key": key}])
        lines(
            client,
            "update",
            {"key": key, "state": "finished", **({"close_reason": reason} if reason else {})},
        )
        assert stored(key).close_reason == wanted


def test_all_jobs_of_a_spider(client: TestClient, revoked: list[list[str]]) -> None:
    ours = str(running_job().key)
    keys = [
        ours,
        *(push(client, state=state) for state in ("pending", "running", "finished")),
        push(client, state="deleted"),
    ]
    other = push(client, spider="other")
    answer = lines(client, "update", {"key": "1/1", "state": "running"}, {"key": "1/9", "state": "deleted"})
    assert [each["prevstate"] for each in answer] == [
        "running",
        "pending",
        "running",
    ]  # finished ones do not go back
    answer = lines(
        client, "update", {"key": "1/1", "state": "deleted", "why": "end"}, {"key": other, "state": "running"}
    )
    assert [each["key"] for each in answer] == [*keys[:4], other]
    assert [stored(key).state for key in keys] == ["deleted"] * 5
    assert (meta(client, keys[0])["why"], "why" in meta(client, keys[4]), revoked) == (
        "end",
        False,
        [["task"]],
    )


def test_thousands_of_jobs_of_a_spider(client: TestClient) -> None:
    common = {
        "project_id": 1,
        "spider_id": 1,
        "state": "pending",
        "state_time": 1,
        "updated_time": 1,
        "touched_time": 1,
    }
    with db.transaction() as session:
        session.execute(insert(Job), [{**common, "number": n} for n in range(1, 1702)])
    answer = lines(client, "update", {"key": "1/1", "state": "finished", "close_reason": "x"})
    assert answer == [{"key": f"1/1/{n}", "prevstate": "pending"} for n in range(1, 1702)]
    assert (len(events()), set(states().values()), stored("1/1/1701").close_reason) == (
        1701,
        {"finished"},
        "x",
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"state": "running"}, "missing 'key' argument"), ({"key": 5}, "invalid value for key: not a text"),
        ({"key": "1/1/x"}, "invalid value for key: 1/1/x"), ({"key": "1"}, "invalid value for key: 1"),
        ({"key": "2/1/1"}, "invalid value for key: 2/1/1 is not of project 1"), ({"key": "2/1"}, "invalid value for key: 2/1 is not"),
        ({"key": "1/1/1", "state": "x"}, "invalid value for state: x"), ({"key": "1/1/1", "units": 0}, "invalid value for units: "),
        ("1/1/1", "Error parsing data, line 2 is not a JSON object"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_line_changes_nothing(client: TestClient, wrong: Any, message: str) -> None:
    key = push(client)
    assert refused(client, "update", {"key": key, "state": "running"}, wrong).startswith(message)


# Cancelling


def test_a_pending_job_is_cancelled_at_once_a_running_one_is_marked(
    client: TestClient, revoked: list[list[str]]
) -> None:
    ours, pending = running_job(), make_job()
    outside, ended = push(client, state="running"), finished_job()
    counts = [
        client.post(f"/jobq/{key}/cancel").json()
        for key in (ours.key, pending, outside, ended, "1/1/99", "1/9/1")
    ]
    assert counts == [{"count": 1}] * 3 + [{"count": 0}] * 3
    assert [states()[str(key)] for key in (ours.key, pending, outside)] == ["running", "finished", "running"]
    assert [meta(client, str(key)).get("cancelled_by") for key in (ours.key, outside, ended)] == [
        "admin",
        "admin",
        None,
    ]
    assert (stored(outside).close_reason, revoked) == (None, [["task"]])


def test_jobs_are_cancelled_by_key(client: TestClient) -> None:
    keys = [push(client), push(client, state="running"), push(client, state="finished"), "1/1/99", "1/9/1"]
    answer = send(client, "cancel", [{"key": key} for key in [*keys, keys[0]]])
    assert (answer.json(), answer.headers["content-type"].split(";")[0]) == ({"count": 2}, "application/json")
    assert events()[-2:] == ["cancelled", "cancelled"]
    assert send(client, "cancel").json() == send(client, "cancel", []).json() == {"count": 0}


def test_jobs_are_cancelled_by_number(client: TestClient) -> None:
    make_project(2)
    keys = [push(client, state=state) for state in ("running", "pending", "finished", "pending", "running")]
    other = make_job(project=2)
    assert send(client, "cancel", count=3).json() == {"count": 3}
    assert [stored(key).stop_time is not None for key in keys] == [True, True, False, True, False]
    assert send(client, "cancel", count=5).json() == {"count": 1}
    assert send(client, "cancel", count=5).json() == {"count": 0}
    assert [stored(key).state for key in keys] == ["running", "finished", "finished", "finished", "running"]
    assert row(other).state == "pending"


def test_thousands_of_jobs_are_cancelled(client: TestClient) -> None:
    common = {"project_id": 1, "spider_id": 1, "state_time": 1, "updated_time": 1, "touched_time": 1}
    with db.transaction() as session:
        kinds = ("pending", "running")
        session.execute(insert(Job), [{**common, "state": kinds[n % 2], "number": n} for n in range(1, 2003)])
    assert send(client, "cancel", [{"key": f"1/1/{n}"} for n in range(1, 1203)]).json() == {"count": 1202}
    assert send(client, "cancel", count=10_000).json() == {"count": 800}
    assert (events(), set(states().values())) == (["cancelled"] * 2002, {"running", "finished"})


@pytest.mark.parametrize(
    "wrong",
    [{}, "x", 1, ["1/1/1"], [{}], [{"key": 1}], [{"key": "x"}], [{"key": "1/1"}], [{"key": "2/1/1"}]],
    ids=str,
)
def test_what_cannot_be_cancelled(client: TestClient, wrong: Any) -> None:
    push(client)
    assert refused(client, "cancel", wrong)
    for count in ("-1", "x", ""):
        assert refused(client, "cancel", count=count).startswith("invalid value for count: ")
    assert "not both" in refused(client, "cancel", [{"key": "1/1/1"}], count=1)


def test_no_jobs_but_those_of_the_path_are_cancelled(client: TestClient) -> None:
    key = push(client)
    for path in ("1/1/x", "1/0/1", "1/1/99999999999"):
        assert client.post(f"/jobq/{path}/cancel").status_code == 400
    assert stored(key).state == "pending"


# Who may

CALLS = [
    ("1/push", b'{"spider": "quotes"}'), ("1/startjob", b"{}"), ("1/update", b'{"key": "1/1/1", "state": "deleted"}'),
    ("1/1/1/cancel", b""), ("1/cancel", b'[{"key": "1/1/1"}]'), ("1/cancel?count=1", b""), ("1/push", b"{"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_strangers_and_jobs_may_not(client: TestClient, path: str, body: bytes) -> None:
    job = running_job(args={})
    guest = make_key(projects=[make_project(2)])
    before = everything()
    callers = [
        (("", ""), 401),
        (("0" * 32, ""), 401),
        ((str(job.key), "x"), 401),
        ((guest, ""), 403),
        ((str(job.key), job.token), 403),
    ]
    for auth, status in callers:
        answer = client.post(f"/jobq/{path}", content=body, auth=auth)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "message"})
    assert everything() == before


def test_a_key_of_the_project_may_all_but_cancel_by_number(client: TestClient) -> None:
    client.auth = (make_key(projects=[1]), "")
    push(client)
    assert (
        refused(client, "cancel", status=403, count=1)
        == "jobs are cancelled by number with an admin key alone"
    )
    assert send(client, "startjob", {}).json()["started_by"] == "guest"
    assert send(client, "cancel", [{"key": "1/1/1"}]).json() == {"count": 1}
    assert lines(client, "update", {"key": "1/1/1", "state": "finished"})
    assert (stored("1/1/1").cancelled_by, stored("1/1/1").completed_by) == ("guest", "guest")
