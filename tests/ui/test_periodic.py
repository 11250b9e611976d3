"""Periodic jobs: the list, the form with its preview, the history; pause, run now, delete."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from app import db
from app.services import firing, periodic, plans, projects
from tests.factories import (
    change,
    change_periodic,
    everything,
    finished_job,
    make_periodic,
    make_project,
    runs_of,
)
from tests.ui.conftest import Browser

LIST = "/p/1/periodic-jobs"
FORM: dict[str, Any] = {
    "sent": "1", "description": "nightly", "cron": "30 2 * * MON-FRI", "timezone": "Europe/Berlin",
    "spider": "quotes", "spider_args": "a=1\nb=x=y", "spider_priority": "4", "spider_tags": "one, two", "tags": "all",
    "priority": "1", "settings": "DOWNLOAD_DELAY=2\nNAME=me", "overlap": "queue", "missed": "run_once", "jitter": "60",
    "enabled": "1",
}  # fmt: skip


def plan_of(periodic_id: int) -> plans.Plan:
    with db.reading() as session:
        return plans.of_row(periodic.get(session, 1, periodic_id))


def saved(browser: Browser, path: str = f"{LIST}/new", **fields: Any) -> int:
    answer = browser.post(path, **{**FORM, **fields})
    assert answer.status_code == 303, answer.text
    return int(answer.headers["location"].rsplit("/", 1)[1])


def test_the_form_makes_a_schedule(browser: Browser) -> None:
    schedule = saved(browser)
    spider = {"name": "quotes", "args": {"a": "1", "b": "x=y"}, "priority": 4, "tags": ["one", "two"]}
    assert plan_of(schedule) == plans.Plan(
        "30 2 * * MON-FRI", [spider], "nightly", "Europe/Berlin", 60, "queue", "run_once",
        {"DOWNLOAD_DELAY": 2, "NAME": "me"}, ["all"], 1,
    )  # fmt: skip
    page = unescape(browser.get(f"{LIST}/{schedule}").text)
    assert "At 02:30 on Monday through Friday" in page
    assert len(re.findall(r"<li>\w{3} \d+ \w{3} \d{4}, 02:30 CES?T", page)) == 5
    assert "It has not run yet" in page


class Form(HTMLParser):
    """What a browser sends when the form with this action is submitted as it was loaded."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self.action = action
        self.inside = False
        self.fields: dict[str, list[str]] = {}
        self.text: str | None = None  # name of the text area that is read
        self.choice = ""  # name of the select that is read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = given["action"] == self.action
        elif self.inside and tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.fields.setdefault(given["name"], []).append(given.get("value", ""))
        elif self.inside and tag == "textarea":
            self.text = given["name"]
            self.fields.setdefault(self.text, []).append("")
        elif self.inside and tag == "select":
            self.choice = given["name"]
            self.fields.setdefault(self.choice, []).append("")
        elif self.inside and tag == "option" and "selected" in given:
            self.fields[self.choice][-1] = given["value"]

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.fields[self.text][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.text = None if tag == "textarea" else self.text
        self.inside = self.inside and tag != "form"


def test_saving_what_is_shown_changes_nothing(browser: Browser) -> None:
    """Whatever the API has put into it: a form that is opened and saved is the same afterwards."""
    plan = plans.parse(
        {
            "cron": "*/5 * * * *", "jitter": 5, "addtags": ["t"], "overlap": "queue", "priority": 0, "enabled": False,
            "job_settings": {"A": "1", "B": 1, "C": "two\nlines", "D": {"x": [1]}, "E": "text", "F": "\"q\"", "G": True},
            "spiders": [
                {"name": "quotes", "args": {"a": "two\nlines", "b": "\"quoted\"", "c": " space ", "d": "", "e": "x=y"}},
                {"name": "quotes", "priority": 3, "addtags": ["u"]},
            ],
        }
    )  # fmt: skip
    with db.transaction() as session:
        schedule = periodic.create(session, 1, plan, "admin")
    form = Form(f"{LIST}/{schedule}")
    form.feed(browser.get(f"{LIST}/{schedule}").text)
    fields = {name: values for name, values in form.fields.items() if name != "form_token"}
    assert browser.post(f"{LIST}/{schedule}", **fields).status_code == 303
    assert plan_of(schedule) == plan


def test_who_saves_last_undoes_nothing_that_they_have_not_seen(browser: Browser) -> None:
    schedule = saved(browser)
    form = Form(f"{LIST}/{schedule}")
    form.feed(browser.get(f"{LIST}/{schedule}").text)
    fields = {name: values for name, values in form.fields.items() if name != "form_token"}
    saved(browser, f"{LIST}/{schedule}", description="changed meanwhile")
    before = everything()
    answer = browser.post(f"{LIST}/{schedule}", **{**fields, "cron": "0 0 * * *"})
    assert answer.status_code == 409
    assert "changed this schedule since you opened it" in answer.text
    assert everything() == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "61 * * * *"}, "bad minute"), ({"cron": ""}, "missing 'cron'"), ({"timezone": "Berlin"}, "no time zone"),
        ({"spider": ""}, "Choose a spider"), ({"spider": "nobody"}, "Spider not found: nobody"),
        ({"spider_args": "x"}, "is not name=value"), ({"settings": "x"}, "is not name=value"), ({"jitter": "x"}, "jitter"),
        ({"priority": "9"}, "priority"), ({"tags": "x" * 300}, "addtags"), ({"overlap": "x"}, "overlap"),
        ({"description": "x" * 300}, "description"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_and_what_was_typed_stays(
    browser: Browser, fields: dict[str, str], words: str
) -> None:
    schedule = make_periodic()
    before = everything()
    for path in (f"{LIST}/new", f"{LIST}/{schedule}"):
        answer = browser.post(path, **{**FORM, **fields})
        text = unescape(answer.text)
        assert (answer.status_code, words in text, 'value="one, two"' in text) == (400, True, "spider" not in fields or fields["spider"] != "")  # fmt: skip
    assert everything() == before


def test_the_preview_shows_times_without_saving(browser: Browser) -> None:
    schedule = make_periodic()
    before = everything()
    for path in (f"{LIST}/new/preview", f"{LIST}/{schedule}/preview"):
        page = unescape(browser.post(path, **{**FORM, "cron": "0 0 29 2 *", "timezone": "Asia/Kolkata"}).text)
        assert "At 00:00 on February 29" in page and "29 Feb 2028, 00:00 IST" in page
        assert 'value="0 0 29 2 *"' in page
    assert (
        "Spider not found: other" in browser.post(f"{LIST}/new/preview", **{**FORM, "spider": "other"}).text
    )
    wrong = browser.post(f"{LIST}/new/preview", **{**FORM, "cron": "x"})
    assert wrong.status_code == 200 and "has not the five fields" in wrong.text
    assert "It is paused" in browser.post(f"{LIST}/new/preview", **{**FORM, "enabled": "0"}).text
    assert everything() == before


def test_a_spider_more(browser: Browser) -> None:
    page = browser.post(f"{LIST}/new/preview", **FORM, add="1").text
    assert page.count('name="spider"') == 2
    columns = {
        "spider": ["quotes", "quotes"],
        "spider_args": ["n=1", "n=2"],
        "spider_priority": ["", "3"],
        "spider_tags": ["", ""],
    }
    schedule = saved(browser, **columns)
    assert plan_of(schedule).spiders == [
        {"name": "quotes", "args": {"n": "1"}}, {"name": "quotes", "args": {"n": "2"}, "priority": 3},
    ]  # fmt: skip


def test_the_list(browser: Browser) -> None:
    assert "No periodic job yet" in browser.get(LIST).text
    first, second = (
        make_periodic(description="one"),
        make_periodic(description="<two>", cron="0 4 * * *", disabled=True),
    )
    page = browser.get(LIST).text
    assert "&lt;two&gt;" in page and "At 04:00 every day" in page and "2 periodic jobs" in page
    assert (page.count(">enabled<"), page.count(">paused<"), page.count("none yet")) == (1, 1, 2)
    found = browser.get(LIST, search="two").text
    assert f"{LIST}/{second}" in found and f'{LIST}/{first}"' not in found
    assert "No periodic job matches" in browser.get(LIST, search="three").text


def test_the_list_goes_on_by_key(browser: Browser) -> None:
    ids = [make_periodic(description=f"d{n}") for n in range(60)]
    seen: list[int] = []
    path = LIST
    while path:
        page = browser.get(path).text
        seen += [int(each) for each in re.findall(r'class="lead"><a href="/p/1/periodic-jobs/(\d+)"', page)]
        more = re.search(r'href="([^"]*)">More periodic jobs', page)
        path = unescape(more[1]) if more else ""
    assert seen == ids


def test_last_runs_are_as_good_as_their_jobs(browser: Browser) -> None:
    schedule = make_periodic(spiders=[{"name": "quotes", "args": {"n": n}} for n in range(2)])
    browser.post(f"{LIST}/{schedule}/run")
    assert 'rect class="pending"' in browser.get(LIST).text
    for key in runs_of(schedule)[0].jobs or []:
        change(jobkey(key), state="finished", close_reason="finished" if key.endswith("1") else "oom")
    page = browser.get(LIST).text
    assert 'rect class="bad"' in page and "finished, oom" in page


def jobkey(text: str) -> Any:
    from app.keys import JobKey

    return JobKey.parse(text)


def test_run_now(browser: Browser) -> None:
    schedule = make_periodic()
    answer = browser.post(f"{LIST}/{schedule}/run", back="list")
    assert answer.headers["location"] == LIST
    assert "1 job scheduled: 1/1/1." in browser.follow(answer)
    again = browser.post(f"{LIST}/{schedule}/run")
    assert "Nothing was scheduled. Spider 'quotes' already scheduled." in browser.follow(again)
    page = browser.get(f"{LIST}/{schedule}").text
    assert (page.count('href="/p/1/1/1"'), page.count("run by admin")) == (1, 2)
    assert 'chip failed">failed' in page and 'chip started">started' in page


def test_pause_and_resume(browser: Browser) -> None:
    schedule = make_periodic()
    assert "Paused." in browser.follow(browser.post(f"{LIST}/{schedule}/pause", resume="0"))
    assert "paused by admin" in browser.get(f"{LIST}/{schedule}").text
    browser.post(f"{LIST}/{schedule}/pause", resume="1")
    assert plan_of(schedule).enabled
    saved(browser, f"{LIST}/{schedule}", enabled="0")
    assert not plan_of(schedule).enabled


def test_what_is_wrong_is_shown(browser: Browser) -> None:
    schedule = make_periodic()
    with db.transaction() as session:
        projects.set_deployed(session, 1, ["other"])
    for page in (browser.get(LIST).text, browser.get(f"{LIST}/{schedule}").text):
        assert "Spider not found: quotes" in page
    change_periodic(schedule, next_time=60_000, due_time=60_000)
    firing.fire_due()
    assert "no scheduler was alive at its time" in browser.get(f"{LIST}/{schedule}").text


def test_a_declared_one_says_that_deploys_write_over_it(browser: Browser) -> None:
    schedule = make_periodic()
    change_periodic(schedule, declared="nightly")
    assert "the next deploy writes over what is changed here" in browser.get(f"{LIST}/{schedule}").text
    assert "from the project's yml" in browser.get(LIST).text


def test_deleting(browser: Browser) -> None:
    schedule = make_periodic()
    finished_job()
    assert "Deleted." in browser.follow(browser.post(f"{LIST}/{schedule}/delete"))
    assert browser.get(f"{LIST}/{schedule}").status_code == 404


def test_the_history_goes_back(browser: Browser) -> None:
    schedule = make_periodic(cron="* * * * *")
    change_periodic(schedule, next_time=1_700_000_040_000, due_time=1_700_000_040_000)
    firing.fire_due()
    count = len(runs_of(schedule))
    seen, path = 0, f"{LIST}/{schedule}"
    while path:
        page = browser.get(path).text
        seen += page.count('chip missed"')
        more = re.search(r'href="([^"#]*)#history">Older runs', page)
        path = unescape(more[1]) if more else ""
    assert seen == count >= 100


def test_others_see_nothing(guest: Browser) -> None:
    make_project(2)
    theirs = make_periodic(project=2)
    before = everything()
    for path in ("/p/2/periodic-jobs", f"/p/2/periodic-jobs/{theirs}", "/p/2/periodic-jobs/new"):
        assert guest.get(path).status_code == 403
    for path in ("run", "pause", "delete", "preview"):
        assert guest.post(f"/p/2/periodic-jobs/{theirs}/{path}").status_code == 403
        assert guest.post(f"{LIST}/{theirs}/{path}").status_code == 404
    assert guest.post(f"/p/2/periodic-jobs/{theirs}", **FORM).status_code == 403
    assert guest.get(f"{LIST}/{theirs}").status_code == 404
    assert [guest.get(f"{LIST}/{word}").status_code for word in ("x", "0", "9" * 20)] == [404] * 3
    assert everything() == before


def test_nobody_gets_in_and_no_foreign_form(stranger: Browser, browser: Browser) -> None:
    schedule = make_periodic()
    answer = browser.client.post(f"{LIST}/{schedule}/delete", data={}, follow_redirects=False)
    assert answer.status_code == 400 and plan_of(schedule)
    browser.client.cookies.clear()
    assert browser.get(LIST).headers["location"].startswith("/login")
