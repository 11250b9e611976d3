"""Does a page of a job list stay as fast when there are a thousand times more jobs?"""

import time
from collections.abc import Callable
from statistics import quantiles

from bench import alljobs
from bench.crawldock import Crawldock
from bench.lab import Lab, Row, median
from bench.process import say
from bench.stock import COMMON, RARE, SPIDER, stocked

FEW = 1_000
FILTERS = {
    "": {},
    " by spider": {"spider": SPIDER},
    " by state": {"state": "finished"},
    " by a common tag": {"has_tag": COMMON},
    " by a rare tag": {"has_tag": RARE},
    " by spider, state and tag": {"spider": SPIDER, "state": "finished", "has_tag": COMMON},
}


def measure(lab: Lab, kind: str = "SQLite") -> list[Row]:
    """On one of the databases; no peer has the calls, so for a page the small platform is the peer."""
    many, rows = lab.of(1_000_000, 5_000), []
    with stocked(lab, kind, (many, FEW)) as (large, small):
        for name, filters in FILTERS.items():
            rows += _page(lab, f"{kind}: list.json{name}", large, small, filters)
        rows += alljobs.tag(lab, kind, large, many)
        rows += alljobs.read(lab, kind, large, many)
    return rows


def _page(lab: Lab, what: str, large: Crawldock, small: Crawldock, filters: dict[str, str]) -> list[Row]:
    """Milliseconds for 100 jobs; the two take turns call by call, so both meet what else the machine does."""
    waits: dict[Crawldock, list[float]] = {large: [], small: []}
    for number in range(lab.of(1_000, 20)):  # so ten are longer than the p99
        for side in (large, small) if number % 2 else (small, large):
            waits[side].append(_milliseconds(side.page, filters))
    mine, theirs = (_figures(each[4:]) for each in waits.values())  # without the first ones
    say(f"{what}: {mine} | {theirs}")
    peer = f"itself, {FEW:,} jobs"
    return [
        Row(f"{what}, {name}", "ms", "less", figure, peer, its)
        for name, figure, its in zip(("p50", "p99"), mine, theirs, strict=True)
    ]


def _figures(waits: list[float]) -> tuple[float, float]:
    return median(waits), quantiles(waits, n=100)[98]


def _milliseconds(page: Callable[..., None], filters: dict[str, str]) -> float:
    began = time.perf_counter()
    page(**filters)
    return (time.perf_counter() - began) * 1000
