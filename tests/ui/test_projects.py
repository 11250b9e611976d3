"""The page of all projects."""

from tests.factories import claim, finish, finished_job, make_job, make_project, make_version
from tests.ui.conftest import Browser


def test_it_shows_what_every_project_is_doing(browser: Browser) -> None:
    make_project(2)
    make_version("v7")
    make_version("v8", project=2)
    make_job()
    make_job(priority=4)
    assert claim() is not None
    assert finish(running := claim())  # type: ignore[arg-type]
    make_job(priority=4)
    assert claim() is not None
    page = browser.get("/").text
    assert running is not None
    assert all(words in page for words in ("/p/1/jobs?state=running", "v7", "v8", "1 finished"))


def test_others_see_their_own(guest: Browser) -> None:
    make_project(2)
    page = guest.get("/").text
    assert ("/p/1/jobs" in page, "/p/2/jobs" in page, "New project" in page) == (True, False, False)


def test_an_admin_creates_one(browser: Browser) -> None:
    assert "Project 7 was created." in browser.follow(browser.post("/", name="seven", id="7"))
    assert browser.post("/", name="next").headers["location"] == "/p/8/jobs"


def test_a_wrong_field_keeps_what_was_typed(browser: Browser) -> None:
    for fields, status in (
        ({"name": "again", "id": "1"}, 409),
        ({"name": "again", "id": "x"}, 400),
        ({"name": ""}, 400),
    ):
        answer = browser.post("/", **fields)
        assert (answer.status_code, 'role="alert"' in answer.text) == (status, True)
        assert f'value="{fields["name"]}"' in answer.text


def test_nobody_else_does(guest: Browser) -> None:
    assert guest.post("/", name="mine").status_code == 403


def test_many_come_in_pages(browser: Browser) -> None:
    for number in range(2, 34):
        make_project(number)
    first = browser.get("/").text
    assert ("/p/30/jobs" in first, "/p/31/jobs" in first, "?after=30" in first) == (True, False, True)
    assert "/p/33/jobs" in browser.get("/?after=30").text


def test_a_name_is_text(browser: Browser) -> None:
    finished_job()
    browser.post("/", name="<b>bold</b>")
    assert "&lt;b&gt;bold" in browser.get("/").text
