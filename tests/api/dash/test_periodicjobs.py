"""v2/projects/P/periodicjobs: make, read, change, run, delete, with Scrapy Cloud's fields and with ours."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.services import firing, projects
from tests.factories import change_periodic, everything, make_periodic, make_project, runs_of

URL = "/api/v2/projects/1/periodicjobs"
BOTH = pytest.mark.parametrize("url", [URL, "/api/projects/1/periodicjobs"])
# As a client of Scrapy Cloud makes one.
THEIRS = {
    "type": "spider", "description": "nightly", "month": "*", "day": "*", "dayofweek": "1-5", "hour": "3",
    "minutes_shift": "30", "priority": 3, "addtags": ["all"], "disabled": False,
    "spiders": [{"name": "quotes", "priority": 4, "args": {"n": "1"}, "addtags": ["one"]}],
}  # fmt: skip
OURS = {
    "cron": "30 3 * * 1-5", "timezone": "Europe/Berlin", "overlap": "queue", "missed": "run_once", "jitter": 60,
    "job_settings": {"A": 1}, "spiders": ["quotes"], "enabled": True,
}  # fmt: skip


def make(client: TestClient, url: str = URL, **fields: Any) -> dict[str, Any]:
    answer = client.post(url, json=fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@BOTH
def test_scrapy_clouds_fields_work_as_they_are(client: TestClient, url: str) -> None:
    made = make(client, url, **THEIRS)
    assert {name: made[name] for name in THEIRS} == THEIRS
    assert (made["cron"], made["timezone"], made["enabled"]) == ("30 3 * * 1-5", "UTC", True)
    assert made["words"] == "At 03:30 on Monday through Friday"
    assert len(made["next"]) == 5 and all("T03:30:00" in time for time in made["next"])
    assert (made["problem"], made["declared"], made["created_by"]) == (None, None, "admin")
    assert client.get(f"{url}/{made['id']}").json() == made


def test_our_fields(client: TestClient) -> None:
    made = make(client, **OURS)
    stored = [{"name": "quotes", "args": {}, "priority": None, "addtags": []}]
    assert {name: made[name] for name in OURS} == {**OURS, "spiders": stored}
    assert (made["hour"], made["minutes_shift"], made["dayofweek"], made["day"]) == ("3", "30", "1-5", "*")


def test_a_form_does_too(client: TestClient) -> None:
    form = {
        "cron": "@daily",
        "spiders": '[{"name": "quotes", "args": {"n": 1}}]',
        "addtags": ["a", "b"],
        "enabled": "0",
    }
    made = client.post(URL, data=form).json()
    assert (made["cron"], made["addtags"], made["enabled"], made["next"]) == (
        "0 0 * * *",
        ["a", "b"],
        False,
        [],
    )
    assert made["spiders"][0]["args"] == {"n": "1"}


def test_the_list_comes_in_pages(client: TestClient) -> None:
    make_project(2)
    make_periodic(project=2)
    ids = [make_periodic(description=f"number {n}") for n in range(3)]
    first = client.get(URL, params={"page_size": 2, "search": "number"}).json()
    assert ([each["id"] for each in first["results"]], first["count"], first["previous"]) == (
        ids[:2],
        3,
        None,
    )
    assert first["next"].endswith("/api/v2/projects/1/periodicjobs?search=number&page_size=2&page=2")
    second = client.get(URL, params={"page_size": 2, "page": 2}).json()
    assert ([each["id"] for each in second["results"]], second["next"]) == (ids[2:], None)
    assert client.get(URL, params={"page": 3}).status_code == 404
    assert client.get(URL, params={"search": "nothing"}).json() == {
        "count": 0, "next": None, "previous": None, "results": [],
    }  # fmt: skip


def test_what_was_read_can_be_sent_back_changed(client: TestClient) -> None:
    made = make(client, **THEIRS)
    url = f"{URL}/{made['id']}"
    changed = client.put(url, json={**made, "disabled": True, "hour": "5"}).json()
    assert (changed["cron"], changed["enabled"], changed["next"]) == ("30 5 * * 1-5", False, [])
    assert changed["paused_by"] == "admin"
    assert client.put(url, json=changed).json() == {
        **changed,
        "modified_at": client.get(url).json()["modified_at"],
    }


def test_replacing_and_merging(client: TestClient) -> None:
    url = f"{URL}/{make(client, **{**THEIRS, 'job_settings': {'A': 1}})['id']}"
    merged = client.patch(url, json={"timezone": "Asia/Kolkata", "hour": 4}).json()
    assert (merged["cron"], merged["timezone"], merged["addtags"]) == (
        "30 4 * * 1-5",
        "Asia/Kolkata",
        ["all"],
    )
    assert client.patch(url, json={"job_settings": {}, "addtags": None}).json()["job_settings"] == {}
    replaced = client.put(url, json={"cron": "0 0 1 * *", "spiders": ["quotes"]}).json()
    assert (replaced["timezone"], replaced["priority"], replaced["description"]) == ("UTC", 2, "")
    for fields in ({"cron": "0 0 1 * *"}, {"spiders": ["quotes"]}):
        assert client.put(url, json=fields).status_code == 400


def test_next_times_by_the_zones_clock(client: TestClient) -> None:
    made = make(client, cron="30 2 29 3 *", timezone="Europe/Berlin", spiders=["quotes"], enabled=False)
    answer = client.get(f"{URL}/{made['id']}/next", params={"count": 8}).json()
    assert (answer["words"], answer["timezone"], answer["enabled"]) == (
        "At 02:30 on March 29",
        "Europe/Berlin",
        False,
    )
    assert len(answer["next"]) == 8
    sunday = {"utc": "2037-03-29T01:00:00.000000Z", "local": "2037-03-29T03:00:00+02:00"}
    assert sunday in client.get(f"{URL}/{made['id']}/next", params={"count": 20}).json()["next"]


def test_run_now_and_the_history(client: TestClient) -> None:
    schedule = make(client, **{**THEIRS, "disabled": True})
    url = f"{URL}/{schedule['id']}"
    answer = client.post(f"{url}/run")
    run = answer.json()
    assert (answer.status_code, run["state"], run["jobs"], run["by"]) == (201, "started", ["1/1/1"], "admin")
    assert client.post(f"{url}/run").json()["reason"] == "Spider 'quotes' already scheduled"
    history = client.get(f"{url}/runs", params={"page_size": 1}).json()
    assert (len(history["results"]), history["results"][0]["state"]) == (1, "failed")
    older = client.get(history["next"].removeprefix("http://localhost:8000")).json()
    assert (older["results"], older["next"]) == ([run], None)
    assert client.get(url).json()["problem"] is None  # who asked was told


def test_a_schedule_whose_spider_is_gone_says_so(client: TestClient) -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        projects.set_deployed(session, 1, [])
    assert client.get(URL).json()["results"][0]["problem"] == "Spider not found: quotes"
    change_periodic(schedule, next_time=60_000, due_time=60_000)
    firing.fire_due()
    assert {run["state"] for run in client.get(f"{URL}/{schedule}/runs").json()["results"]} == {"missed"}


def test_deleting(client: TestClient) -> None:
    schedule = make_periodic()
    client.post(f"{URL}/{schedule}/run")
    answer = client.delete(f"{URL}/{schedule}")
    assert (answer.status_code, answer.content, runs_of(schedule)) == (204, b"", [])
    for method, path in (("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/run"), ("GET", "/runs"), ("GET", "/next")):  # fmt: skip
        answer = client.request(method, f"{URL}/{schedule}{path}")
        assert (answer.status_code, answer.json()) == (
            404,
            {"detail": f"project 1 has no periodic job {schedule}"},
        )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "missing 'cron'"), (b"[]", "not an object"), (b"{", "malformed JSON"), (b'"x"', "not an object"),
        (b'{"cron": "0 3 * * *"}', "spiders"), (b'{"cron": "0 3 * * *", "spiders": ["a\\u0000"]}', "NUL"),
        (b'{"cron": "0 3 * * *", "spiders": ["\xff"]}', "malformed JSON"), (b'{"a\\u0000b": 1}', "unknown argument"),
        (b'{"cron": "0 3 * * *", "spiders": ["nobody"]}', "Spider not found: nobody"),
        (b'{"cron": "0 3 * * *", "spiders": ["quotes"], "job_settings": ' + b'{"a":' * 300 + b"1" + b"}" * 301, "job_settings"),
        (b'{"cron": "0 3 * * *", "spiders": ["quotes"], "timezone": "Nowhere"}', "timezone"),
        (b'{"cron": "0 3 * * *", "spiders": ["quotes"], "colour": 1}', "unknown argument colour"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_changes_nothing(client: TestClient, content: bytes, words: str) -> None:
    schedule = make_periodic()
    before = everything()
    for method, url in (("POST", URL), ("PUT", f"{URL}/{schedule}")):
        answer = client.request(method, url, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and words in answer.json()["non_field_errors"][0], answer.text
    assert everything() == before


@pytest.mark.parametrize(
    ("path", "params"),
    [("", {"page": "0"}), ("", {"page_size": "x"}), ("/1/runs", {"before": "x"}), ("/1/runs", {"page_size": "0"}),
     ("/1/next", {"count": "0"}), ("/1/next", {"count": "101"}), ("/x", {}), ("/0", {}), ("/99999999999", {})],
)  # fmt: skip
def test_bad_questions(client: TestClient, path: str, params: dict[str, str]) -> None:
    make_periodic()
    assert client.get(f"{URL}{path}", params=params).status_code == 400
