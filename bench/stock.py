"""Platforms with as many jobs as wanted, on either database: one job has run, the others are its copies."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import create_engine, inspect, text

from bench import postgres
from bench.crawldock import Crawldock, api_alone, copy_database, platform
from bench.lab import Lab
from bench.process import say, wait_until

SPIDER, COMMON, TENTH, RARE = "many", "third", "tenth", "oldest"
# Of a thousand jobs, too, there is a page of 100 of each of these, and of all that the first two and
# "finished" select.
VARIED = {
    "spider_id": f"CASE n % 2 WHEN 0 THEN (SELECT id FROM spider WHERE name = '{SPIDER}') ELSE spider_id END",
    **{name: f"CASE n % 7 WHEN 0 THEN NULL ELSE {name} END" for name in ("close_reason", "duplicate_key")},
    "state": "CASE n % 7 WHEN 0 THEN 'pending' ELSE state END",
}
TAGS = (
    f"SELECT id, '{COMMON}', 0 FROM job WHERE number % 3 = 0",
    f"SELECT id, '{TENTH}', 1 FROM job WHERE number % 10 = 0",
    f"SELECT id, '{RARE}', 2 FROM job ORDER BY state_time, id LIMIT 100",
)


@contextmanager
def stocked(lab: Lab, kind: str, totals: Sequence[int]) -> Iterator[list[Crawldock]]:
    """API and broker of a platform with so many jobs, for each total; nothing runs the jobs that wait."""
    first = lab.place("stock")
    with platform(first) as ours:
        job = ours.schedule("three", {})
        wait_until("end", partial(_ended, ours, job), seconds=60, every=0.1)
    with ExitStack() as stack:
        server = stack.enter_context(postgres.server()) if kind == "PostgreSQL" else None
        sides = []
        for total in totals:
            folder = lab.place("stock")
            shutil.copytree(first, folder, ignore=shutil.ignore_patterns("venvs"))
            url = sqlite(folder)
            if server is not None:
                name = f"jobs_{total}"
                url = server.create(name)
                copy_database(folder, url)
            fill(url, total, VARIED)
            carry_out(url, [f"INSERT INTO job_tag (job_id, tag, position) {chosen}" for chosen in TAGS])
            if server is not None:
                server.execute("VACUUM ANALYZE", name=name)  # as it does by itself, later
            say(f"{kind} has {total:,} jobs")
            sides.append(stack.enter_context(api_alone(folder, url)))
        yield sides


def _ended(ours: Crawldock, job: str) -> bool:
    return ours.state(job) == "finished"


def sqlite(folder: Path) -> str:
    """The URL of the database that ``platform`` has left in ``folder``."""
    return f"sqlite:///{folder / 'data' / 'crawldock.db'}"


def fill(url: str, total: int, varied: Mapping[str, str] | None = None) -> None:
    """Copy the one real job until there are ``total``: other numbers, each a second older.

    Args:
        varied: what is in some columns instead; ``n`` counts the copies.

    """
    engine = create_engine(url)
    columns = [column["name"] for column in inspect(engine).get_columns("job") if column["name"] != "id"]
    engine.dispose()
    values = {name: f"{name} - 1000 * n" if name.endswith("_time") else name for name in columns}
    values |= {"number": "number + n", **(varied or {})}
    copies = (
        f"WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n + 1 < {total})"
        f" INSERT INTO job ({', '.join(columns)})"
        f" SELECT {', '.join(values[name] for name in columns)} FROM job, copies"
        " WHERE job.id = (SELECT min(id) FROM job)"
    )
    carry_out(url, [copies, f"UPDATE spider SET jobs = {total}"])


def carry_out(url: str, statements: Sequence[str]) -> None:
    """Carry out statements in one transaction."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
