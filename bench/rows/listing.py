"""Does a page of the job list stay as fast when there are a hundred times more jobs?"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.crawldock import Crawldock, platform
from bench.lab import Lab, Row, median
from bench.process import say, wait_until

FEW = 1_000


def measure(lab: Lab) -> list[Row]:
    """Milliseconds for one page of 100; no peer has the call, so the small list is the peer."""
    many = lab.of(100_000, 5_000)
    with platform(lab.place("listing")) as ours:
        job = ours.schedule("three", {})
        wait_until("end", lambda: ours.state(job) == "finished", seconds=60, every=0.1)
        figures = []
        for total in (FEW, many):
            fill(ours.database, total)
            figures.append(_milliseconds(ours, lab.of(50, 10)))
            say(f"a page of 100 of {total:,} jobs: {figures[-1]:.3g} ms")
    small, large = figures
    what = f"a page of 100 of {many:,} jobs"
    return [Row(what, "ms", "less", large, f"itself, of {FEW:,} jobs", small)]


def fill(database: Path, total: int) -> None:
    """Copy the one real job until there are ``total``: other numbers, each a second older."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(job)")]
        columns.remove("id")
        (have,) = connection.execute("SELECT count(*) FROM job").fetchone()
        values = [
            "number + n" if name == "number" else f"{name} - 1000 * n" if _is_time(name) else name
            for name in columns
        ]
        connection.execute(
            "WITH RECURSIVE copies(n) AS"
            " (SELECT :have UNION ALL SELECT n + 1 FROM copies WHERE n + 1 < :total)"
            f" INSERT INTO job ({', '.join(columns)})"
            f" SELECT {', '.join(values)} FROM job, copies"
            " WHERE job.id = (SELECT min(id) FROM job)",
            {"have": have, "total": total},
        )


def _is_time(column: str) -> bool:
    return column.endswith("_time")


def _milliseconds(ours: Crawldock, requests: int) -> float:
    ours.page()
    figures = []
    for _ in range(requests):
        began = time.perf_counter()
        ours.page()
        figures.append((time.perf_counter() - began) * 1000)
    return median(figures)
