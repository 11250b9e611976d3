"""The page of one job: what it says, and what can be done with it."""

from html import unescape
from typing import Any

import pytest

from app import db
from app.keys import JobKey
from app.models import Kind
from app.services import jobs
from tests.factories import (
    append,
    batch,
    change,
    finish,
    finished_job,
    log_entry,
    make_job,
    make_key,
    make_project,
    row,
    running_job,
    states,
)
from tests.ui.conftest import Browser


def page(browser: Browser, key: Any, tab: str = "", expected: int = 200, **params: Any) -> str:
    answer = browser.get(f"/p/{key}{tab}", **params)
    assert answer.status_code == expected, answer.text
    return unescape(answer.text)


def test_a_job_that_waits(browser: Browser) -> None:
    text = page(browser, make_job(tags=["prod"], args={"depth": "3"}))
    for words in (
        "Waits: no worker is running.",
        "depth=3",
        ">prod<",
        ">Cancel<",
        ">Delete<",
        "It never ran",
    ):
        assert (words in text) == (words != "It never ran"), words
    assert 'data-live="/api/events.sse?project=1"' in text


def test_a_job_that_has_ended(browser: Browser) -> None:
    job = running_job()
    start = row(job.key).running_time or 0
    append(job, batch(Kind.SAMPLES, [[start, 0, 0, 0, 0, 5 << 20]]))
    append(job, batch(Kind.ITEMS, [{"a": 1}]), batch(Kind.LOGS, [log_entry("x", 40)]))
    finish(job)
    change(job.key, finished_time=start + 61_000)
    text = page(browser, job.key)
    assert "Finished after 1 min 1 s with 1 item; 1 error." in text and "5.0 MB" in text
    assert ">Stop<" not in text and "data-live" not in text and ">Run again<" in text
    assert f'href="/p/{job.key}/log?level=40"' in text


def test_charts_are_data_and_a_table(browser: Browser) -> None:
    job = running_job()
    start = (row(job.key).running_time or 0) - 120_000
    change(job.key, running_time=start)
    append(job, batch(Kind.SAMPLES, [[start + 60_000, 30, 60, 0, 0, 7 << 20]]))
    found = browser.get(f"/p/{job.key}/series.json").json()
    assert (found["state"], found["items"][0], found["requests"][0]) == ("running", 30, 60)
    assert (found["memory"][0], found["peak"], found["time"][0]) == (7 << 20, 7 << 20, start + 60_000)
    text = page(browser, job.key)
    assert f'data-series="/p/{job.key}/series.json"' in text and '<td class="num">30</td>' in text


def test_the_head_of_a_tab_follows_the_job_by_itself(browser: Browser) -> None:
    job = running_job()
    append(job, batch(Kind.ITEMS, [{"a": 1}]))
    assert f'hx-get="/p/{job.key}/head?tab=items"' in page(browser, job.key, "/items", q="zzz")
    text = page(browser, job.key, "/head?tab=items")
    assert f'<a href="/p/{job.key}/items" aria-current="page">Items<span class="count">1</span>' in text
    assert 'name="q"' not in text


def test_a_second_press_kills(browser: Browser) -> None:
    job = running_job()
    text = browser.follow(browser.post(f"/p/{job.key}/stop"))
    assert "The job was asked to stop." in text and ">Kill now<" in text and "admin asked it to stop" in text
    assert (row(job.key).stop_time is not None, row(job.key).kill_time) == (True, None)
    text = browser.follow(browser.post(f"/p/{job.key}/kill"))
    assert "The job is being killed." in text and row(job.key).kill_time is not None


def test_nothing_is_killed_that_was_not_asked_to_stop(browser: Browser) -> None:
    job = running_job()
    assert "There was nothing to kill." in browser.follow(browser.post(f"/p/{job.key}/kill"))
    assert row(job.key).kill_time is None


def test_a_job_that_waits_is_cancelled(browser: Browser) -> None:
    key = make_job()
    text = browser.follow(browser.post(f"/p/{key}/stop"))
    assert "Was stopped by admin before it had started." in text and states()[str(key)] == "finished"


def test_run_again(browser: Browser) -> None:
    key = finished_job(args={"a": "1"}, tags=["t"], job_settings={"X": 1})
    text = browser.follow(browser.post(f"/p/{key}/rerun"))
    new = JobKey(1, 1, 2)
    assert f"Job {new} was scheduled: the same as {key}." in text
    assert (row(new).spider_args, row(new).job_settings) == ({"a": "1"}, {"X": 1})
    text = browser.follow(browser.post(f"/p/{key}/rerun"))
    assert "Spider 'quotes' already scheduled: no job was scheduled." in text


def test_delete(browser: Browser) -> None:
    running, ended = running_job().key, finished_job()
    assert f"Delete job {ended}?" in browser.post(f"/p/{ended}/delete").text
    assert states()[str(ended)] == "finished"
    assert "Stop it first" in browser.follow(browser.post(f"/p/{running}/delete", confirmed="1"))
    assert f"Job {ended} was deleted." in browser.follow(browser.post(f"/p/{ended}/delete", confirmed="1"))
    assert (states()[str(running)], states()[str(ended)]) == ("running", "deleted")


def test_tags(browser: Browser) -> None:
    key = finished_job(tags=["a"])
    assert ">b & c<" in browser.follow(browser.post(f"/p/{key}/tags", add=" b & c "))
    assert ">a<" not in browser.follow(browser.post(f"/p/{key}/tags", remove="a"))
    for wrong in ({}, {"add": " "}, {"add": "x" * 256}):
        assert browser.post(f"/p/{key}/tags", **wrong).status_code == 400
    assert ">b & c<" in page(browser, key)


TABS = ("", "/items", "/items/0", "/requests", "/log", "/stats", "/settings", "/series.json", "/head")


@pytest.mark.parametrize("tab", TABS)
def test_deleted_unknown_and_other_peoples_jobs(guest: Browser, tab: str) -> None:
    make_project(2, ["a"])
    theirs, deleted = make_job("a", 2), finished_job()
    with db.transaction() as session:
        jobs.delete(session, [deleted], "admin")
    assert f"Job {deleted} was deleted." in page(guest, deleted, tab, 404)
    for unknown in ("1/1/99", "1/99/1", "1/1/0", "1/1/99999999999"):
        text = page(guest, unknown, tab, 404)
        assert "no" in text and 'href="/p/1/jobs"' in text
    for other in (theirs, "3/1/1"):
        assert "doesn't have access to project" in page(guest, other, tab, 403)


@pytest.mark.parametrize("action", ["stop", "kill", "rerun", "delete", "tags"])
def test_nobody_changes_what_is_not_theirs(stranger: Browser, action: str) -> None:
    make_project(2, ["a"])
    key = make_job("a", 2)
    assert stranger.sign_in(make_key("guest", projects=[1])).status_code == 303
    assert stranger.post(f"/p/{key}/{action}", add="x").status_code == 403
    assert stranger.client.post(f"/p/{key}/{action}").status_code in (400, 403)
    assert (row(key).state, row(key).stop_time) == ("pending", None)


def test_a_stranger_is_sent_to_sign_in(stranger: Browser) -> None:
    answer = stranger.get(f"/p/{make_job()}/log", level="40")
    assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=")
