"""One job as a person looks at it."""

import pytest

from app import db
from app.errors import NotFound
from app.keys import JobKey
from app.models import JobState
from app.services import jobs, jobview
from app.services.jobview import View
from tests.factories import change, finish, make_job, row, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def load(key: JobKey) -> View:
    with db.reading() as session:
        return jobview.load(session, key)


def test_a_job_that_waits_says_why() -> None:
    view = load(make_job(tags=["b", "a"]))
    assert view.verdict == "Waits: no worker is running."
    assert (view.spider, view.tags, view.active, view.ran, view.runtime) == (
        "quotes",
        ["b", "a"],
        True,
        False,
        None,
    )


def test_a_running_job_counts_its_time() -> None:
    job = running_job()
    change(job.key, running_time=(row(job.key).running_time or 0) - 60_000)
    view = load(job.key)
    assert (
        view.active
        and 60_000 <= (view.runtime or 0) < 120_000
        and view.verdict.startswith("Has run for 1 min")
    )
    with db.transaction() as session:
        jobs.request_stop(session, [job.key], "ann")
    assert load(job.key).stopping


def test_a_job_that_has_ended() -> None:
    job = running_job()
    finish(job, "killed by oom")
    change(job.key, running_time=1000, finished_time=3000)
    view = load(job.key)
    assert (view.runtime, view.active, view.stopping) == (2000, False, False)
    assert view.verdict == "Was killed after 2.0 s with no items: it used more memory than it may."


def test_deleted_and_unknown_jobs() -> None:
    key = make_job()
    with db.transaction() as session:
        jobs.delete(session, [key], "admin")
    assert load(key).job.state == JobState.DELETED
    for unknown in (JobKey(1, 1, 99), JobKey(1, 9, 1), JobKey(9, 1, 1)):
        with pytest.raises(NotFound, match=f"no job {unknown}"):
            load(unknown)
