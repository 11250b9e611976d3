"""What became of a job, in one sentence."""

from typing import Any

import pytest

from app import db
from app.services import verdict
from app.services.verdict import Facts, Usual
from tests.factories import change, finished_job, make_job, row

USUAL = Usual(10, 100, 60_000)
SENTENCES = [
    (Facts("pending"), "Waits."),
    (Facts("pending", why="3rd in line"), "Waits: 3rd in line."),
    (Facts("running", None, 61_000, 5, 0, usual=USUAL), "Has run for 1 min 1 s, with 5 items so far."),
    (
        Facts("running", None, 120_000, 0, 1, usual=USUAL),
        "Has run for 2 min, twice as long as usual, with no items so far; 1 error.",
    ),
    (Facts("running", None, 900, 1, stopping=True), "Stopping: has run for 0.9 s, with 1 item so far."),
    (Facts("finished", "finished", 252_000, 1240), "Finished after 4 min 12 s with 1\u202f240 items."),
    (
        Facts("finished", "finished", 60_000, 88, 3, usual=USUAL),
        "Finished after 1 min with 88 items, 12 % fewer than the last 10 good runs; 3 errors.",
    ),
    (
        Facts("finished", "finished", 60_000, 101, usual=USUAL),
        "Finished after 1 min with 101 items, as usual for the last 10 good runs.",
    ),
    (
        Facts("finished", "finished", 60_000, 350, usual=USUAL),
        "Finished after 1 min with 350 items, 3.5 times as many as the last 10 good runs.",
    ),
    (
        Facts("finished", "finished", 60_000, 3, usual=Usual(3, 0, 1)),
        "Finished after 1 min with 3 items, where the last 3 good runs had none.",
    ),
    (
        Facts("finished", "killed by oom", 3_600_000, 0),
        "Was killed after 1 h with no items: it used more memory than it may.",
    ),
    (
        Facts("finished", "cancelled", 100_000_000, 2, cancelled_by="ann"),
        "Was stopped by ann after 1 d 3 h with 2 items.",
    ),
    (Facts("finished", "cancelled", None, cancelled_by="ann"), "Was stopped by ann before it had started."),
    (Facts("finished", "my own", 1000, 1), "Ended with “my own” after 1.0 s with 1 item."),
    (Facts("finished", None, 1000, 1), "Ended after 1.0 s with 1 item: it gave no reason."),
    (Facts("deleted"), "Was deleted; what it found goes soon."),
]


@pytest.mark.parametrize(("facts", "text"), SENTENCES, ids=[text for _, text in SENTENCES])
def test_sentences(facts: Facts, text: str) -> None:
    assert verdict.sentence(facts) == text


def ran(items: int, at: int, reason: str = "finished", **columns: Any) -> None:
    key = finished_job()
    change(
        key, items=items, close_reason=reason, running_time=at, state_time=at + 1000, finished_time=at + 1000,
        **columns,
    )  # fmt: skip


def usual(key: Any) -> Usual | None:
    with db.reading() as session:
        return verdict.usual(session, row(key))


@pytest.mark.usefixtures("database", "sent")
def test_what_is_usual_is_told_by_good_runs_before() -> None:
    key = finished_job()
    change(key, state_time=9000)
    ran(10, 1000)
    ran(20, 2000)
    ran(500, 3000, "cancelled")
    assert usual(key) is None
    ran(30, 4000)
    ran(900, 10_000)
    assert usual(key) == Usual(3, 20, 1000)
    assert usual(make_job()) == Usual(4, 240, 1000)
