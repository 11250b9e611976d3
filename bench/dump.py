"""The peer of ``jobs/list.jl``: a plain script that reads the same rows and dumps them as JSON lines.

``dump.py FILE`` for SQLite, or ``dump.py URL`` for PostgreSQL; it prints the seconds that it took, without
its own start, and those of its processor time.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

JOBS = """
    SELECT job.id, job.project_id, spider.number, job.number, state, spider.name, spider.type, spider_args,
           priority, version, close_reason, running_time, updated_time,
           coalesce((SELECT time FROM job_tagged WHERE job_id = job.id AND time > touched_time),
                    touched_time),
           items, pages, logs, errors
      FROM job JOIN spider ON spider.id = job.spider_id
     WHERE job.project_id = 1 AND state <> 'deleted' ORDER BY state_time DESC, job.id DESC
"""
TAGS = "SELECT job_id, tag FROM job_tag ORDER BY job_id, position"


def rows(database: str, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, a thousand at a time."""
    if database.startswith("postgresql"):
        import psycopg

        with psycopg.connect(database) as connection, connection.cursor("rows") as cursor:
            cursor.itersize = 1000
            yield from cursor.execute(query)
    else:
        yield from sqlite3.connect(database).execute(query)


def main() -> None:
    """Dump all jobs."""
    began = time.perf_counter()
    tags: dict[int, list[str]] = {}
    for job_id, tag in rows(sys.argv[1], TAGS):
        tags.setdefault(job_id, []).append(tag)
    now = int(time.time() * 1000)
    with Path("/dev/null").open("w") as out:
        for row in rows(sys.argv[1], JOBS):
            args = json.loads(row[7]) if isinstance(row[7], str) else row[7]
            job = {
                "id": f"{row[1]}/{row[2]}/{row[3]}",
                "state": row[4],
                "spider": row[5],
                "spider_type": row[6],
                "spider_args": args or {},
                "priority": row[8],
                "tags": tags.get(row[0], []),
                "version": row[9],
                "close_reason": row[10],
                "started_time": row[11] and _time(row[11]),
                "updated_time": _time(row[12]),
                "elapsed": now - row[13],
                "items_scraped": row[14],
                "responses_received": row[15],
                "logs": row[16],
                "errors_count": row[17],
            }
            out.write(json.dumps(job) + "\n")
    print(time.perf_counter() - began, time.process_time())


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()[:19]


if __name__ == "__main__":
    main()
