"""The jobs of a project: sections, filters, and what is done with them."""

import re

import pytest

from app import db
from app.services import workers
from app.ui import jobs
from tests.factories import (
    change,
    claim,
    finish,
    finished_job,
    make_job,
    make_project,
    make_version,
    row,
    states,
)
from tests.ui.conftest import Browser


def shown(text: str) -> list[str]:
    """Keys of the jobs on a page, in order."""
    return re.findall(r'name="job" value="([\d/]+)" form', text)


def test_sections_by_state(browser: Browser) -> None:
    finished, waits = finished_job(), make_job()
    make_job(priority=4)
    running = claim()
    assert running is not None
    page = browser.get("/p/1/jobs").text
    assert shown(page) == [str(waits), str(running.key), str(finished)]
    assert shown(browser.get("/p/1/jobs", state="running").text) == [str(running.key)]


def test_waiting_ones_say_why(browser: Browser) -> None:
    make_job(priority=1)
    make_job(priority=3)
    assert browser.get("/p/1/jobs").text.count("no worker is running") == 2
    with db.transaction() as session:
        workers.seen(session, "w@here", workers.WORKER, 1)
    page = browser.get("/p/1/jobs").text
    assert ("1st in line" in page, "2nd in line" in page) == (True, True)
    with db.transaction() as session:
        workers.drain(session, "w@here", True)
    assert browser.get("/p/1/jobs").text.count("all workers drain") == 2
    make_project(2, spiders=["a"])
    make_version(project=2, spiders=["a"])
    make_job("a", 2)
    make_version("2", project=2, spiders=["b"])
    assert "no deployed version has this spider" in browser.get("/p/2/jobs").text


def test_the_query_string_is_the_filter(browser: Browser) -> None:
    tagged = finished_job(tags=["a", "b"])
    make_job(priority=4, args={"x": "1=2"})
    claimed = claim()
    assert claimed is not None
    assert finish(claimed, "oom")
    other, old = finished_job(), finished_job()
    change(old, state_time=1_000_000)
    for query, keys in (
        ({"tag": "a"}, [tagged]),
        ({"tag": ["a", "b"]}, [tagged]),
        ({"outcome": "oom"}, [claimed.key]),
        ({"outcome": "!oom"}, [other, tagged, old]),
        ({"args": "x=1=2"}, [claimed.key]),
        ({"args": "x"}, [claimed.key]),
        ({"args": ["x", "y"]}, []),
        ({"since": "1h"}, [other, claimed.key, tagged]),
        ({"since": "1970-01-01T00:30"}, [other, claimed.key, tagged]),
        ({"spider": "quotes", "outcome": "oom"}, [claimed.key]),
        ({"spider": "nobody"}, []),
    ):
        assert shown(browser.get("/p/1/jobs", **query).text) == [str(key) for key in keys], query


@pytest.mark.parametrize(
    "query",
    [
        {"since": "soon"},
        {"state": "lost"},
        {"state": "finished", "after": "x"},
        {"after": "1.1"},
        {"since": "99999999999d"},
        {"state": "pending", "after": "1." + "9" * 30},
    ],
)
def test_a_bad_filter_is_named(browser: Browser, query: dict[str, str]) -> None:
    answer = browser.get("/p/1/jobs", **query)
    assert (answer.status_code, list(query)[-1] in answer.text) == (400, True)


@pytest.mark.parametrize("state", ["pending", "finished"])
def test_pages_follow_each_other_without_gap_or_double(browser: Browser, state: str) -> None:
    made = [make_job(priority=n % 3) if state == "pending" else finished_job() for n in range(120)]
    seen, path = [], f"/p/1/jobs?state={state}"
    while path:
        page = browser.get(path).text
        seen += shown(page)
        following = re.search(r'href="(/p/1/jobs\?[^"]*after=[^"]*)">(?:Older|Further)', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert sorted(seen) == sorted(map(str, made))
    if state == "pending":
        levels = [row(next(key for key in made if str(key) == each)).priority for each in seen]
        assert levels == sorted(levels, reverse=True)


def test_the_priority_of_a_waiting_job(browser: Browser) -> None:
    key = make_job(priority=1)
    answer = browser.post("/p/1/jobs/priority", job=str(key), priority="4", back="?state=pending")
    assert "now has priority 4" in browser.follow(answer)
    assert answer.headers["location"] == "/p/1/jobs?state=pending"
    assert row(key).priority == 4
    claimed = claim()
    assert claimed is not None
    assert browser.post("/p/1/jobs/priority", job=str(key), priority="1").status_code == 409
    assert browser.post("/p/1/jobs/priority", job=str(key), priority="5").status_code == 400
    assert browser.post("/p/1/jobs/priority", job="2/1/1", priority="1").status_code == 400


def test_many_are_changed_after_the_number_was_shown(browser: Browser) -> None:
    keys = [str(make_job()) for _ in range(3)]
    asked = browser.post("/p/1/jobs/bulk", job=keys, action="stop")
    assert "Stop: 3 jobs?" in asked.text
    assert set(states().values()) == {"pending"}
    done = browser.post("/p/1/jobs/bulk", job=keys, action="stop", confirmed="1")
    assert "3 of 3 jobs were asked to stop." in browser.follow(done)
    assert set(states().values()) == {"finished"}


def test_all_that_the_filter_selects(browser: Browser) -> None:
    tagged = [str(finished_job(tags=["old"])) for _ in range(2)]
    finished_job()
    asked = browser.post("/p/1/jobs/bulk", action="delete", everything="1", tag="old").text
    assert "Delete: 2 jobs?" in asked
    assert sorted(re.findall(r'name="job" value="([^"]+)"', asked)) == sorted(tagged)


def test_again_with_the_same_arguments(browser: Browser) -> None:
    old = finished_job(args={"a": "1"}, tags=["t"], priority=3)
    waits = make_job()
    answer = browser.post("/p/1/jobs/bulk", job=[str(old), str(waits)], action="rerun", confirmed="1")
    text = browser.follow(answer)
    assert "1 of 2 jobs were scheduled again." in text
    assert "already scheduled" in text
    new = next(key for key, state in states().items() if state == "pending" and key != str(waits))
    found = browser.get("/p/1/jobs", args="a=1", state="pending", tag="t").text
    assert shown(found) == [new]


def test_as_many_as_one_press_can_change(browser: Browser) -> None:
    keys = [f"1/1/{number}" for number in range(1, jobs.MOST + 1)]
    answer = browser.post("/p/1/jobs/bulk", job=keys, action="delete", confirmed="1")
    assert f"0 of {jobs.MOST} jobs were deleted." in browser.follow(answer)


def test_tags_of_many(browser: Browser) -> None:
    keys = [str(finished_job()) for _ in range(2)]
    assert "Write the tag" in browser.follow(browser.post("/p/1/jobs/bulk", job=keys, action="tag"))
    browser.post("/p/1/jobs/bulk", job=keys, action="tag", tag_name="x", confirmed="1")
    assert len(shown(browser.get("/p/1/jobs", tag="x").text)) == 2
    browser.post("/p/1/jobs/bulk", job=keys[:1], action="untag", tag_name="x", confirmed="1")
    assert shown(browser.get("/p/1/jobs", tag="x").text) == keys[1:]


def test_nothing_selected_or_somebody_elses(browser: Browser) -> None:
    make_project(2)
    other = make_job(project=2)
    assert "Select at least one job" in browser.follow(browser.post("/p/1/jobs/bulk", action="stop"))
    assert browser.post("/p/1/jobs/bulk", action="stop", job=str(other)).status_code == 400
    assert browser.post("/p/1/jobs/bulk", action="burn", job="1/1/1").status_code == 400


def test_no_job_is_a_page_too(browser: Browser) -> None:
    assert "No job yet" in browser.get("/p/1/jobs").text
    assert "No job matches the filter" in browser.get("/p/1/jobs", spider="x").text


def test_what_users_typed_is_text(browser: Browser) -> None:
    make_job(args={"<i>": "<script>alert(1)</script>"}, tags=["<b>"])
    page = browser.get("/p/1/jobs").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
