"""comments/*: who may say what about which item (contract 4.10)."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app import db
from app.services import jobs
from tests.factories import everything, finish, job_with_items, make_key, make_project
from tests.platform import KEY

URL = "/api/comments"


@pytest.fixture
def job(client: TestClient) -> str:
    """The key of a running job of project 1 with three items."""
    return str(job_with_items({"n": n} for n in range(3)).key)


def add(client: TestClient, place: str, text: str = "hm") -> Any:
    answer = client.post(f"{URL}/{place}", data={"text": text})
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(client: TestClient, place: str) -> Any:
    answer = client.get(f"{URL}/{place}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in found]


def test_a_comment(client: TestClient, job: str) -> None:
    made = add(client, f"{job}/0", "what's this? é")
    created = made.pop("created")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", created)
    assert made == {
        "id": 1, "text": "what's this? é", "archived": None, "author": "admin", "avatar": "", "editable": True,
    }  # fmt: skip
    assert get(client, f"{job}/0") == [{**made, "created": created}]


def test_comments_of_a_job_by_item_and_field(client: TestClient, job: str) -> None:
    assert (get(client, job), get(client, f"{job}/0"), get(client, "1/stats")) == ({}, [], {})
    for place, text in (("0", "a"), ("2/price", "b"), ("0", "c"), ("2", "d"), ("2/a%2Fb%20é", "e")):
        add(client, f"{job}/{place}", text)
    found = {place: texts(each) for place, each in get(client, job).items()}
    assert found == {"0": ["a", "c"], "2/price": ["b"], "2": ["d"], "2/a/b é": ["e"]}
    places = ["0", "1", "2", "2/price", "2/a/b é", "2/other"]
    assert [texts(get(client, f"{job}/{place}")) for place in places] == [
        ["a", "c"], [], ["d"], ["b"], ["e"], [],
    ]  # fmt: skip


def test_statistics_count_items_with_open_comments(client: TestClient, job: str) -> None:
    other = str(job_with_items([{}]).key)
    for place in (f"{job}/0", f"{job}/0", f"{job}/0/price", f"{job}/2", f"{other}/0"):
        add(client, place)
    assert get(client, "1/stats") == {job: 2, other: 1}
    assert client.delete(f"{URL}/{job}/2").json() == {"status": "ok", "count": 1}
    client.delete(f"{URL}/{other}/0")
    assert get(client, "1/stats") == {job: 1}
    make_project(2)
    assert get(client, "2/stats") == {}


def test_a_comment_is_edited(client: TestClient, job: str) -> None:
    made = add(client, f"{job}/1/name")
    answer = client.put(f"{URL}/{made['id']}", data={"text": "better"})
    assert (answer.status_code, answer.json()) == (200, {**made, "text": "better"})
    assert get(client, f"{job}/1/name") == [answer.json()]


def test_an_archived_comment_is_still_shown(client: TestClient, job: str) -> None:
    made, other = add(client, f"{job}/0"), add(client, f"{job}/0", "other")
    assert client.delete(f"{URL}/{made['id']}").json() == {"status": "ok"}
    archived, still = get(client, f"{job}/0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", archived.pop("archived"))
    assert (archived, still) == ({name: made[name] for name in archived}, other)
    before = everything()
    assert client.delete(f"{URL}/{made['id']}").status_code == 200
    assert everything() == before


def test_archiving_a_place_leaves_its_neighbours(client: TestClient, job: str) -> None:
    for place in ("0", "0", "0/a", "1"):
        add(client, f"{job}/{place}")
    assert client.delete(f"{URL}/{job}/0").json() == {"status": "ok", "count": 2}
    open_ = [
        place for place, found in get(client, job).items() if not all(each["archived"] for each in found)
    ]
    assert open_ == ["0/a", "1"]
    assert client.delete(f"{URL}/{job}/0/a").json()["count"] == 1
    assert client.delete(f"{URL}/{job}/0/a").json()["count"] == 0


def test_somebody_elses_comment(client: TestClient, job: str) -> None:
    add(client, f"{job}/0", "the admin's")
    client.auth = (make_key("guest", projects=[1]), "")
    add(client, f"{job}/0", "mine")
    assert [each["editable"] for each in get(client, f"{job}/0")] == [False, True]
    before = everything()
    answers = [
        client.put(f"{URL}/1", data={"text": "x"}), client.delete(f"{URL}/1"), client.delete(f"{URL}/{job}/0"),
    ]  # fmt: skip
    refused = (403, {"status": "error", "message": "comment 1 is somebody else's"})
    assert [(answer.status_code, answer.json()) for answer in answers] == [refused] * 3
    assert everything() == before
    assert client.put(f"{URL}/2", data={"text": "still mine"}).json()["author"] == "guest"
    client.auth = (KEY, "")
    assert [each["editable"] for each in get(client, f"{job}/0")] == [True, True]
    assert client.put(f"{URL}/2", data={"text": "x"}).json()["author"] == "guest"
    assert client.delete(f"{URL}/{job}/0").json()["count"] == 2


def test_a_comment_of_another_project_is_none(client: TestClient, job: str) -> None:
    add(client, f"{job}/0")
    make_project(2)
    client.auth = (make_key("guest", projects=[2]), "")
    before = everything()
    unknown = {"status": "error", "message": "unknown comment: 1"}
    assert client.delete(f"{URL}/1").json() == unknown
    assert client.put(f"{URL}/1", data={"text": "x"}).json() == unknown
    denied = {"status": "badrequest", "message": "User 'guest' doesn't have access to project 1"}
    for method, place in (("GET", job), ("GET", "1/stats"), ("GET", f"{job}/0"), ("POST", f"{job}/0"), ("DELETE", f"{job}/0/a")):  # fmt: skip
        answer = client.request(method, f"{URL}/{place}", params={"text": "x"})
        assert (answer.status_code, answer.json()) == (400, denied)
    assert everything() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing 'text' argument"),
        ("x" * 10_001, "invalid value for text: longer than 10000 characters"),
        ("a\0b", "invalid value for text: NUL character"),
    ],
    ids=["empty", "long", "NUL"],
)
def test_texts_that_are_refused(client: TestClient, job: str, text: str, message: str) -> None:
    add(client, f"{job}/0")
    before = everything()
    for answer in (
        client.post(f"{URL}/{job}/0", data={"text": text}),
        client.put(f"{URL}/1", data={"text": text}),
    ):
        assert (answer.status_code, answer.json()) == (400, {"status": "badrequest", "message": message})
    assert everything() == before
    assert len(add(client, f"{job}/0", "é" * 10_000)["text"]) == 10_000


@pytest.mark.parametrize(
    ("place", "status", "message"),
    [
        ("1/1/9", 404, "unknown job: 1/1/9"),
        ("1/1/9/0", 404, "unknown job: 1/1/9"),
        ("1/1/1/x", 400, "invalid value for item: x"),
        ("1/1/1/-1", 400, "invalid value for item: -1"),
        ("1/1/1/9999999999", 400, "invalid value for item: 9999999999"),
        ("1/1/1/0/" + "x" * 256, 400, "invalid value for field: longer than 255 characters"),
        ("1/1/1/0/a%00b", 400, "invalid value for the path: NUL character"),
        ("1/1/1/0/%FF", 400, "invalid value for the path: not UTF-8"),
        ("1/x/1", 400, "invalid value for job: 1/x/1"),
        ("x/stats", 400, "invalid value for project: x"),
        ("x/1/1", 400, "invalid value for project: x"),
    ],
)
def test_places_that_are_none(client: TestClient, job: str, place: str, status: int, message: str) -> None:
    before = everything()
    answer = client.get(f"{URL}/{place}")
    assert (answer.status_code, answer.json()["message"]) == (status, message)
    if place.count("/") > 2:
        answers = [client.post(f"{URL}/{place}", data={"text": "x"}), client.delete(f"{URL}/{place}")]
        assert [(each.status_code, each.json()["message"]) for each in answers] == [(status, message)] * 2
    assert everything() == before


def test_an_item_must_be_there_before_it_is_commented_on(client: TestClient, job: str) -> None:
    answer = client.post(f"{URL}/{job}/3", data={"text": "x"})
    body = {"status": "error", "message": f"job {job} has no item 3"}
    assert (answer.status_code, answer.json()) == (404, body)


@pytest.mark.parametrize("comment", ["9", "x", "0", "99999999999"])
def test_unknown_comments(client: TestClient, comment: str) -> None:
    status = 404 if comment == "9" else 400
    for answer in (
        client.put(f"{URL}/{comment}", data={"text": "x"}),
        client.delete(f"{URL}/{comment}"),
    ):
        assert answer.status_code == status
        assert answer.json()["message"].endswith(f"comment: {comment}")


def test_a_deleted_job_keeps_its_comments_and_takes_no_more(client: TestClient) -> None:
    running = job_with_items([{}])
    add(client, f"{running.key}/0")
    finish(running)
    with db.transaction() as session:
        jobs.delete(session, [running.key], "admin")
    answer = client.post(f"{URL}/{running.key}/0", data={"text": "x"})
    body = {"status": "error", "message": f"job {running.key} is deleted"}
    assert (answer.status_code, answer.json()) == (400, body)
    assert texts(get(client, f"{running.key}/0")) == ["hm"]
    assert get(client, "1/stats") == {}
