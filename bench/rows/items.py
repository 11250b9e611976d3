"""What does it cost to keep the items of a large job?"""

import itertools
import shutil
from pathlib import Path

from bench import egg, stack, typical
from bench.crawldock import Crawldock, platform
from bench.lab import Lab, Row, median
from bench.process import run, wait_until

_numbers = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """Seconds from running to finished, all items readable; beside Scrapy writing a file."""
    count = lab.of(20_000, 1_000)
    plain = lab.place("plain")
    shutil.copytree(egg.PROJECT, plain)  # byte code belongs there, not here
    with platform(lab.place("items"), slots=1) as ours:
        _job(ours, 10)
        crawl(plain, 10)
        what = f"{count:,} items through one job"
        mine, theirs = lab.turns(what, [lambda: _job(ours, count), lambda: crawl(plain, count)])
    return [Row(what, "s", "less", median(mine), "scrapy crawl -o", median(theirs))]


def _job(ours: Crawldock, count: int) -> float:
    job = ours.schedule("many", {"n": str(count), "round": str(next(_numbers))})
    began = wait_until("start", lambda: ours.state(job) != "pending", seconds=60, every=0.02)
    ended = wait_until("end", lambda: ours.state(job) == "finished", seconds=300, every=0.1)
    if ours.items(job) != count:  # finished has to mean stored
        raise RuntimeError(f"job {job} is finished with {ours.items(job)} of {count} items")
    return ended - began


def crawl(folder: Path, count: int) -> float:
    """Seconds of a whole `scrapy crawl -o` of the spider ``many`` in a copy of the project."""
    output = folder / f"items-{next(_numbers)}.jl"
    argv = [stack.python(), "-m", "scrapy", "crawl", "many", "-a", f"n={count}", "-o", str(output)]
    took, _ = run(argv, folder=folder)
    if output.read_bytes() != typical.lines(count):
        raise RuntimeError("scrapy crawl wrote other items")
    return took
