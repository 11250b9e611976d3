"""schedule.json and run.json: one more job (contract 3.2, 4.1)."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Job
from app.services import projects
from tests.factories import at_once, claim, everything, make_project, make_version, row

BOTH = pytest.mark.parametrize("path", ["schedule.json", "run.json"])


def post(client: TestClient, path: str, **data: Any) -> tuple[int, Any]:
    answer = client.post(f"/api/{path}", data={"project": 1, "spider": "quotes", **data})
    return answer.status_code, answer.json()


def job(client: TestClient, path: str, **data: Any) -> Job:
    status, answer = post(client, path, **data)
    assert (status, set(answer), answer["status"]) == (200, {"status", "jobid"}, "ok"), answer
    return row(JobKey.parse(answer["jobid"]))


def refused(client: TestClient, path: str, **data: Any) -> str:
    """The message of a bad request, which changed nothing."""
    before = everything()
    status, answer = post(client, path, **data)
    assert (status, answer["status"], everything()) == (400, "badrequest", before), answer
    return str(answer["message"])


@BOTH
def test_the_call_of_the_documentation(client: TestClient, path: str, sent: list[tuple[str, int]]) -> None:
    assert post(client, path, add_tag="sometag") == (200, {"status": "ok", "jobid": "1/1/1"})
    assert sent == [("run_job", 2)]


@BOTH
def test_defaults(client: TestClient, path: str) -> None:
    stored = job(client, path)
    assert (stored.state, stored.priority, stored.units, stored.spider_args) == ("pending", 2, 1, None)
    assert stored.scheduled_by == "admin"


@BOTH
def test_every_other_parameter_is_an_argument_of_the_spider(client: TestClient, path: str) -> None:
    given = {
        "start_url": "http://é.example/?a=1&b=2",
        "": "",
        "DOWNLOAD_DELAY": "0.5",
        "n": "1 + 1",
        "x": "%00",
    }
    assert job(client, path, **given).spider_args == given


@BOTH
def test_of_a_repeated_argument_the_last_one_wins(client: TestClient, path: str) -> None:
    assert job(client, path, a=["1", "2"]).spider_args == {"a": "2"}


@BOTH
def test_the_key_is_no_argument(client: TestClient, path: str) -> None:
    assert job(client, path, apikey="whatever").spider_args is None


@BOTH
@pytest.mark.parametrize("priority", range(5))
def test_priorities(client: TestClient, path: str, priority: int, sent: list[tuple[str, int]]) -> None:
    assert job(client, path, priority=priority).priority == priority
    assert sent == [("run_job", 4 - priority)]


@BOTH
@pytest.mark.parametrize("priority", ["-1", "5", "7", "high", "2.0", "", " 2"])
def test_other_priorities_are_refused(client: TestClient, path: str, priority: str) -> None:
    assert refused(client, path, priority=priority) == f"invalid value for priority: {priority}"


@pytest.mark.parametrize(
    ("path", "message"),
    [("schedule.json", "Spider 'quotes' already scheduled"), ("run.json", "quotes already scheduled")],
)
def test_the_same_job_twice(client: TestClient, path: str, message: str) -> None:
    job(client, path, a="1", b="2")
    before = everything()
    again = post(client, path, b="2", a="1", add_tag="x", priority=4)
    assert again == (400, {"status": "error", "message": message})
    assert everything() | {"spider": []} == before | {"spider": []}
    assert job(client, path, a="1").number == 3  # the refused one has used up its number


def test_the_rule_holds_between_both_calls(client: TestClient) -> None:
    job(client, "run.json", a="1", job_settings='{"S": 1}', meta="{}", environment="{}", units=2)
    assert post(client, "schedule.json", a="1")[1]["message"] == "Spider 'quotes' already scheduled"


@BOTH
def test_of_many_at_once_one_wins(client: TestClient, path: str) -> None:
    answers = at_once(8, lambda _: post(client, path, a="1"))
    assert sorted(status for status, _ in answers) == [200] + [400] * 7
    assert all("quotes" in answer["message"] for status, answer in answers if status == 400)


@BOTH
def test_unknown_spiders_and_projects(client: TestClient, path: str) -> None:
    assert refused(client, path, spider="other") == "Spider not found: other"
    assert refused(client, path, project=7) == "User 'admin' doesn't have access to project 7"
    make_version("1", [])
    assert refused(client, path) == "Spider not found: quotes"


@BOTH
def test_the_project_is_looked_at_first(client: TestClient, path: str) -> None:
    assert refused(client, path, project="invalid", spider="") == "invalid value for project: invalid"
    assert refused(client, path, spider="") == "missing 'spider' argument"


@BOTH
def test_arguments_have_limits(client: TestClient, path: str) -> None:
    assert "longer than 255" in refused(client, path, **{"n" * 256: "x"})
    assert refused(client, path, a="x" * 300_000) == "the spider arguments are longer than 262144 characters"
    assert job(client, path, a="x" * 200_000).spider_args == {"a": "x" * 200_000}


def test_what_run_reserves_schedule_passes_on(client: TestClient) -> None:
    given = {"units": "9", "meta": "x", "job_settings": "y"}
    assert job(client, "schedule.json", **given).spider_args == given


def test_all_that_run_takes(client: TestClient) -> None:
    stored = job(
        client, "run.json", units=6, add_tag=["b", "a"], job_settings='{"A": [1, null, {"é": 1.5}]}',
        environment='{"E": "1", "N": 2}', meta='{"mine": {"x": 1}, "project": 9, "close_reason": "x", "tags": []}',
    )  # fmt: skip
    assert (stored.units, stored.job_settings) == (6, {"A": [1, None, {"é": 1.5}]})
    assert (stored.environment, stored.meta) == ({"E": "1", "N": 2}, {"mine": {"x": 1}})
    assert (stored.spider_args, stored.project_id, stored.close_reason) == (None, 1, None)


def test_empty_mappings_mean_none(client: TestClient) -> None:
    stored = job(client, "run.json", job_settings="{}", meta="{}", environment="{}", cmd_args="")
    assert (stored.job_settings, stored.meta, stored.environment, stored.spider_args) == (None,) * 4
    assert post(client, "run.json")[1]["message"] == "quotes already scheduled"


@pytest.mark.parametrize("name", ["job_settings", "meta", "environment"])
@pytest.mark.parametrize(
    "value",
    ["x", "[]", "1", "null", '"x"', "{", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', '{"a":' * 300 + "1" + "}" * 300],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_what_is_no_json_object(client: TestClient, name: str, value: str) -> None:
    assert refused(client, "run.json", **{name: value}).startswith(f"invalid value for {name}: ")


def test_a_json_object_has_a_limit(client: TestClient) -> None:
    value = json.dumps({"a": "x" * 300_000})
    assert refused(client, "run.json", meta=value) == "invalid value for meta: longer than 262144 characters"


@pytest.mark.parametrize("value", [{"": "x"}, {"A=B": "x"}, {"A": {}}, {"A": []}])
def test_what_no_environment_can_hold(client: TestClient, value: dict[str, Any]) -> None:
    assert refused(client, "run.json", environment=json.dumps(value)).startswith(
        "invalid value for environment: "
    )


@pytest.mark.parametrize("units", ["0", "7", "x", ""])
def test_units_out_of_range(client: TestClient, units: str) -> None:
    assert refused(client, "run.json", units=units) == f"invalid value for units: {units}"


@pytest.mark.parametrize("state", ["pending", "running", "finished"])
def test_the_initial_state(client: TestClient, state: str, sent: list[tuple[str, int]]) -> None:
    stored = job(client, "run.json", meta=json.dumps({"state": state}))
    assert (stored.state, stored.meta, bool(sent)) == (state, None, state == "pending")
    assert (stored.token is not None) == (state == "running")
    assert stored.lease_time is stored.task_id is None
    assert post(client, "run.json")[0] == (200 if state == "finished" else 400)


@pytest.mark.parametrize("state", ["deleted", "x", None, 1, [], {}])
def test_no_other_initial_state(client: TestClient, state: Any) -> None:
    assert refused(client, "run.json", meta=json.dumps({"state": state})).startswith(
        "invalid value for meta: state"
    )


@BOTH
def test_a_spider_that_was_declared_can_be_scheduled(
    client: TestClient, path: str, sent: list[tuple[str, int]]
) -> None:
    with db.transaction() as session:
        projects.declare(session, 1, "mine")
        projects.add_spider(session, 1, "named")
    assert job(client, path, spider="mine").state == "pending"
    assert refused(client, path, spider="named") == "Spider not found: named"
    assert (claim(), sent) == (None, [])  # no worker of ours can run it


def test_a_spider_by_number(client: TestClient) -> None:
    make_project(2, ["b", "a"])
    answer = client.post("/api/run.json", data={"project": 2, "jobq_id": 2})
    assert answer.json() == {"status": "ok", "jobid": "2/2/1"}
    assert job(client, "run.json", jobq_id=1).number == 1
    for wrong in ("2", "x", "0", "99999999999999999999"):
        assert refused(client, "run.json", jobq_id=wrong) == f"invalid value for jobq_id: {wrong}"
    assert refused(client, "run.json", jobq_id=1, spider="other") == "invalid value for jobq_id: 1"


def test_a_script_has_a_command_line(client: TestClient) -> None:
    make_version("1", ["py:x.py", "quotes"])
    stored = job(client, "run.json", spider="py:x.py", cmd_args="--a 'b c' d")
    assert stored.job_cmd == ["py:x.py", "--a", "b c", "d"]
    assert post(client, "run.json", spider="py:x.py", cmd_args="other")[0] == 200
    assert refused(client, "run.json", spider="py:x.py", cmd_args="'open").startswith(
        "invalid value for cmd_args: "
    )
    assert "only scripts" in refused(client, "run.json", cmd_args="x")


@BOTH
def test_the_query_string_and_multipart_do_as_well(client: TestClient, path: str) -> None:
    answers = [
        client.post(f"/api/{path}?project=1&spider=quotes&a=%C3%A9+1"),
        client.post(f"/api/{path}?project=1", data={"spider": "quotes", "a": "2"}),
        client.post(
            f"/api/{path}", files={"project": (None, "1"), "spider": (None, "quotes"), "a": (None, "é")}
        ),
    ]
    args = [row(JobKey.parse(answer.json()["jobid"])).spider_args for answer in answers]
    assert args == [{"a": "é 1"}, {"a": "2"}, {"a": "é"}]


@BOTH
def test_the_same_project_in_query_and_body_is_no_contradiction(client: TestClient, path: str) -> None:
    assert client.post(f"/api/{path}?project=1", data={"project": 1, "spider": "quotes"}).status_code == 200
    answer = client.post(f"/api/{path}?project=2", data={"project": 1, "spider": "quotes"})
    assert answer.json()["message"] == "invalid value for project: given more than once"
