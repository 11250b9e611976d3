"""v2/*: users, spiders, tags, jobs, without the envelope (contract 4.14)."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from app import db
from app.keys import JobKey
from app.models import Kind
from app.services import projects, spiderlist
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
    make_key,
    make_project,
    make_version,
    row,
    running_job,
)
from tests.platform import KEY

SPIDERS = "/api/v2/projects/1/spiders"
NEITHER = 'At least one of "add" or "remove" arguments must not be empty'
RECORDED = {
    "default_kumo_units", "tags", "settings", "id", "name", "jobq_id", "stats", "type", "archived", "deleted", "version",
    "created_at", "modified_at", "project", "avg_item_count", "avg_response_count", "avg_runtime", "fields_count",
    "first_run", "last_error_count", "last_item_count", "last_job_id", "last_outcome", "last_response_count", "last_run",
}  # fmt: skip


def spider(client: TestClient, number: int = 1) -> dict[str, Any]:
    answer = client.get(f"{SPIDERS}/{number}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# Users


def test_who_am_i(client: TestClient) -> None:
    client.auth = None
    answer = client.get("/api/v2/users/me", params={"apikey": KEY})
    assert (answer.status_code, answer.json()) == (200, {"id": 1, "username": "admin", "is_admin": True})
    guest = client.get("/api/v2/users/me", params={"apikey": make_key("guest")}).json()
    assert (guest["username"], guest["is_admin"]) == ("guest", False)
    for params in ({}, {"apikey": ""}, {"apikey": "f" * 32}):
        answer = client.get("/api/v2/users/me", params=params)
        assert (answer.status_code, answer.json()) == (403, {"detail": "Authentication failed"})


# Spiders


def test_a_spider_without_jobs(client: TestClient) -> None:
    found = spider(client)
    assert set(found) == RECORDED
    known = {name: value for name, value in found.items() if value is not None}
    assert known == {
        "id": 1, "jobq_id": 1, "name": "quotes", "type": "manual", "tags": [], "settings": {}, "stats": {},
        "archived": False, "deleted": False, "fields_count": {}, "project": {"id": 1, "name": "one"},
    }  # fmt: skip


def ran(start: int, items: int, errors: int = 0, reason: str = "finished", spider: str = "quotes") -> JobKey:
    """A job that ran for two seconds."""
    job = running_job(spider=spider)
    if items:
        append(job, batch(Kind.ITEMS, [{}] * items), batch(Kind.REQUESTS, [{}] * (items + 1)))
    append(job, *([batch(Kind.LOGS, [log_entry("x", 40)] * errors)] if errors else []))
    finish(job, reason)
    change(job.key, running_time=start, finished_time=start + 2000, state_time=start + 2000)
    return job.key


def test_a_spider_with_jobs(client: TestClient) -> None:
    make_version("7")
    ran(1_487_320_967_822, 4, errors=5)
    last = ran(1_587_320_967_001, 1, errors=2, reason="banned")
    make_job()
    running_job()
    finished_job()  # never ran
    found = spider(client)
    assert (found["version"], found["last_job_id"], found["last_outcome"]) == ("7", str(last), "banned")
    assert [found[f"last_{name}_count"] for name in ("item", "response", "error")] == [1, 2, 2]
    assert [found[f"avg_{name}"] for name in ("item_count", "response_count", "runtime")] == [2.5, 3.5, 2000]
    assert found["first_run"] == "2017-02-17T08:42:47.822000Z"
    assert found["last_run"] == "2020-04-19T18:29:27.001000Z"


def test_averages_are_of_the_last_ten_jobs_of_that_spider(client: TestClient) -> None:
    make_version("7", ["quotes", "books"])
    for n in range(12):
        ran(1000 * n, n)
    ran(50_000, 20, spider="books")
    found = {each["name"]: each for each in page(client)["results"]}
    assert [found[name]["avg_item_count"] for name in ("quotes", "books")] == [6.5, 20]
    assert [found[name]["last_item_count"] for name in ("quotes", "books")] == [11, 20]


def test_a_spider_that_no_version_has_any_more(client: TestClient) -> None:
    make_version("1", ["other"])
    found = spider(client)
    assert (found["name"], found["deleted"], found["version"]) == ("quotes", True, None)
    assert [each["name"] for each in page(client)["results"]] == ["other"]


def test_a_declared_spider_is_one(client: TestClient) -> None:
    make_version("1")
    with db.transaction() as session:
        number = projects.declare(session, 1, "by hand")
    found = spider(client, number)
    assert (found["deleted"], found["version"]) == (False, None)
    assert [each["name"] for each in page(client)["results"]] == ["by hand", "quotes"]


@pytest.mark.parametrize("number", ["2", "x", "0", "99999999999"])
def test_unknown_spiders(client: TestClient, number: str) -> None:
    before = everything()
    for answer in (client.get(f"{SPIDERS}/{number}"), patch(client, {"add": ["x"]}, number)):
        if number == "2":
            assert (answer.status_code, answer.json()) == (404, {"detail": "project 1 has no spider 2"})
        else:
            wrong = {"non_field_errors": [f"invalid value for spider: {number}"]}
            assert (answer.status_code, answer.json()) == (400, wrong)
    assert everything() == before


# Pages


def page(client: TestClient, **params: Any) -> Any:
    answer = client.get(SPIDERS, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(client: TestClient, **params: Any) -> list[str]:
    return [each["name"] for each in page(client, **params)["results"]]


def test_pages_are_linked(client: TestClient) -> None:
    make_version("1", ["b1", "b2", "b3", "b4", "b5", "c"])
    url = f"{SPIDERS}?search=b&page_size=2&apikey={KEY}"
    found, sizes = [], []
    while url:
        answer = client.get(url).json()
        found += [each["name"] for each in answer["results"]]
        sizes.append((answer["count"], bool(answer["previous"])))
        assert KEY not in str(answer)
        url = answer["next"]
    assert (found, sizes) == (["b1", "b2", "b3", "b4", "b5"], [(5, False), (5, True), (5, True)])
    link = urlsplit(page(client, search="b", page_size=2, ordering="-name", archived="false")["next"])
    assert (link.scheme, link.netloc, link.path) == ("http", "127.0.0.1:8000", "/api/v2/projects/1/spiders")
    assert parse_qs(link.query) == {
        "search": ["b"], "page_size": ["2"], "ordering": ["-name"], "archived": ["false"], "page": ["2"],
    }  # fmt: skip


def test_orders(client: TestClient) -> None:
    make_version("1", ["quotes", "a", "never"])
    ran(1000, 0, spider="quotes")
    ran(9000, 0, spider="a")
    orders = {
        order: names(client, ordering=order)
        for order in ("", "name", "-name", "last_run", "-last_run", "-jobq_id")
    }
    assert orders == {
        "": ["a", "never", "quotes"], "name": ["a", "never", "quotes"], "-name": ["quotes", "never", "a"],
        "last_run": ["quotes", "a", "never"], "-last_run": ["a", "quotes", "never"], "-jobq_id": ["never", "a", "quotes"],
    }  # fmt: skip


def test_searching(client: TestClient) -> None:
    make_version("1", ["Ab", "b%c", "d_e", "quotes"])
    found = {text: names(client, search=text) for text in ("B", "%", "_", "", "none", "A")}
    assert found == {
        "B": ["Ab", "b%c"], "%": ["b%c"], "_": ["d_e"], "": ["Ab", "b%c", "d_e", "quotes"], "none": [], "A": ["Ab"],
    }  # fmt: skip
    assert (names(client, archived="true"), names(client, archived="")) == ([], found[""])


def test_pages_that_are_none(client: TestClient) -> None:
    assert page(client, search="none") == {"count": 0, "next": None, "previous": None, "results": []}
    answer = client.get(SPIDERS, params={"page": 2})
    assert (answer.status_code, answer.json()) == (404, {"detail": "invalid page: 2"})
    assert names(client, page_size=99999) == ["quotes"]
    wrong = {"page": "0", "page_size": "0", "ordering": "age", "archived": "x", "search": "x" * 256}
    for name, value in wrong.items():
        answer = client.get(SPIDERS, params={name: value})
        assert (answer.status_code, list(answer.json())) == (400, ["non_field_errors"])
        assert answer.json()["non_field_errors"][0].startswith(f"invalid value for {name}: ")


def test_a_page_takes_the_same_queries_however_many_spiders(client: TestClient) -> None:
    with db.transaction() as session:
        projects.set_deployed(session, 1, [f"s{n}" for n in range(50)])
    queries: list[str] = []
    event.listen(db.engine(), "before_cursor_execute", lambda *args: queries.append(args[2]))
    with db.reading() as session:
        found = spiderlist.page(session, spiderlist.Wanted(1), 50, 0)
    assert (len(found), sum(query.startswith("SELECT") for query in queries)) == (50, 2)


# Tags


def patch(client: TestClient, body: Any, number: Any = 1) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.patch(
        f"{SPIDERS}/{number}/tags", content=content, headers={"Content-Type": "application/json"}
    )


def tags(client: TestClient, body: Any) -> Any:
    answer = patch(client, body)
    assert (answer.status_code, set(answer.json())) == (200, RECORDED), answer.text
    return answer.json()["tags"]


def test_the_recorded_conversation(client: TestClient) -> None:
    answer = patch(client, {})
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [NEITHER]})
    assert tags(client, {"add": ["new1", "new2"]}) == ["new1", "new2"]
    assert tags(client, {"add": ["new2", "new3"], "remove": ["new1"]}) == ["new2", "new3"]
    assert tags(client, {"remove": ["new2", "new3"]}) == []
    assert spider(client)["tags"] == []


def test_tags_keep_their_order_and_are_shown_everywhere(client: TestClient) -> None:
    assert tags(client, {"add": ["b", "a", "b", "é"]}) == ["b", "a", "é"]
    assert tags(client, {"add": ["c", "b"], "remove": ["none"]}) == ["b", "a", "é", "c"]
    assert tags(client, {"add": [], "remove": ["a", "a"]}) == ["b", "é", "c"]
    listed = client.get("/api/spiders/list.json", params={"project": 1}).json()["spiders"]
    assert (listed[0]["tags"], page(client)["results"][0]["tags"]) == (["b", "é", "c"], ["b", "é", "c"])
    make_project(2)
    assert client.get("/api/v2/projects/2/spiders/1").json()["tags"] == []


def test_tags_that_many_add_at_once_are_all_there(client: TestClient) -> None:
    assert [each.status_code for each in at_once(8, lambda n: patch(client, {"add": [str(n)]}))] == [200] * 8
    assert sorted(spider(client)["tags"]) == [str(n) for n in range(8)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "malformed JSON body"),
        (b"", NEITHER),
        (b"[]", "malformed JSON body: not an object"),
        (b'{"add": null}', NEITHER),
        (b'{"add": [], "remove": {}}', NEITHER),
        (b'{"add": [""]}', "invalid value for add: empty"),
        (b'{"add": [null]}', "invalid value for add: a list of something else than texts"),
        (b'{"remove": [{}]}', "invalid value for remove: a list of something else than texts"),
        (b'{"add": [["a"]]}', "invalid value for add: a list of something else than texts"),
        (b'{"add": {"a": 1}}', "invalid value for add: a JSON object"),
        (b'{"add": ["a\\u0000b"]}', "invalid value for add: NUL character"),
        (b'{"add": ["\\ud800"]}', "malformed JSON body"),
        (b'{"add": ["\xff"]}', "malformed JSON body"),
        (json.dumps({"add": ["x" * 256]}).encode(), "invalid value for add: longer than 255 characters"),
        (json.dumps({"add": ["x"] * 10_001}).encode(), "more than 10000 parameters"),
        (b'{"add":' * 300 + b"1" + b"}" * 300, "invalid value for add: nested too deeply"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_tags_that_are_refused(client: TestClient, body: bytes, message: str) -> None:
    before = everything()
    answer = patch(client, body)
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [message]})
    assert everything() == before


def test_a_body_has_a_limit_and_a_type(client: TestClient) -> None:
    before = everything()
    answer = patch(client, b'{"add": ["' + b"x" * (5 << 20) + b'"]}')
    assert (answer.status_code, answer.json()) == (413, {"detail": "the request body is larger than 4 MB"})
    answer = client.patch(f"{SPIDERS}/1/tags", content=b"add=x", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, "content type" in answer.json()["non_field_errors"][0]) == (400, True)
    assert everything() == before
    assert client.patch(f"{SPIDERS}/1/tags", data={"add": ["x", "y"]}).json()["tags"] == ["x", "y"]


# Jobs


def post(client: TestClient, **body: Any) -> Any:
    return client.post("/api/v2/projects/1/jobs", json={"spider": "quotes", **body})


def test_a_job_is_scheduled(client: TestClient, sent: list[tuple[str, int]]) -> None:
    args = {"key": "é", "n": 5, "x": 1.5}
    answer = post(client, priority="3", units=2, addtags=["b", "a", "b"], args=args)
    assert answer.status_code == 201
    assert answer.json() == {
        "key": "1/1/1", "spider": "quotes", "state": "pending", "priority": 3, "units": 2, "tags": ["b", "a"],
    }  # fmt: skip
    stored = row(JobKey(1, 1, 1))
    assert (stored.spider_args, stored.units, stored.scheduled_by) == (
        {"key": "é", "n": "5", "x": "1.5"},
        2,
        "admin",
    )
    assert sent == [("run_job", 1)]


def test_a_form_does_as_well(client: TestClient) -> None:
    form = {"spider": "quotes", "priority": 2, "units": 1, "addtags": "t", "args": '{"a": "1"}'}
    answer = client.post(f"/api/v2/projects/1/jobs?apikey={KEY}", data=form)
    assert (answer.status_code, answer.json()["tags"]) == (201, ["t"])
    assert row(JobKey(1, 1, 1)).spider_args == {"a": "1"}
    assert post(client, addtags={}, args=[], units=None).status_code == 201
    assert row(JobKey(1, 1, 2)).spider_args is None


def test_a_script(client: TestClient) -> None:
    make_version("1", ["py:x.py"])
    key = JobKey.parse(post(client, spider="py:x.py").json()["key"])
    assert row(key).job_cmd == ["py:x.py"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"spider": ""}, "missing 'spider' argument"),
        ({"spider": "other"}, "Spider not found: other"),
        ({"spider": ["a", "b"]}, "invalid value for spider: given more than once"),
        ({"spider": {"a": 1}}, "invalid value for spider: a JSON object"),
        ({"priority": 5}, "invalid value for priority: 5"),
        ({"priority": True}, "invalid value for priority: true"),
        ({"units": 1.5}, "invalid value for units: 1.5"),
        ({"addtags": [""]}, "invalid value for addtags: empty"),
        ({"args": "x"}, "invalid value for args: not JSON"),
        ({"args": {"a": None}}, "invalid value for args: a is neither a text nor a number"),
        ({"args": {"a": True}}, "invalid value for args: a is neither a text nor a number"),
        ({"args": {"a": "\0"}}, "invalid value for args: NUL character"),
        ({"args": {"a=b": "1"}}, "invalid argument a=b: a name has no ="),
        ({"args": {"a": "x" * 262_200}}, "invalid value for args: longer than 262144 characters"),
        ({"job_settings": {"a": 1}}, "invalid value for job_settings: a JSON object"),
        ({"a": "1"}, "unknown argument a: what is for the spider belongs into args"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_jobs_that_are_refused(client: TestClient, body: dict[str, Any], message: str) -> None:
    before = everything()
    answer = post(client, **body)
    assert (answer.status_code, answer.json()) == (400, {"non_field_errors": [message]})
    assert everything() == before


def test_the_same_job_twice(client: TestClient) -> None:
    assert post(client, args={"a": "1"}).status_code == 201
    answer = post(client, args={"a": "1"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"non_field_errors": ["Spider 'quotes' already scheduled"]},
    )
