"""How much disk do items take, for each byte of their JSON lines?"""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

from bench import typical
from bench.crawldock import api_alone, platform
from bench.lab import Lab, Row


def measure(lab: Lab) -> list[Row]:
    """The chunks alone, and what the database file grew by; beside gzip -6 of the whole file."""
    count = lab.of(50_000, 5_000)
    texts = {"as a spider's": typical.lines(count), "with running text": typical.described(count)}
    rows = []
    for name, raw in texts.items():
        folder = lab.place("storage")
        with platform(folder):
            pass
        with api_alone(folder) as ours:
            job = ours.new_job()
            before = _size(ours.database)
            lines = raw.splitlines(keepends=True)
            for first in range(0, count, 10_000):
                ours.write(f"/items/{job}", b"".join(lines[first : first + 10_000]), start=str(first))
            if ours.stored(job) != count:
                raise RuntimeError(f"job {job} has other than {count} items")
            grown, data = _size(ours.database) - before, _data(ours.database)
        peer = len(gzip.compress(raw, 6)) / len(raw)
        what = f"bytes per byte of {count:,} items {name}"
        rows += [
            Row(f"{what}, chunks", "ratio", "less", data / len(raw), "gzip -6", peer),
            Row(f"{what}, database", "ratio", "less", grown / len(raw), "gzip -6", peer),
        ]
    return rows


def _size(database: Path) -> int:
    """Bytes of the database file, with all that waits in its log."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise RuntimeError("the database's log could not be written back")
    return database.stat().st_size


def _data(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        statement = "SELECT sum(length(data)) FROM chunk WHERE kind = 'items'"
        (size,) = connection.execute(statement).fetchone()
    return int(size)
