"""The page of the workers."""

from app import db
from app.services import workers
from tests.factories import claim, everything, make_job
from tests.ui.conftest import Browser


def seen(name: str = "w@machine", kind: str = workers.WORKER) -> None:
    with db.transaction() as session:
        workers.seen(session, name, kind, 2)


def test_it_shows_what_each_worker_runs(browser: Browser) -> None:
    seen()
    seen("s@machine", workers.SCHEDULER)
    key = make_job()
    assert claim("w@machine") is not None
    page = browser.get("/workers").text
    assert all(words in page for words in ("takes jobs", "1 / 2", f'href="/p/{key}"', "s@machine", "alive"))


def test_nobody_is_there(browser: Browser) -> None:
    page = browser.get("/workers").text
    assert ("No worker is running" in page, "No scheduler is running" in page) == (True, True)


def test_a_worker_drains_until_it_is_empty_and_takes_jobs_again(browser: Browser) -> None:
    seen()
    make_job()
    assert claim("w@machine") is not None
    page = browser.follow(browser.post("/workers/drain", worker="w@machine", on="1"))
    assert (">draining<" in page, "can be switched off" in page) == (True, False)
    make_job()
    assert claim("w@machine") is None
    browser.post("/workers/drain", worker="w@machine")
    assert claim("w@machine") is not None
    with db.transaction() as session:
        workers.gone(session, "w@machine")
    seen()
    assert claim("w@machine") is None


def test_an_empty_worker_can_be_switched_off(browser: Browser) -> None:
    seen()
    page = browser.follow(browser.post("/workers/drain", worker="w@machine", on="1"))
    assert (">drained<" in page, "can be switched off" in page) == (True, True)


def test_a_worker_that_is_not_there(browser: Browser) -> None:
    before = everything()
    assert browser.post("/workers/drain", worker="nobody", on="1").status_code == 404
    assert browser.post("/workers/drain").status_code == 400
    assert everything() == before


def test_only_administrators(guest: Browser) -> None:
    seen()
    assert "Only an administrator" in guest.get("/workers").text
    assert guest.get("/workers/events.sse").status_code == 403
    assert guest.post("/workers/drain", worker="w@machine", on="1").status_code == 403
    assert "takes jobs" not in guest.get("/").text
