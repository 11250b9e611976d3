"""Filters, order, pages and streams of jobs; tags of what a filter selects."""

from typing import Any

import pytest

from app import db
from app.keys import JobKey
from app.models import JobState
from app.services import joblist
from app.services.joblist import Filter
from tests.factories import change, finished_job, make_job, make_project, row, running_job

pytestmark = pytest.mark.usefixtures("database", "sent")


def keys(limit: int = 100, offset: int = 0, **fields: Any) -> list[JobKey]:
    wanted = Filter(**{"project": 1, **fields})
    with db.reading() as session:
        found = [joblist.key_of(each) for each in joblist.page(session, wanted, limit, offset)]
    assert found == [joblist.key_of(each) for each, _ in stream(wanted, limit, offset)]
    return found


def stream(wanted: Filter, limit: int = 100, offset: int = 0) -> Any:
    with db.reading() as session:
        chosen = joblist.ids(session, wanted, limit, offset)
    return joblist.stream(chosen)


def count(**fields: Any) -> int:
    with db.reading() as session:
        return joblist.count(session, Filter(**{"project": 1, **fields}))


def tags(key: JobKey) -> list[str]:
    with db.reading() as session:
        job_id = row(key).id or 0
        return joblist.tags_of(session, [job_id]).get(job_id, [])


def retag(
    *, add: Any = (), remove: Any = (), limit: int = 100, offset: int = 0, project: int = 1, **fields: Any
) -> int:
    with db.transaction() as session:
        return joblist.update_tags(session, Filter(project, **fields), limit, offset, add, remove)


def test_the_newest_change_of_state_comes_first() -> None:
    old, middle, new = (make_job() for _ in range(3))
    change(old, state_time=3)
    change(middle, state_time=1)
    change(new, state_time=2)
    assert keys() == [old, new, middle]


def test_equal_times_are_ordered_by_age() -> None:
    made = [make_job() for _ in range(5)]
    for key in made:
        change(key, state_time=7)
    assert keys() == made[::-1]


def test_changing_tags_moves_no_job() -> None:
    made = [make_job() for _ in range(3)]
    retag(add=["x"], keys=[made[0]])
    assert keys() == made[::-1]


def test_a_page_is_a_part_of_the_order() -> None:
    made = [make_job() for _ in range(5)][::-1]
    assert keys(2, 1) == made[1:3]
    assert keys(10, 4) == made[4:]
    assert keys(0) == keys(3, 5) == []


def test_other_projects_are_other_projects() -> None:
    make_project(2)
    mine, other = make_job(), make_job(project=2)
    assert (keys(), keys(project=2), keys(project=3)) == ([mine], [other], [])
    assert keys(keys=[other]) == []


def test_states() -> None:
    running, pending, ended, gone = running_job().key, make_job(), finished_job(), finished_job()
    change(gone, state="deleted")
    assert set(keys()) == {running, pending, ended}
    assert keys(states=[JobState.DELETED]) == [gone]
    assert set(keys(states=[JobState.RUNNING, JobState.DELETED])) == {running, gone}
    assert [count(states=[state]) for state in JobState] == [1, 1, 1, 1]


def test_a_spider_by_name() -> None:
    make_project(2, ["a", "b"])
    made = make_job("a", 2)
    make_job("b", 2)
    assert keys(project=2, spider="a") == [made]
    assert keys(project=2, spider="quotes") == keys(project=2, spider="") == []


def test_any_of_has_tag_and_none_of_lacks_tag() -> None:
    both, foo, bar, none = (make_job(tags=t) for t in (["foo", "bar"], ["foo"], ["bar"], ["other"]))
    assert set(keys(has_tag=["foo", "bar"])) == {both, foo, bar}
    assert keys(lacks_tag=["foo", "bar"]) == [none]
    assert keys(has_tag=["foo"], lacks_tag=["bar"]) == [foo]
    assert keys(has_tag=["foo"], lacks_tag=["foo"]) == []


def test_jobs_by_key_come_in_the_order_asked() -> None:
    made = [make_job() for _ in range(4)]
    asked = [made[2], JobKey(1, 1, 99), made[0], made[3], made[2]]
    assert keys(keys=asked) == [made[2], made[0], made[3]]
    assert keys(1, 1, keys=asked) == [made[0]]
    assert count(keys=asked) == 3


def test_jobs_by_key_pass_the_other_filters() -> None:
    pending, ended = make_job(tags=["a"]), finished_job(tags=["a"])
    assert keys(keys=[pending, ended], states=[JobState.FINISHED], has_tag=["a"]) == [ended]
    assert keys(keys=[pending, ended], has_tag=["b"]) == []


def test_a_stream_crosses_batches_of_equal_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblist, "BATCH", 3)
    made = [make_job(tags=[str(n)]) for n in range(10)]
    for place, key in enumerate(made):
        change(key, state_time=place // 4)
    rows = list(stream(Filter(1)))
    assert [(joblist.key_of(each), found) for each, found in rows] == [
        (key, [str(n)]) for n, key in reversed(list(enumerate(made)))
    ]
    assert keys(5, 2) == made[::-1][2:7]
    shuffled = [made[n] for n in (3, 9, 0, 7, 5, 1, 8, 2)]
    assert keys(keys=shuffled) == shuffled


def test_a_stream_holds_no_transaction_while_it_is_read() -> None:
    made = [make_job() for _ in range(3)]
    rows = stream(Filter(1))
    next(rows)
    retag(add=["x"])
    assert len([make_job(), *rows]) == len(made)


def test_a_job_that_moves_during_a_stream_is_neither_lost_nor_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joblist, "BATCH", 2)
    made = [make_job() for _ in range(6)]
    rows = stream(Filter(1))
    seen = [joblist.key_of(next(rows)[0])]
    change(made[0], state_time=2**40, state=JobState.FINISHED)
    seen += [joblist.key_of(each) for each, _ in rows]
    assert seen == made[::-1]


def test_narrows() -> None:
    assert not Filter(1).narrows
    assert Filter(1, spider="").narrows
    assert all(Filter(1, **{name: ["x"]}).narrows for name in ("keys", "states", "has_tag", "lacks_tag"))


def test_tags_are_added_at_the_end_and_never_doubled() -> None:
    key = make_job(tags=["b", "a"])
    assert retag(add=["z", "a", "c", "z"]) == 1
    assert tags(key) == ["b", "a", "z", "c"]


def test_tags_are_removed_then_added() -> None:
    key = make_job(tags=["a1", "a2"])
    assert retag(add=["b1"], remove=["a2", "unknown"]) == 1
    assert tags(key) == ["a1", "b1"]
    assert retag(add=["a1"], remove=["a1"]) == 1
    assert tags(key) == ["b1", "a1"]


def test_a_filter_may_ask_for_the_tag_that_changes() -> None:
    made = [make_job(tags=["old"]) for _ in range(3)]
    other = make_job()
    assert retag(add=["new"], remove=["old"], has_tag=["old"]) == 3
    assert [tags(key) for key in (*made, other)] == [["new"]] * 3 + [[]]


def test_tags_of_a_page() -> None:
    made = [make_job() for _ in range(4)]
    assert retag(add=["x"], limit=2, offset=1) == 2
    assert [tags(key) for key in made] == [[], ["x"], ["x"], []]


def test_tags_of_more_jobs_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblist, "BATCH", 2)
    made = [make_job(tags=["old"]) for _ in range(5)]
    assert retag(add=["x", "y"], remove=["old"], states=[JobState.PENDING]) == 5
    assert [tags(key) for key in made] == [["x", "y"]] * 5


def test_changing_tags_starts_elapsed_again() -> None:
    key = make_job()
    change(key, touched_time=1, updated_time=1)
    retag(add=["x"])
    assert (row(key).touched_time > 1, row(key).updated_time) == (True, 1)


def test_a_failure_takes_all_tags_back() -> None:
    key = make_job(tags=["a"])

    def work() -> None:
        with db.transaction() as session:
            joblist.update_tags(session, Filter(1), 100, 0, ["b"], ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert tags(key) == ["a"]
