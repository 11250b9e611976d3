"""The tabs of a job: items, requests, log, stats, arguments and settings."""

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import null, update
from sqlmodel import col

from app import db
from app.models import Chunk, Kind
from app.services import coverage, records
from app.ui import records as tabs
from tests.factories import (
    append,
    batch,
    change,
    finish,
    finished_job,
    job_with_items,
    log_entry,
    make_job,
    make_project,
    running_job,
)
from tests.ui.conftest import Browser
from tests.ui.test_job import page

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def rows(text: str, kind: str = "item") -> list[int]:
    return [int(number) for number in re.findall(rf'id="{kind}-(\d+)"', text)]


def raw(browser: Browser, key: Any, tab: str, **params: Any) -> str:
    answer = browser.get(f"/p/{key}{tab}", **params)
    assert answer.status_code == 200
    return str(answer.text)


def test_items_in_pages(browser: Browser) -> None:
    job = job_with_items(({"n": n} for n in range(120)), chunk=50)
    first = page(browser, job.key, "/items")
    assert rows(first) == list(range(50)) and "Items 0–49 of 120" in first
    assert f"/p/{job.key}/items?start=50" in first and f"/p/{job.key}/items?start=70" in first
    assert rows(page(browser, job.key, "/items", start=100)) == list(range(100, 120))
    assert rows(page(browser, job.key, "/items", view="json", start=5)) == list(range(5, 25))
    assert rows(page(browser, job.key, "/items", start=500)) == []


def test_columns_and_their_coverage(browser: Browser) -> None:
    values = [{"b": 1, "_type": "T", "a": 2}, {"b": 1, "_type": "T", "c": [1, {"d": None}]}]
    text = page(browser, job_with_items(values).key, "/items")
    assert re.findall(r'<span class="name">(\w+)</span><span class="coverage', text) == [
        "b",
        "a",
        "c",
        "_type",
    ]
    assert "a: 1 of 2 items have it" in text and "50 %" in text and '[1, {"d": null}]' in text


def test_items_with_a_text(browser: Browser) -> None:
    job = job_with_items([{"a": "one", "b": "two"}, {"a": "two"}])
    assert rows(page(browser, job.key, "/items", q="TWO")) == [0, 1]
    assert rows(page(browser, job.key, "/items", q="two", field="a")) == [1]
    text = page(browser, job.key, "/items", q="three")
    assert "No item matches" in text and rows(text) == []


def test_a_long_search_goes_on(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.search.MOST_RECORDS", 3)
    job = job_with_items({"n": n} for n in range(12))
    text = page(browser, job.key, "/items", q="11")
    assert "No match among items 0–2 of 12." in text and "Search further" in text
    (onward,) = re.findall(r'href="(\S+start=3)"', text)
    assert "start=6" in unescape(browser.get(onward).text)


def test_long_values_are_cut_and_can_be_seen(browser: Browser) -> None:
    job = job_with_items([{"a": "x" * 5000 + "end", "b": ["y" * 30_000 + "end"]}])
    table = page(browser, job.key, "/items")
    assert "<details" in table and "xend" not in table and f'href="/p/{job.key}/items/0"' in table
    whole = page(browser, job.key, "/items/0")
    assert "xend" in whole and "yend" in whole
    assert "all of it" in page(browser, job.key, "/items", view="json")
    assert browser.get(f"/p/{job.key}/items/1").status_code == 404


@pytest.mark.parametrize(
    "view", ["/items", "/items?view=json", "/items/0", "/requests", "/log", "/stats", "/settings"]
)
def test_what_was_scraped_is_text_wherever_it_stands(browser: Browser, view: str) -> None:
    job = running_job(args={HOSTILE.replace("=", "-"): HOSTILE}, job_settings={HOSTILE: [HOSTILE]})
    append(
        job,
        batch(Kind.ITEMS, [{HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE] * 50}, "long": HOSTILE * 200}]),
        batch(Kind.REQUESTS, [{"url": HOSTILE, "method": HOSTILE, "status": HOSTILE, "parent": HOSTILE}]),
        batch(
            Kind.LOGS, [log_entry(HOSTILE), log_entry(f"{HOSTILE}\n{HOSTILE}", 40), log_entry(HOSTILE * 99)]
        ),
        stats={HOSTILE: HOSTILE, "a/b": HOSTILE * 99},
    )
    text = raw(browser, job.key, view)
    assert "alert(1)" in text and "<script>alert" not in text and "<img" not in text
    assert " style=" not in text and "onerror=alert(2)>" not in text


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x", "http://a b", " http://a", "HTTP:x"]
)
def test_only_addresses_of_the_web_are_links(browser: Browser, url: str) -> None:
    job = job_with_items([{"url": url}, {"url": "https://good/?a&b"}])
    append(job, batch(Kind.REQUESTS, [{"url": url}, {"url": "http://good/"}]))
    for tab in ("/items", "/requests"):
        links = re.findall(
            r'<a href="([^"]*)" target="_blank" rel="noopener noreferrer nofollow"',
            raw(browser, job.key, tab),
        )
        assert len(links) == 1 and "good" in links[0]


def test_odd_records_are_shown_all_the_same(browser: Browser) -> None:
    job = running_job()
    entry = {"time": 10**18, "level": 35, "message": "odd"}
    append(
        job,
        batch(Kind.ITEMS, [[1], "x", {"": {}}, {"n": 10**400 % 10**18, "f": 1e300, "t": True}]),
        batch(Kind.REQUESTS, [{}, {"time": 10**18, "duration": -1, "rs": "x", "status": 99, "parent": 1.5}]),
        batch(Kind.LOGS, [entry, {"level": "x"}, {}]),
    )
    assert rows(page(browser, job.key, "/items")) == [0, 1, 2, 3]
    assert rows(page(browser, job.key, "/requests"), "request") == [0, 1]
    assert rows(page(browser, job.key, "/log"), "line") == [0, 1, 2]


def test_downloads_are_plain_links(browser: Browser) -> None:
    job = job_with_items([{"a": 1, "b,c": 2, "d e": "x"}])
    links = re.findall(r'href="(\S*/items[^"]*)" download', page(browser, job.key, "/items"))
    assert [link.partition("?")[0] for link in links] == [
        f"/p/{job.key}/items.csv",
        f"/items/{job.key}",
        *(f"/api/items.{form}" for form in ("jl", "xml")),
    ]
    answer = browser.get(links[0])
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == 'a,"b,c",d e\n1,2,x\n'
    assert all(browser.get(link).status_code == 200 for link in links)


def test_the_csv_has_every_field_of_every_item(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{'x' * 50}{n:03}" for n in range(150)]  # too many characters for one parameter
    job = job_with_items([dict.fromkeys(names, 1), {"late": 2}, {"last": 3}, {"last": 4}], chunk=1)
    with db.transaction() as session:  # as the first release has stored them
        session.execute(update(Chunk).where(col(Chunk.first) > 0).values(counts=null()))
    monkeypatch.setattr(coverage, "AT_ONCE", 2)
    lines = browser.get(f"/p/{job.key}/items.csv").text.splitlines()
    assert sorted(lines[0].split(",")) == sorted([*names, "late", "last"])
    assert [line.count(",") for line in lines] == [151] * 5
    monkeypatch.setattr(coverage, "MOST_FIELDS", 151)
    answer = browser.get(f"/p/{job.key}/items.csv")
    assert (answer.status_code, "more than 151 different fields" in answer.text) == (409, True)


def test_others_get_no_csv(guest: Browser) -> None:
    make_project(2)
    key = make_job(project=2)
    assert guest.get(f"/p/{key}/items.csv").status_code == 403


def requested(*statuses: int) -> Any:
    job = running_job()
    values = [{"time": 1_700_000_000_000, "url": f"http://a/{n}", "method": "GET", "status": status, "rs": 2048, "duration": 90, "parent": n - 1}
              for n, status in enumerate(statuses)]  # fmt: skip
    append(job, batch(Kind.REQUESTS, values))
    return job.key


def test_requests_and_their_statuses(browser: Browser) -> None:
    key = requested(200, 200, 404, 500)
    text = page(browser, key, "/requests")
    assert rows(text, "request") == [0, 1, 2, 3] and "50 %" in text and "2.0 KB" in text
    assert f'href="/p/{key}/requests?start=1#request-1"' in text
    assert rows(page(browser, key, "/requests", status="404"), "request") == [2]
    assert rows(page(browser, key, "/requests", status="5XX"), "request") == [3]
    assert rows(page(browser, key, "/requests", status="2xx", q="a/1"), "request") == [1]
    assert "No request matches" in page(browser, key, "/requests", q="zzz")


def logged(*entries: dict[str, Any]) -> Any:
    job = running_job()
    append(job, batch(Kind.LOGS, entries))
    return job


TRACEBACK = "Spider error\nTraceback (most recent call last):\n  File 'x'\nValueError: no price"


def test_log_lines(browser: Browser) -> None:
    job = logged(log_entry("one", 10), *[log_entry("again", 30)] * 214, log_entry(TRACEBACK, 40))
    finish(job)
    text = page(browser, job.key, "/log")
    assert rows(text, "line") == [0, 1] and "×199" in text  # a page has 200 entries
    text = page(browser, job.key, "/log", level=40)
    assert (
        rows(text, "line") == [215]
        and "<summary>Spider error <span" in text
        and "… ValueError: no price" in text
    )
    assert re.findall(r'count">([\d\u202f]+)</span></a>', text)[-4:] == ["216", "215", "215", "1"]
    assert "data-tail" not in text
    assert rows(page(browser, job.key, "/log", q="PRICE"), "line") == [215]


def test_a_running_log_begins_at_its_end_and_is_followed(browser: Browser) -> None:
    job = logged(*(log_entry(f"m{n}", 20) for n in range(450)))
    text = page(browser, job.key, "/log")
    assert rows(text, "line") == list(range(250, 450))
    assert f'data-tail="/api/log.sse?project=1&job={str(job.key).replace("/", "%2F")}&start=450"' in text
    assert rows(page(browser, job.key, "/log", start=0), "line") == list(range(200))
    assert "data-tail" not in page(browser, job.key, "/log", start=0)
    finish(job)
    assert rows(page(browser, job.key, "/log"), "line") == list(range(200))


def test_stats_in_groups(browser: Browser) -> None:
    stats = {"item_scraped_count": 1240, "memusage/max": 181231616, "retry/reason_count/503": 2, "start_time": 1795433620188.0,
             "list": [1], "none": None}  # fmt: skip
    job = running_job()
    append(job, stats=stats)
    text = page(browser, job.key, "/stats")
    assert re.findall(r'<h2 id="h-group-\d">(\w+)<', text) == ["General", "memusage", "retry"]
    for words in ("1\u202f240", "(173 MB)", "reason_count/503", "2026-11-23", "null"):
        assert words in text, words


def test_arguments_and_settings(browser: Browser) -> None:
    key = make_job(args={"a": "x y"}, job_settings={"DELAY": 0.5}, environment={"TOKEN": "t"}, tags=["w"])
    text = page(browser, key, "/settings")
    for words in ("x y", "DELAY", "0.5", "TOKEN", "curl -u", "'a=x y'", "jobs.run("):
        assert words in text, words


def test_empty_tabs_say_so(browser: Browser) -> None:
    waiting, ended = make_job(), finished_job()
    words = {
        "/items": "No items",
        "/requests": "No requests",
        "/log": "The log is empty",
        "/stats": "No stats",
    }
    for tab, text in words.items():
        assert text in page(browser, ended, tab)
        assert "yet" in page(browser, waiting, tab) or tab == "/stats"


@pytest.mark.parametrize(
    "query",
    ["start=-1", "start=x", "start=99999999999", "level=x", "level=-1", "q=" + "x" * 501, "status=xxx", "status=4x",
     "status=20", "view=pdf", "field=" + "x" * 501],
)  # fmt: skip
def test_bad_parameters_are_told(browser: Browser, query: str) -> None:
    job = requested(200)
    tab = {"level": "/log", "statu": "/requests"}.get(query[:5], "/items")
    answer = browser.get(f"/p/{job}{tab}?{query}")
    assert answer.status_code == 400 and "invalid value for" in answer.text


def test_requests_of_earlier_releases(browser: Browser) -> None:
    key = requested(200)
    with db.transaction() as session:
        from sqlalchemy import update

        from app.models import Chunk

        session.execute(update(Chunk).values(counts={"url": 1}))
    text = page(browser, key, "/requests")
    assert "before their statuses were counted" in text and rows(text, "request") == [0]


def test_a_job_whose_records_were_purged(browser: Browser) -> None:
    job = job_with_items([{"a": 1}])
    finish(job)
    with db.transaction() as session:
        records.purge(session, [job.id])
    change(job.key, items=1, pages=1, logs=1)
    for tab in ("", "/items", "/requests", "/log"):
        assert browser.get(f"/p/{job.key}{tab}").status_code == 200
    assert tabs.ROWS == 50
