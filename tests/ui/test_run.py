"""The form that runs spiders."""

import re

from tests.factories import change, finished_job, make_job, make_project, make_version, row, states
from tests.ui.conftest import Browser


def test_it_schedules_a_job(browser: Browser) -> None:
    answer = browser.post(
        "/p/1/run", spider="quotes", args="a=1\nb=x=y\n\n", settings="DOWNLOAD_DELAY=2\nUSER_AGENT=me\nX=False",
        tags="one, two", priority="3", units="2",
    )  # fmt: skip
    assert answer.headers["location"] == "/p/1/1/1"
    from app.keys import JobKey

    job = row(JobKey(1, 1, 1))
    assert (job.spider_args, job.priority, job.units) == ({"a": "1", "b": "x=y"}, 3, 2)
    assert job.job_settings == {"DOWNLOAD_DELAY": 2, "USER_AGENT": "me", "X": False}
    assert job.scheduled_by == "admin"


def test_several_spiders_at_once_or_none(browser: Browser) -> None:
    make_project(2, spiders=["a", "b", "c"])
    browser.post("/p/2/run", spider="b")
    refused = browser.post("/p/2/run", spider=["a", "b", "c"])
    assert (refused.status_code, "already scheduled" in refused.text) == (409, True)
    assert "2 jobs were scheduled." in browser.follow(browser.post("/p/2/run", spider=["a", "c"]))


def test_a_wrong_field_keeps_what_was_typed(browser: Browser) -> None:
    for fields in (
        {},
        {"spider": "quotes", "args": "no equals"},
        {"spider": "nobody"},
        {"spider": "quotes", "priority": "9"},
    ):
        answer = browser.post("/p/1/run", **{"tags": "kept", **fields})
        assert (answer.status_code in (400, 404), 'role="alert"' in answer.text) == (True, True), fields
        assert 'value="kept"' in answer.text
    assert states() == {}


def test_it_shows_the_calls_that_do_the_same(browser: Browser) -> None:
    page = browser.post("/p/1/run/preview", spider="quotes", args="q=a b", tags="t", priority="4").text
    curl, python = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert all(part in curl for part in ("schedule.json", "q=a b", "add_tag=t", "priority=4"))
    assert "job_args={" in python
    assert "run.json" in browser.post("/p/1/run/preview", spider="quotes", settings="A=1").text
    assert states() == {}


def test_it_begins_like_another_job(browser: Browser) -> None:
    old = finished_job(args={"a": "1"}, tags=["t"], priority=0)
    page = browser.get("/p/1/run", like=str(old)).text
    assert all(part in page for part in ("a=1", 'value="t"', 'value="0" checked'))
    assert browser.get("/p/1/run", like="1/9/9").status_code == 404


def test_a_project_without_spiders(browser: Browser) -> None:
    make_project(2, spiders=[])
    assert "No spider is deployed" in browser.get("/p/2/run").text
    change(make_job(), priority=2)
    make_version()
