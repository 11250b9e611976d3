"""Spiders with their last runs, and one spider."""

import pytest

from app import db
from app.services import projects
from app.ui.spiders import bars
from tests.factories import change, finished_job, make_job, make_project, make_version, row, running_job
from tests.ui.conftest import Browser


def spiders(*names: str) -> None:
    with db.transaction() as session:
        projects.set_deployed(session, 1, names)


def ran(spider: str = "quotes", at: int = 10_000, **columns: int) -> str:
    key = finished_job(spider=spider)
    change(key, running_time=at, finished_time=at + 1000, state_time=at, **columns)
    return str(key)


def test_each_run_is_a_bar_that_leads_to_its_job(browser: Browser) -> None:
    make_version("v7")
    first, last = ran(items=5, at=1000), ran(items=10, errors=2, at=5000)
    page = browser.get("/p/1/spiders").text
    assert page.index(f'href="/p/{first}"') < page.index(f'href="/p/{last}"')
    for words in ("Job 1: no reason, 5 items, 1.0 s", "Job 2: no reason, 10 items, 2 errors, 1.0 s", "v7"):
        assert words in page


@pytest.mark.usefixtures("database", "sent")
def test_a_bar_is_as_high_as_it_has_items() -> None:
    for items in (0, 5, 10):
        change(key := finished_job(), items=items, running_time=1, finished_time=2)
        found = bars([row(key)], step=7, height=30)
        assert (found[0].x, found[0].height, found[0].y) == (0, *((30, 0) if items else (2.0, 28)))
    two = bars([row(finished_job()), row(key)], step=7, height=30)
    assert [(each.x, each.height) for each in two] == [(0, 2.0), (7, 30)]


def test_a_running_job_is_the_last_bar(browser: Browser) -> None:
    ran(items=3)
    running = running_job()
    page = browser.get("/p/1/spiders").text
    assert f"Job {running.key.job}: running, 0 items" in page
    assert 'class="chip running"' in page


def test_spiders_are_searched_and_come_in_pages(browser: Browser) -> None:
    spiders(*(f"shop{n:02}" for n in range(33)), "other")
    first = browser.get("/p/1/spiders").text
    assert ("shop23" in first, "shop24" in first, "?after=shop23" in first) == (True, False, True)
    second = browser.get("/p/1/spiders", after="shop23").text
    assert ("shop32" in second, "shop23<" in second) == (True, False)
    found = browser.get("/p/1/spiders", search="OTH").text
    assert (">other<" in found, "shop01" in found) == (True, False)
    assert "name contains “none”" in browser.get("/p/1/spiders", search="none").text


def test_a_project_without_spiders_says_what_to_do(browser: Browser) -> None:
    make_project(2, [])
    assert "No spider yet" in browser.get("/p/2/spiders").text


def test_one_spider(browser: Browser) -> None:
    key = ran(items=1234)
    page = browser.get("/p/1/spiders/1").text
    assert ("<h1>quotes</h1>" in page, "1\u202f234" in page) == (True, True)
    assert f'href="/p/1/run?like={key.replace("/", "%2F")}"' in page
    assert 'href="/p/1/run?spider=quotes"' in page


def test_a_spider_that_is_gone_keeps_its_page(browser: Browser) -> None:
    make_job()
    spiders("other")
    page = browser.get("/p/1/spiders/1").text
    assert ("has this spider any more" in page, "/p/1/run?spider=quotes" in page) == (True, False)


@pytest.mark.parametrize("number", ["9", "0", "x", "-1", "9" * 30])
def test_a_spider_that_never_was(browser: Browser, number: str) -> None:
    assert browser.get(f"/p/1/spiders/{number}").status_code == 404


def test_names_are_text(browser: Browser) -> None:
    spiders("<b>&'\"")
    ran("<b>&'\"")
    for path in ("/p/1/spiders", "/p/1/spiders/2"):
        page = browser.get(path).text
        assert ("<b>" in page, "&lt;b&gt;" in page) == (False, True)


def test_others_are_kept_out(guest: Browser) -> None:
    make_project(2)
    assert [guest.get(path).status_code for path in ("/p/2/spiders", "/p/2/spiders/1")] == [403, 403]
