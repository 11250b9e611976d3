"""The charts of a job: from its samples, and from the index of its records where there are none."""

from typing import Any

import pytest

from app import db
from app.models import Kind
from app.services import series
from app.services.jobs import Claimed
from app.services.series import POINTS, Series
from tests.factories import append, batch, change, finish, log_entry, make_job, row, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")

MINUTE = 60_000


def of(job: Claimed) -> Series:
    with db.reading() as session:
        return series.of_job(session, job.id)


def ran(minutes: float, **columns: Any) -> tuple[Claimed, int]:
    """A finished job that ran for so long, and its start in ms; records can still be stored before."""
    job = running_job()
    end = row(job.key).running_time or 0
    start = end - int(minutes * MINUTE)
    change(job.key, running_time=start, **columns)
    return job, start


def end(job: Claimed, **columns: Any) -> None:
    moment = row(job.key).state_time
    assert finish(job)
    change(job.key, finished_time=moment, **columns)


def test_a_job_that_waits_has_none() -> None:
    key = make_job()
    with db.reading() as session:
        assert series.of_job(session, row(key).id or 0) == Series()
        assert series.of_job(session, 99_999) == Series()


def test_samples_become_rates_and_memory() -> None:
    job, start = ran(3)
    stands = [[1, 60, 30, 9, 0, 500], [2, 60, 90, 9, 2, 900]]
    samples = [[start + stand[0] * MINUTE, *stand[1:]] for stand in stands]
    append(job, batch(Kind.SAMPLES, samples[:1]), batch(Kind.SAMPLES, samples[1:], 1))
    end(job, items=70, pages=90, errors=2)
    assert of(job) == Series(
        time=[start + MINUTE, start + 2 * MINUTE, start + 3 * MINUTE],
        items=[60, 0, 10], requests=[30, 60, 0], errors=[0, 2, 0], memory=[500, 900, None], peak=900,
    )  # fmt: skip


def test_a_running_job_is_drawn_up_to_now() -> None:
    job, start = ran(3)
    append(job, batch(Kind.SAMPLES, [[start + n * MINUTE, 5, 0, 0, 0, 7] for n in (1, 2)]))
    change(job.key, items=5)
    found = of(job)
    assert found.time[:2] == [start + MINUTE, start + 2 * MINUTE] and found.time[2] >= start + 3 * MINUTE
    assert found.items == [5, 0, 0] and found.memory == [7, 7, None]


def test_a_short_job_is_drawn_from_the_index_with_its_memory() -> None:
    job, start = ran(0.1)
    append(job, batch(Kind.ITEMS, [{}] * 2, time=start + 1500))
    append(job, batch(Kind.SAMPLES, [[start + 4100, 2, 0, 0, 0, 9]]))
    end(job)
    found = of(job)
    assert found.time[:2] == [start, start + 1000] and found.items[:3] == [0, 120, 0]
    assert (found.memory[4], found.peak) == (9, 9) and found.memory[:4] == [None] * 4


def test_many_samples_become_few_points_that_lose_nothing() -> None:
    minutes = 10_000
    job, start = ran(minutes)
    samples = [[start + n * MINUTE, n, 2 * n, 0, 0, n] for n in range(1, minutes)]
    for first in range(0, len(samples), 1000):
        append(job, batch(Kind.SAMPLES, samples[first : first + 1000], first))
    end(job, items=minutes, pages=2 * minutes)
    found = of(job)
    assert POINTS // 2 < len(found.time) <= POINTS + 1 and set(found.items) == {1.0}
    assert found.peak == minutes - 1


def test_samples_of_a_spider_s_own_are_passed_over() -> None:
    job, start = ran(1)
    append(job, batch(Kind.SAMPLES, [[1, 2, 3], [start + 1, 1, 2, 3, 4, 0.5], [1, 2, 3, 4, 5, 6]]))
    append(job, batch(Kind.ITEMS, [{}] * 6, time=start + 30_000))
    end(job)
    assert sum(of(job).items) / 60 == pytest.approx(6) and of(job).peak is None


def test_without_samples_the_index_is_drawn() -> None:
    job, start = ran(60)
    entries = [log_entry("a", 40), log_entry("b", 20), log_entry("c", 50)]
    append(job, batch(Kind.ITEMS, [{}] * 3, time=start + MINUTE), batch(Kind.LOGS, entries, time=start))
    append(job, batch(Kind.REQUESTS, [{}] * 4, time=start + 59 * MINUTE))
    end(job)
    found = of(job)
    assert len(found.time) <= POINTS + 1 and found.time[1] - found.time[0] == 15_000
    assert [(place, value) for place, value in enumerate(found.items) if value] == [(4, 12)]
    assert [(place, value) for place, value in enumerate(found.requests) if value] == [(4 * 59, 16)]
    assert found.errors[0] == 8 and set(found.memory) == {None}


def test_what_a_chunk_holds_is_spread_over_its_time() -> None:
    job, start = ran(4)
    one = batch(Kind.ITEMS, [{}, {}], time=start)
    append(job, type(one)(**{**vars(one), "last_time": start + 4 * MINUTE - 1}))
    end(job)
    assert set(of(job).items[:-1]) == {0.5} and of(job).items[-1] == 0
