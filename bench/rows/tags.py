"""Does a page of the jobs with a tag stay as fast when there are a thousand times more jobs?"""

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.crawldock import api_alone, platform
from bench.lab import Lab, Row, median
from bench.process import wait_until
from bench.rows.listing import fill

FEW = 1_000
TAGS = {
    "tenth": "SELECT id, 'tenth', 0 FROM job WHERE number % 10 = 0",
    "oldest": "SELECT id, 'oldest', 1 FROM job ORDER BY state_time LIMIT 100",  # passed over last
}


def measure(lab: Lab) -> list[Row]:
    """Milliseconds for one page of 100; no peer has the call, so the small list is the peer."""
    many, requests = lab.of(1_000_000, 5_000), lab.of(20, 5)
    small, large = lab.place("tags"), lab.place("tags")
    with platform(small) as ours:
        job = ours.schedule("three", {})
        wait_until("end", lambda: ours.state(job) == "finished", seconds=60, every=0.1)
    shutil.copytree(small, large, ignore=lambda _, names: {name for name in names if name == "venvs"})
    for folder, total in ((small, FEW), (large, many)):
        fill(folder / "data" / "crawldock.db", total)
        _tag(folder / "data" / "crawldock.db")
    rows = []
    with api_alone(large) as ours, api_alone(small) as peer:
        calls: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
            "jobs/list.json": (ours.page, peer.page),
            "jobq list": (ours.queue_page, peer.queue_page),
        }
        for name, pair in calls.items():
            for tag, whose in (("tenth", "of every tenth"), ("oldest", "of the 100 oldest")):
                what = f"page of 100 by a tag {whose} of {many:,} jobs, {name}"
                sides = [partial(_milliseconds, call, tag, requests) for call in pair]
                mine, theirs = lab.turns(what, sides)
                rows.append(Row(what, "ms", "less", median(mine), f"itself, {FEW:,} jobs", median(theirs)))
    return rows


def _tag(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for chosen in TAGS.values():
            connection.execute(f"INSERT INTO job_tag (job_id, tag, position) {chosen}")


def _milliseconds(page: Callable[..., None], tag: str, requests: int) -> float:
    page(has_tag=tag)
    figures = []
    for _ in range(requests):
        began = time.perf_counter()
        page(has_tag=tag)
        figures.append((time.perf_counter() - began) * 1000)
    return median(figures)
