"""Spiders with their last runs."""

import pytest
from sqlalchemy import insert

from app import db
from app.db import now_ms
from app.keys import JobKey
from app.models import JobState, PeriodicJob
from app.services import projects, spiderruns
from app.services.spiderruns import SpiderRuns
from tests.factories import change, finished_job, make_job, make_project, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def spiders(*names: str) -> None:
    with db.transaction() as session:
        projects.set_deployed(session, 1, names)


def page(search: str = "", limit: int = 50, after: str = "") -> dict[str, SpiderRuns]:
    with db.reading() as session:
        return {each.spider.name: each for each in spiderruns.page(session, 1, search, limit, after)}


def ran(spider: str, items: int, seconds: int, at: int) -> JobKey:
    key = finished_job(spider=spider)
    change(key, items=items, running_time=at, finished_time=at + 1000 * seconds, state_time=at)
    return key


def test_spiders_come_by_name_a_page_at_a_time() -> None:
    make_project(2, ["other"])
    spiders("c", "a", "b", "quotes")
    assert list(page(limit=2)) == ["a", "b"]
    assert list(page(limit=2, after="b")) == ["c", "quotes"]
    assert list(page(after="quotes")) == []


def test_a_search_is_for_a_part_of_the_name_and_takes_no_wildcards() -> None:
    spiders("Shop_de", "shop_fr", "shopxx", "100%")
    assert set(page("SHOP_")) == {"Shop_de", "shop_fr"}
    assert set(page("%")) == {"100%"}
    with db.reading() as session:
        assert [spiderruns.count(session, 1, text) for text in ("", "shop_", "none")] == [4, 2, 0]


def test_each_spider_has_its_own_last_runs_in_the_order_of_their_ends() -> None:
    spiders("a", "b")
    for n in range(5):
        ran("a", n, 60 * n, at=1000 * n)
    ran("b", 7, 10, at=5)
    make_job(spider="a")
    found = page()
    assert [run.items for run in found["a"].finished] == [0, 1, 2, 3, 4]
    assert (found["a"].runtime, found["a"].items) == (120_000, 2)
    assert [run.items for run in found["b"].finished] == [7]


def test_there_are_no_more_runs_than_a_page_can_show_and_medians_are_of_the_last() -> None:
    spiders("a")
    for n in range(spiderruns.MEDIAN_OF + 3):
        ran("a", n, n, at=1000 * n)
    with db.reading() as session:
        number = spiderruns.page(session, 1, "", 1)[0].spider.number
        found = spiderruns.one(session, 1, number, runs=spiderruns.MEDIAN_OF + 1)
    assert found is not None
    assert [run.items for run in found.finished] == list(range(2, 13))
    assert found.items == 7.5


def test_a_job_that_never_ran_is_no_run_and_a_running_one_stands_apart() -> None:
    finished_job()
    change(make_job(), state=JobState.FINISHED, running_time=None)
    running = running_job()
    found = page()["quotes"]
    assert (len(found.finished), [run.id for run in found.running]) == (0, [running.id])
    assert (found.runtime, found.items) == (None, None)


def test_schedules_that_name_a_spider() -> None:
    spiders("a", "b")
    with db.transaction() as session:
        row = {
            "project_id": 1, "description": "nightly", "cron": "0 3 * * *", "timezone": "UTC", "enabled": True,
            "jitter_seconds": 0, "overlap": "skip", "missed": "skip", "priority": 2, "created_by": "admin",
            "created_time": now_ms(), "updated_time": now_ms(), "spiders": [{"name": "a"}, {"name": "a"}],
        }  # fmt: skip
        session.execute(insert(PeriodicJob).values(row))
    found = page()
    assert [row.description for row in found["a"].schedules] == ["nightly"]
    assert found["b"].schedules == ()


def test_a_spider_that_is_gone_is_found_by_its_number() -> None:
    number = page()["quotes"].spider.number
    spiders("a")
    assert list(page()) == ["a"]
    with db.reading() as session:
        found = spiderruns.one(session, 1, number)
        assert found is not None
        assert (found.spider.name, bool(found.spider.present)) == ("quotes", False)
        assert spiderruns.one(session, 1, 99) is None
        assert spiderruns.one(session, make_project(2), 99) is None
