"""Filters, order, pages and streams of jobs; tags of what a filter selects."""

from typing import Any

import pytest
from sqlalchemy import event, update

from app import db
from app.keys import JobKey
from app.models import JobState, JobTagged
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
        chosen = joblist.ids(session, Filter(project, **fields), limit, offset)
        joblist.update_tags(session, chosen, add, remove)
    return len(chosen)


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


def test_tags_of_many_jobs() -> None:
    made = [make_job(tags=["old"]) for _ in range(5)]
    assert retag(add=["x", "y"], remove=["old"], states=[JobState.PENDING]) == 5
    assert [tags(key) for key in made] == [["x", "y"]] * 5


def test_changing_tags_starts_elapsed_again() -> None:
    key = make_job(tags=["old"])

    def elapsed() -> int:
        change(key, touched_time=1)
        with db.reading() as session:
            return joblist.page(session, Filter(1), 1, 0)[0].elapsed

    long = elapsed()
    change(key, updated_time=1)
    for way in {"add": ["x"]}, {"remove": ["old"]}, {"add": ["y"]}:
        retag(**way)
        assert 0 <= elapsed() < long // 2
        assert row(key).updated_time == 1
        with db.transaction() as session:
            session.execute(update(JobTagged).values(time=1))
        assert elapsed() >= long
        retag(**way)  # once more, which changes nothing
        assert elapsed() >= long


def test_what_changes_a_job_after_its_tags_starts_elapsed_again() -> None:
    key = make_job()
    retag(add=["x"])
    with db.transaction() as session:
        session.execute(update(JobTagged).values(time=1))
        assert joblist.page(session, Filter(1), 1, 0)[0].elapsed < row(key).touched_time // 2


def test_a_failure_takes_all_tags_back() -> None:
    key = make_job(tags=["a"])

    def work() -> None:
        with db.transaction() as session:
            joblist.update_tags(session, joblist.ids(session, Filter(1), 100, 0), ["b"], ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert tags(key) == ["a"]


# Lists of the storage API


def newest(limit: int = 100, offset: int = 0, **fields: Any) -> list[JobKey]:
    with db.reading() as session:
        chosen = joblist.newest(session, Filter(**{"project": 1, **fields}), limit, offset)
        return [JobKey.parse(each["key"]) for each in joblist.summaries(session, chosen)]


def test_a_state_that_is_named_twice_doubles_no_job() -> None:
    made = [make_job(tags=["x"]), finished_job(tags=["x"])]
    states = [JobState.PENDING, JobState.FINISHED, JobState.PENDING]
    assert keys(states=states) == keys(states=states, has_tag=["x"]) == made[::-1]


@pytest.mark.parametrize("rare", [0, 100])
def test_more_than_a_few_are_in_the_same_order(rare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblist, "RARE", rare)
    made = [finished_job(tags=["x"]) if n % 2 else make_job(tags=["x"]) for n in range(6)]
    for place, key in enumerate(made):
        change(key, state_time=place // 2)
    few = newest(has_tag=["x"])
    monkeypatch.setattr(joblist, "FEW", 0)
    assert newest(has_tag=["x"]) == few == made[::-1]
    assert newest(3, 2) == made[::-1][2:5]


def test_the_newest_are_those_of_a_page() -> None:
    made = [make_job(tags=[str(n % 2)]) for n in range(5)]
    for fields in (
        {},
        {"has_tag": ["1"]},
        {"spider": "quotes"},
        {"spider_number": 1},
        {"states": [JobState.PENDING]},
    ):
        assert newest(3, 1, **fields) == keys(3, 1, **fields)
    assert newest(keys=[made[1], made[4], made[0]]) == [made[4], made[1], made[0]]
    assert newest(spider_number=2) == newest(project=2) == []


def test_a_stop_and_a_window_narrow_counts_too() -> None:
    made = [make_job() for _ in range(4)]
    for place, key in enumerate(made):
        change(key, state_time=place)
    assert [
        count(startts=1),
        count(endts=1),
        count(startts=1, endts=3),
        count(stop=made[1]),
        count(stop=made[3]),
    ] == [3, 1, 2, 2, 0]


def test_rows_of_jobs_that_are_gone_are_left_out() -> None:
    key = make_job()
    with db.reading() as session:
        assert [each["key"] for each in joblist.summaries(session, [999, row(key).id or 0])] == [str(key)]
        assert joblist.summaries(session, []) == []


def last_finished(first: int = 0, limit: int = 100, spider: int | None = None) -> list[JobKey]:
    with db.reading() as session:
        chosen = joblist.last_finished(session, 2, first, limit, spider)
        return [JobKey.parse(each["key"]) for each in joblist.summaries(session, chosen)]


def test_the_last_finished_job_of_each_spider() -> None:
    make_project(2, ["a", "b", "c", "d"])
    of_a, of_b, of_d = ([finished_job(spider=name, project=2) for _ in range(2)] for name in "abd")
    change(of_b[0], state_time=2**41)
    change(of_d[1], state=JobState.DELETED)
    make_job("c", 2)
    make_job("a", 2)
    assert last_finished() == [of_a[1], of_b[0], of_d[0]]
    assert last_finished(2) == [of_b[0], of_d[0]]
    assert last_finished(limit=1) == [of_a[1]]
    assert (last_finished(spider=4), last_finished(spider=3), last_finished(spider=9)) == ([of_d[0]], [], [])


def test_lengths_of_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblist, "BATCH", 1)
    make_project(2)
    make_project(3)
    running_job(project=2, units=3)
    running_job(project=2, units=2)
    make_job(project=2)
    finished_job()
    change(finished_job(), state=JobState.DELETED)
    with db.reading() as session:
        lengths = joblist.queues(session, [1, 2, 3])
        assert [tuple(lengths[project].values()) for project in (1, 2, 3)] == [
            (0, 0, 1),
            (1, 2, 0),
            (0, 0, 0),
        ]
        assert list(lengths[1]) == ["pending", "running", "finished"]
        assert [joblist.running_units(session, project) for project in (1, 2)] == [0, 5]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_asked_again_and_again_is_in_an_index() -> None:
    """PostgreSQL plans by what it knows of the rows, and here are none."""
    asked: list[tuple[str, Any]] = []
    event.listen(db.engine(), "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))
    queue = Filter(1, states=[JobState.FINISHED])
    with db.reading() as session:
        joblist.newest(session, queue, 1000, 1000)
        joblist.count(session, queue)
        joblist.queues(session, [1])
        selects = [(sql, values) for sql, values in asked if sql.startswith("SELECT")]
        assert len(selects) == 3
        for sql, values in selects:
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
            used = [each[3].partition(" (")[0] for each in plan]
            assert used == ["SEARCH job USING COVERING INDEX ix_job_project_state"]
