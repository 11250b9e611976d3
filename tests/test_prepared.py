"""Statements that go straight to the driver: what travels is as if they had not."""

import pytest
from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from app import db
from app.models import Job, Project, Webhook
from app.prepared import Prepared
from app.services import jobs

pytestmark = pytest.mark.usefixtures("database", "sent")
JOB, PROJECT, WEBHOOK = (each.__table__ for each in (Job, Project, Webhook))  # type: ignore[attr-defined]


def test_rows_have_names_and_types() -> None:
    hook = {"project_id": 1, "url": "http://x", "secret": "s", "created_by": "a", "created_time": 1}
    ask = Prepared(select(WEBHOOK.c.events, WEBHOOK.c.enabled).where(WEBHOOK.c.url == bindparam("named")))
    with db.transaction() as session:
        session.execute(insert(WEBHOOK).values(**hook, events=["job:started"]))
        (row,) = ask(session, {"named": "http://x"})
        assert ask(session, {"named": "nobody's"}) == []
    assert (row.events, row.enabled) == (["job:started"], True)


def test_a_row_gets_the_defaults_of_its_model() -> None:
    with db.transaction() as session:
        key = jobs.schedule(session, 1, jobs.NewJob("quotes", {"a": "ä"}, meta={"b": [1, None]}), "somebody")
    with db.reading() as session:
        job = session.get_one(Job, jobs.find(session, key))
        assert (job.spider_args, job.meta, job.job_settings) == ({"a": "ä"}, {"b": [1, None]}, None)
        assert (job.items, job.compacted, job.state, job.scheduled_by) == (0, False, "pending", "somebody")


def test_an_error_is_the_one_that_callers_know() -> None:
    make = Prepared(insert(PROJECT).inline())
    with pytest.raises(IntegrityError), db.transaction() as session:
        make(session, {"id": 1, "name": "again", "created_time": 1})


def test_other_columns_than_at_first_are_refused() -> None:
    make = Prepared(insert(PROJECT).inline())
    with db.transaction() as session:
        make(session, {"id": 2, "name": "two", "created_time": 1})
    with pytest.raises(AssertionError), db.transaction() as session:
        make(session, {"id": 3, "name": "three"})


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_connection_that_was_lost_is_used_no_more() -> None:
    ask = Prepared(select(PROJECT.c.name).where(PROJECT.c.id == bindparam("project")))

    def lose() -> None:
        with db.transaction() as session, db.reading() as other:
            mine = session.scalar(select(func.pg_backend_pid()))
            other.scalar(select(func.pg_terminate_backend(mine, 10_000)))
            ask(session, {"project": 1})

    with pytest.raises(OperationalError):
        lose()
    with db.transaction() as session:
        assert [row.name for row in ask(session, {"project": 1})] == ["one"]
