"""Jobs in the order of their keys."""

from itertools import chain

import pytest

from app import db
from app.keys import JobKey
from app.models import JobState
from app.services import keyorder
from tests.factories import change, make_job, make_project, row

pytestmark = pytest.mark.usefixtures("database", "sent")


def ids_of(after: JobKey, spider: int | None = None, limit: int = 100) -> list[int]:
    return list(chain.from_iterable(keyorder.ids(2, spider, after, limit)))


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
def test_jobs_in_the_order_of_their_keys(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyorder, "BATCH", batch)
    make_project(2, ["a", "b", "c"])
    made = sorted(make_job(name, 2) for _ in range(4) for name in "ca")
    ids = [row(key).id for key in made]
    change(make_job("a", 2), state=JobState.DELETED)
    assert ids_of(JobKey(2, 0, 0)) == ids
    for place, key in enumerate(made):
        assert ids_of(key) == ids[place + 1 :]
    assert ids_of(JobKey(2, 2, 5), limit=2) == ids_of(JobKey(2, 1, 4), limit=2) == ids[4:6]
    assert ids_of(JobKey(2, 1, 2), spider=1) == ids[2:4]
    assert ids_of(JobKey(2, 1, 2), spider=3) == ids[4:]
    for after, spider in ((JobKey(2, 3, 1), 1), (JobKey(2, 0, 0), 2), (JobKey(2, 9, 9), None)):
        assert ids_of(after, spider) == []


def test_a_batch_is_a_transaction_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyorder, "BATCH", 3)
    made = sorted(make_job() for _ in range(8))
    batches = keyorder.ids(1, None, JobKey(1, 0, 0), 7)
    assert next(batches) == [row(key).id for key in made[:3]]
    change(made[3], state=JobState.DELETED)
    assert list(batches) == [[row(key).id for key in made[4:7]], [row(made[7]).id]]


def test_what_a_batch_reads_does_not_grow_with_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spiders with few jobs together are asked for at once, one with many by itself."""
    monkeypatch.setattr(keyorder, "BATCH", 4)
    make_project(2, ["a", "b", "c", "d"])
    for name, number in (("a", 2), ("b", 1), ("c", 9), ("d", 1)):
        for _ in range(number):
            make_job(name, 2)
    with db.reading() as session:
        some = [[each.number for each in keyorder._some(session, 2, None, n, 4)] for n in range(1, 6)]
    assert some == [[1, 2], [2], [3], [4], []]
