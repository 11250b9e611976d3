"""What does it cost to keep the items of a large job, and of many at once?"""

import itertools
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import egg, stack, typical
from bench.crawldock import Crawldock, platform
from bench.lab import Lab, Row, median
from bench.process import run, wait_until

AT_ONCE = 8
FEW = 10  # items of a job that is all beginning and end
PEER = "scrapy crawl -o"
_numbers = itertools.count()


def measure(lab: Lab) -> list[Row]:
    """From the request to finished, all items readable; beside Scrapy from its command on, writing a file.

    It starts an interpreter, and we fork; so what each item costs once all runs is told too.
    """
    count = lab.of(20_000, 1_000)
    plain = lab.place("plain")
    shutil.copytree(egg.PROJECT, plain)  # byte code belongs there, not here
    with platform(lab.place("items"), slots=AT_ONCE) as ours:
        _jobs(ours, FEW, AT_ONCE)  # the template is there, and every slot has run a job
        crawl(plain, FEW)
        return [*_pair(lab, ours, plain, count, 1), *_pair(lab, ours, plain, count, AT_ONCE)]


def _pair(lab: Lab, ours: Crawldock, plain: Path, count: int, at_once: int) -> list[Row]:
    what = f"{count:,} items through one job"
    if at_once > 1:
        what = f"{at_once} jobs at once, {count:,} items each"
    mine, theirs, few, few_theirs = map(
        median,
        lab.turns(
            what,
            [
                lambda: _jobs(ours, count, at_once),
                lambda: crawl(plain, count, at_once),
                lambda: _jobs(ours, FEW, at_once),
                lambda: crawl(plain, FEW, at_once),
            ],
        ),
    )
    each = 1e6 / (at_once * (count - FEW))
    return [
        Row(what, "s", "less", mine, PEER, theirs),
        Row(
            "– an item of them, start left out",
            "µs",
            "less",
            (mine - few) * each,
            PEER,
            (theirs - few_theirs) * each,
        ),
    ]


def _jobs(ours: Crawldock, count: int, at_once: int) -> float:
    wanted = ours.finished() + at_once
    began = time.perf_counter()
    jobs = [ours.schedule("many", {"n": str(count), "round": str(next(_numbers))}) for _ in range(at_once)]
    ended = wait_until("end", lambda: ours.finished() >= wanted, seconds=300, every=0.1)
    for job in jobs:
        ours.state(job)  # looks how it ended
        if ours.items(job) != count:  # finished has to mean stored
            raise RuntimeError(f"job {job} is finished with {ours.items(job)} of {count} items")
    return ended - began


def crawl(folder: Path, count: int, at_once: int = 1) -> float:
    """Seconds until as many `scrapy crawl -o` of the spider ``many`` in a copy of the project have ended."""
    argv = [stack.python(), "-m", "scrapy", "crawl", "many", "-a", f"n={count}", "-o"]
    outputs = [folder / f"items-{next(_numbers)}.jl" for _ in range(at_once)]
    with ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        for _ in pool.map(lambda output: run([*argv, str(output)], folder=folder), outputs):
            pass
        took = time.perf_counter() - began
    expected = typical.lines(count)
    for output in outputs:
        if output.read_bytes() != expected:
            raise RuntimeError("scrapy crawl wrote other items")
        output.unlink()
    return took
