"""items.* and log.*: formats, counts, offsets (contract 4.7, 4.8)."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.models import Kind
from app.services.jobs import Claimed
from tests.factories import (
    append,
    batch,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    make_project,
    make_version,
    running_job,
)


def get(client: TestClient, path: str, job: Claimed, **params: Any) -> Any:
    answer = client.get(f"/api/{path}", params={"project": 1, "job": str(job.key), **params})
    assert answer.status_code == 200, answer.text
    return answer


def numbers(client: TestClient, job: Claimed, **params: Any) -> list[int]:
    """The items' `n`, as both JSON forms answer them."""
    found = get(client, "items.json", job, **params).json()
    lines = get(client, "items.jl", job, **params).text
    assert lines == "".join(f'{{"n":{each["n"]}}}\n' for each in found)
    return [each["n"] for each in found]


def logged(*entries: dict[str, Any], chunk: int = 2) -> Claimed:
    job = running_job()
    for first in range(0, len(entries), chunk):
        append(job, batch(Kind.LOGS, entries[first : first + chunk], first))
    return job


PAGES = [
    ({}, range(10)), ({"count": 3}, range(3)), ({"offset": 4}, range(4, 10)), ({"count": 3, "offset": 2}, range(2, 5)),
    ({"count": 0}, ()), ({"count": 99}, range(10)), ({"offset": 10}, ()), ({"offset": 99, "count": 1}, ()),
    ({"count": -1}, [9]), ({"count": -4}, range(6, 10)), ({"count": -99}, range(10)), ({"count": 1, "offset": 9}, [9]),
]  # fmt: skip


@pytest.mark.parametrize(("params", "wanted"), PAGES, ids=str)
def test_pages_of_items(client: TestClient, params: dict[str, int], wanted: Any) -> None:
    job = job_with_items({"n": n} for n in range(10))
    assert numbers(client, job, **params) == list(wanted)


def test_items_are_read_while_the_job_runs_and_after(client: TestClient) -> None:
    job = job_with_items([{"n": 0}])
    assert numbers(client, job) == [0]
    append(job, batch(Kind.ITEMS, [{"n": 1}], 1))
    assert numbers(client, job) == [0, 1]
    finish(job)
    assert numbers(client, job) == [0, 1]


def test_json_lines_are_what_the_spider_wrote(client: TestClient) -> None:
    values = [{"é": "\u2028", "nested": {"list": [1, None, 1.5]}, "big": 2**60, "text": "a\nb"}]
    answer = get(client, "items.jl", job_with_items(values))
    assert (answer.json(), answer.text.count("\n")) == (values[0], 1)
    assert answer.headers["content-type"].startswith("application/x-jsonlines")
    assert get(client, "items.json", job_with_items(values)).json() == values


def test_no_items(client: TestClient) -> None:
    job = running_job()
    assert get(client, "items.jl", job).text == ""
    assert (get(client, "items.json", job).json(), get(client, "log.json", job).json()) == ([], [])
    assert get(client, "log.txt", job).text == get(client, "log.jl", job).text == ""


def test_one_json_answer_has_100_items_or_1000_when_asked(client: TestClient) -> None:
    job = job_with_items(({"n": n} for n in range(1200)), chunk=1000)
    sizes = [
        len(get(client, "items.json", job, **params).json())
        for params in ({}, {"count": 5000}, {"count": -5000})
    ]
    assert sizes == [100, 1000, 1000]
    assert len(get(client, "items.jl", job).text.splitlines()) == 1200


def test_key_and_time_are_added_when_asked_for(client: TestClient) -> None:
    job = job_with_items([{"n": n} for n in range(4)] + [{}], chunk=3)
    found = get(client, "items.json", job, meta=["_key", "_ts"], offset=2).json()
    assert found[0] == {"n": 2, "_key": f"{job.key}/2", "_ts": 1_000_002}
    assert found[2] == {"_key": f"{job.key}/4", "_ts": 1_000_001}
    assert get(client, "items.jl", job, meta="_key", count=1).json() == {"n": 0, "_key": f"{job.key}/0"}


def test_items_of_the_last_finished_job_of_a_spider(client: TestClient) -> None:
    make_version("1", ["quotes", "books"])
    finished_job(spider="books")
    for n in range(2):
        finish(job_with_items([{"n": n}]))
    job_with_items([{"n": 9}])
    answer = client.get("/api/items.jl", params={"project": 1, "spider": "quotes"})
    assert answer.json() == {"n": 1}


def test_csv(client: TestClient) -> None:
    job = job_with_items(
        [{"a": 1, "b": 'x,"y"\né'}, {"b": None, "c": [1]}, {"a": {"k": True}, "c": 1.5}], chunk=2
    )
    answer = get(client, "items.csv", job, fields="b,a,c", include_headers=1)
    assert answer.headers["content-type"] == "text/csv; charset=UTF-8"
    assert answer.text == 'b,a,c\n"x,""y""\né",1,\n,,[1]\n,"{""k"":true}",1.5\n'
    assert get(client, "items.csv", job, fields="a", include_headers=0, count=1).text == "1\n"
    assert get(client, "items.csv", job, fields="none,a", include_headers=1, count=0).text == "none,a\n"


def test_xml(client: TestClient) -> None:
    answer = get(client, "items.xml", job_with_items([{"a": "<&"}, {"a": 1}]), offset=1)
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<values>\n<value><struct><member><name>a</name>'
        "<value><int>1</int></value></member></struct></value>\n</values>\n"
    )


def test_log_entries(client: TestClient) -> None:
    job = logged(log_entry("é\nb", 40), log_entry("odd", 25))
    entry = {"logLevel": "ERROR", "message": "é\nb", "time": "2023-11-14T22:13:20"}
    assert get(client, "log.json", job).json() == [entry, entry | {"logLevel": "INFO", "message": "odd"}]
    lines = get(client, "log.jl", job)
    assert (len(lines.text.splitlines()), lines.headers["content-type"][:23]) == (
        2,
        "application/x-jsonlines",
    )
    text = get(client, "log.txt", job)
    assert text.text == "2023-11-14 22:13:20 ERROR é\nb\n2023-11-14 22:13:20 INFO odd\n"
    assert text.headers["content-type"].lower() == "text/plain; charset=utf-8"


def messages(client: TestClient, job: Claimed, **params: Any) -> list[str]:
    found = [each["message"] for each in get(client, "log.json", job, **params).json()]
    assert [line.split()[-1] for line in get(client, "log.txt", job, **params).text.splitlines()] == found
    assert len(get(client, "log.jl", job, **params).text.splitlines()) == len(found)
    return found


@pytest.mark.parametrize(("params", "wanted"), PAGES, ids=str)
def test_pages_of_a_log(client: TestClient, params: dict[str, int], wanted: Any) -> None:
    job = logged(*(log_entry(str(n)) for n in range(10)), chunk=3)
    assert messages(client, job, **params) == [str(n) for n in wanted]


def test_a_level_is_the_lowest_one(client: TestClient) -> None:
    job = logged(*(log_entry(str(level), level) for level in (10, 20, 30, 40, 50, 20, 40)))
    assert messages(client, job, level="ERROR") == ["40", "50", "40"]
    assert messages(client, job, level="DEBUG", count=2) == ["10", "20"]
    assert messages(client, job, level="INFO", count=2, offset=1) == ["30", "40"]
    assert messages(client, job, level="WARNING", count=-2) == ["50", "40"]
    assert messages(client, job, level="CRITICAL", offset=1) == []


def refused(client: TestClient, path: str, **params: Any) -> tuple[int, str]:
    answer = client.get(f"/api/{path}", params={"project": 1, **params})
    return answer.status_code, answer.json()["message"]


ALL = ["items.json", "items.jl", "items.csv", "items.xml", "log.json", "log.jl", "log.txt"]


@pytest.mark.parametrize("path", ALL)
def test_which_job(client: TestClient, path: str) -> None:
    make_project(2)
    assert refused(client, path) == (400, "missing 'job' argument")
    assert refused(client, path, job="1/1/1") == (404, "unknown job: 1/1/1")
    assert refused(client, path, job="2/1/1") == (
        400,
        "invalid value for job: 2/1/1 is not a job of project 1",
    )
    assert refused(client, path, job="1/1") == (400, "invalid value for job: 1/1")
    assert refused(client, path, job=["1/1/1", "1/1/2"]) == (
        400,
        "invalid value for job: given more than once",
    )


def test_a_spider_without_a_finished_job(client: TestClient) -> None:
    running_job()
    for spider in ("quotes", "other"):
        assert refused(client, "items.jl", spider=spider) == (404, f"spider {spider} has no finished job")


def test_what_only_items_or_logs_take(client: TestClient) -> None:
    job = str(running_job().key)
    assert refused(client, "items.csv", job=job, include_headers="1") == (400, "missing 'fields' argument")
    assert refused(client, "items.csv", job=job, fields="a") == (400, "missing 'include_headers' argument")
    assert (
        refused(client, "items.csv", job=job, fields="a", include_headers="x")[1]
        == "invalid value for include_headers: x"
    )
    assert refused(client, "items.jl", job=job, meta="_other") == (400, "invalid value for meta: _other")
    assert refused(client, "log.jl", job=job, level="LOUD") == (400, "invalid value for level: LOUD")
