"""``python -m bench``: measure every row beside its peer and print one table."""

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.lab import MARK, Absent, Lab, Row
from bench.process import say
from bench.rows import (
    chunkstore,
    claims,
    collections,
    commits,
    deep,
    idle,
    items,
    jobs,
    listing,
    memory,
    pages,
    reads,
    schedule,
    start,
    storage,
    up,
    writes,
)
from bench.stack import ROOT, SCRAPYD

ROWS: dict[str, Callable[[Lab], list[Row]]] = {
    "schedule": schedule.measure,
    "jobs": jobs.measure,
    "start": start.measure,
    "items": items.measure,
    "listing": listing.measure,
    "listing-postgres": partial(listing.measure, kind="PostgreSQL"),
    "writes": writes.measure,
    "reads": reads.beside_zstd,
    "reads-nginx": reads.beside_nginx,
    "deep": deep.measure,
    "chunkstore": chunkstore.measure,
    "storage": storage.measure,
    "memory": memory.measure,
    "collections": collections.measure,
    "pages": pages.measure,
    "claims": claims.measure,
    "commits": commits.measure,
    "idle": idle.measure,
    "up": up.measure,
}
HEADINGS = ("what", "unit", "better", "Crawldock", "peer or mark", "ratio", "that is")
LIMIT = 90 * 60  # seconds for everything


def main() -> int:
    """Measure what the command line asks for; 1 when there is a row without figures."""
    options = _options()
    ended: list[str] = []  # why no other row is begun

    def end(number: int, _: object) -> None:
        ended.append(f"ended by {signal.Signals(number).name}")
        raise SystemExit(ended[0])

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(LIMIT)
    rows: list[Row] = []
    failed: dict[str, str] = {}  # rows without figures, and why
    code = _code()
    with tempfile.TemporaryDirectory(prefix="crawldock-bench-", ignore_cleanup_errors=True) as place:
        for name in options.only:
            if ended:
                failed[name] = ended[0]
                continue
            lab = Lab(Path(place) / name, options.quick, 1 if options.quick else options.rounds)
            lab.folder.mkdir()
            say(f"measuring {name}")
            try:
                rows += ROWS[name](lab)
            except Absent as error:
                failed[name] = str(error)
            except Exception as error:  # the other rows are still worth having
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}, see above"
            except (SystemExit, KeyboardInterrupt) as error:  # and so are those that were measured
                ended.append(str(error) or "interrupted")
                failed[name] = ended[0]
        signal.alarm(0)
    print(table(rows))
    changed = _code() != code
    print(f"Code of app and worker: {code}{', CHANGED DURING THE RUN' if changed else ''}.")
    if failed:
        reasons = "".join(f"\n- {name}: {reason}" for name, reason in failed.items())
        print(f"NOT MEASURED, {len(failed)} of {len(options.only)} rows:{reasons}")
    return 1 if failed else 0


def table(rows: Sequence[Row]) -> str:
    """The rows under one heading, with lines that say where they come from and what a mark is."""
    lines = [HEADINGS]
    for row in rows:
        figures = (_figure(row.ours), _figure(row.peer), f"{row.ratio:.2f}")
        lines.append((row.what, row.unit, row.better, *figures, row.peer_name))
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    right = {3, 4, 5}
    text = [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    if any(row.peer_name == MARK for row in rows):
        text.append(f"\n{MARK}: a limit that we set ourselves; nothing was measured beside ours.")
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    version = ".".join(map(str, sys.version_info[:3]))
    text.append(
        f"\nratio: Crawldock / peer. {os.cpu_count()} cores, load {busy} at the end,"
        f" Python {version}, {SCRAPYD}."
    )
    return "\n".join(text)


def _code() -> str:
    """A short digest of what is measured: figures of two runs compare only when it is the same."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("app", "worker") for path in (ROOT / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _figure(value: float) -> str:
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        type=_names,
        default=list(ROWS),
        metavar="ROW,ROW",
        help=f"some of {', '.join(ROWS)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(ROWS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
