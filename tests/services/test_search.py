"""Looking for records: what passes, in order, a page at a time, and never too much at once."""

from typing import Any

import pytest

from app import db
from app.models import Kind
from app.services import records, search
from app.services.jobs import Claimed
from app.services.search import Page, Wanted
from tests.factories import append, batch, job_with_items, log_entry, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def look(job: Claimed, kind: Kind, start: int = 0, count: int = 100, **wanted: Any) -> Page:
    with db.reading() as session:
        total = records.total(session, job.id, kind)
    return search.page(job.id, kind, total, start, count, Wanted(**wanted))


def numbers(page: Page) -> list[int]:
    return [record.number for record in page.records]


def logged(*levels: int, chunk: int = 2) -> Claimed:
    job = running_job()
    entries = [log_entry(f"entry {place}", level) for place, level in enumerate(levels)]
    for first in range(0, len(entries), chunk):
        append(job, batch(Kind.LOGS, entries[first : first + chunk], first))
    return job


def requested(*requests: dict[str, Any]) -> Claimed:
    job = running_job()
    for first, request in enumerate(requests):
        append(job, batch(Kind.REQUESTS, [request], first))
    return job


def test_pages_by_index() -> None:
    job = job_with_items({"n": n} for n in range(10))
    page = look(job, Kind.ITEMS, 4, 3)
    assert [record.value for record in page.records] == [{"n": 4}, {"n": 5}, {"n": 6}]
    assert (page.start, page.stop, page.total, page.done) == (4, 7, 10, False)
    assert numbers(look(job, Kind.ITEMS, 7, 3)) == [7, 8, 9] and look(job, Kind.ITEMS, 7, 3).done
    assert numbers(look(job, Kind.ITEMS, 10)) == numbers(look(job, Kind.ITEMS, 99)) == []


def test_a_search_without_a_match_ends_soon() -> None:
    job = job_with_items(({"n": n} for n in range(17_000)), chunk=1000)
    page = look(job, Kind.ITEMS, text="none")
    assert (page.records, page.stop, page.done) == ([], 15_000, False)


def test_log_entries_of_a_level_or_above() -> None:
    job = logged(10, 20, 20, 40, 20, 20, 30, 50)
    assert numbers(look(job, Kind.LOGS, level=40)) == [3, 7]
    assert numbers(look(job, Kind.LOGS, level=30, start=4)) == [6, 7]
    page = look(job, Kind.LOGS, level=30, count=1)
    assert numbers(page) == [3] and page.stop == 4 and not page.done
    assert numbers(look(job, Kind.LOGS, level=20, text="ENTRY 4", field="message")) == [4]


def test_requests_by_status_and_url() -> None:
    urls = ["http://a/x", "http://a/y", "http://b/x"]
    job = requested(*({"url": url, "status": status} for url in urls for status in (200, 404)), {"url": "no"})
    assert numbers(look(job, Kind.REQUESTS, status="404")) == [1, 3, 5]
    assert numbers(look(job, Kind.REQUESTS, status="2xx", text="A/", field="url")) == [0, 2]
    assert numbers(look(job, Kind.REQUESTS, status="5xx")) == []


@pytest.mark.parametrize(
    ("text", "field", "wanted"),
    [
        ("straße", "", [0]), ("STRASSE", "", [0]), ("a/b", "", [1]), ('"quoted"', "", [2]), ("k", "", []),
        ("deep", "", [3]), ("deep", "a", [3]), ("deep", "b", []), ("17", "", [4]), ("name", "", []), ("é", "", [5]),
    ],
)  # fmt: skip
def test_text_anywhere_in_an_item_or_in_a_field(text: str, field: str, wanted: list[int]) -> None:
    values = ["Straße", "a/b", 'he "quoted"', {"list": ["deep"]}, 17, "\u00c9"]
    job = job_with_items({"a": value, "name": None} for value in values)
    assert numbers(look(job, Kind.ITEMS, text=text, field=field)) == wanted


def test_escaped_letters_are_found() -> None:
    job = running_job()
    line = b'{"a":"\\u0068ttp:\\/\\/x"}'
    append(job, records.pack(Kind.ITEMS, 0, [5], [line]))
    assert numbers(look(job, Kind.ITEMS, text="http://x")) == [0]


def test_a_search_ends_early_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_RECORDS", 4)
    job = job_with_items({"n": n} for n in range(12))
    page = look(job, Kind.ITEMS, text="11")
    assert (numbers(page), page.stop, page.done) == ([], 6, False)
    page = look(job, Kind.ITEMS, page.stop, text="11")
    assert (numbers(page), page.stop, page.done) == ([11], 12, True)


def test_what_the_index_rules_out_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_RECORDS", 3)
    monkeypatch.setattr(search, "AT_ONCE", 2)
    job = logged(*[20] * 20, 40, 20)
    assert numbers(look(job, Kind.LOGS, level=40)) == [20]


def test_odd_records_are_no_reason_to_fail() -> None:
    job = running_job()
    append(job, batch(Kind.ITEMS, [[1], "x", {"a": [[[]]]}, {}, 5]))
    assert numbers(look(job, Kind.ITEMS)) == [0, 1, 2, 3, 4]
    assert numbers(look(job, Kind.ITEMS, text="x")) == [1]
