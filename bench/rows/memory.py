"""How much does the memory of API and worker grow with the size of a job?"""

import contextlib
import http.client
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial

import psutil

from bench import stored, typical
from bench.crawldock import KEY, PROJECT, Crawldock, api_alone, platform
from bench.lab import Lab, Row, median
from bench.process import Timeout, run, wait_until

FEW = 1_000
SLOW = 10
FIELDS = ",".join(typical.FIELDS)
DASH = f"?project={PROJECT}&job={{job}}"
READS = {  # each with: may it have the larger job?
    "jl": ("/items/{job}", True),
    "json": ("/items/{job}?format=json", True),
    "msgpack": ("/items/{job}?format=msgpack", True),
    "csv": (f"/items/{{job}}?format=csv&fields={FIELDS}", False),
    "xml": ("/items/{job}?format=xml", False),
    "dash jl": (f"/api/items.jl{DASH}", True),
    "dash csv": (f"/api/items.csv{DASH}&fields={FIELDS}&include_headers=1", False),
    "dash xml": (f"/api/items.xml{DASH}", False),
}


def measure(lab: Lab) -> list[Row]:
    """Highest resident MB during the work minus those before; beside the same with 1,000 items."""
    return [*_of_api(lab), *_of_worker(lab)]


def _of_api(lab: Lab) -> list[Row]:
    many = {True: lab.of(5_000_000, 20_000), False: lab.of(300_000, 20_000)}  # csv and xml take long
    folder = lab.place("memory")
    with platform(folder):
        pass
    with api_alone(folder) as ours:
        jobs = {count: ours.new_job() for count in (*many.values(), FEW)}
        for count, job in jobs.items():
            stored.fill(ours.url_of_database, job, count)
    rows = []
    for name, (path, quick) in READS.items():

        def growth(count: int, path: str = path) -> float:
            with api_alone(folder) as ours, highest(partial(resident, ours.pid)) as grown:
                _, size = run(ours.curl(path.format(job=jobs[count])), folder=folder)
            if int(size) < 200 * count:
                raise RuntimeError(f"{size} bytes are not {count} items")
            return grown()

        count = many[quick]
        what = f"API, read of {count:,} items, {name}"
        mine, theirs = lab.turns(what, [partial(growth, count), partial(growth, FEW)], rounds=1)
        rows.append(Row(what, "MB more", "less", median(mine), f"itself, {FEW:,} items", median(theirs)))

    def held(count: int) -> float:
        with api_alone(folder) as ours, highest(partial(resident, ours.pid)) as grown:
            _read_slowly(ours, f"/items/{jobs[count]}")
        return grown()

    what = f"API, {SLOW} readers that stop in the middle of {many[True]:,} items"
    mine, theirs = lab.turns(what, [partial(held, many[True]), partial(held, FEW)], rounds=1)
    rows.append(Row(what, "MB more", "less", median(mine), f"itself, {FEW:,} items", median(theirs)))
    return rows


def _read_slowly(ours: Crawldock, path: str) -> None:
    """Several at once take a little, ten times, and wait in between."""
    basic = b64encode(f"{KEY}:".encode()).decode()
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(SLOW):
            line = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
            stack.callback(line.close)
            line.request("GET", path, headers={"Authorization": f"Basic {basic}"})
            answers.append(line.getresponse())
        for _ in range(10):
            for answer in answers:
                answer.read(1 << 20)
            time.sleep(0.3)


def _of_worker(lab: Lab) -> list[Row]:
    """Once: a crawl of so many items takes its time."""
    many = lab.of(200_000, 5_000)
    with platform(lab.place("worker"), slots=1) as ours:
        _crawl(ours, 10)
        pids = _runners(ours.pid)
        few, much = (_growth_of_crawl(ours, count, pids) for count in (FEW, many))
    what = f"worker, job of {many:,} items"
    return [Row(what, "MB more", "less", much, f"itself, {FEW:,} items", few)]


def _growth_of_crawl(ours: Crawldock, count: int, pids: list[int]) -> float:
    with highest(lambda: sum(map(resident, pids))) as grown:
        _crawl(ours, count)
    return grown()


def _crawl(ours: Crawldock, count: int) -> None:
    job = ours.schedule("many", {"n": str(count)})
    wait_until("end", lambda: ours.state(job) == "finished", seconds=300, every=0.2)
    if ours.stored(job) != count:
        raise RuntimeError(f"job {job} is finished without {count} items")


def _runners(parent: int) -> list[int]:
    """The processes of the worker: its main process, and one per slot; spiders are none of them.

    Raises:
        Timeout: there are none.

    """
    found = []
    for process in psutil.Process(parent).children():
        if process.name() == "worker":
            found += [process.pid, *(child.pid for child in process.children() if child.name() == "worker")]
    if not found:
        raise Timeout("no worker process was found")
    return found


def resident(pid: int) -> float:
    """MB."""
    return psutil.Process(pid).memory_info().rss / (1 << 20)


@contextlib.contextmanager
def highest(now: Callable[[], float]) -> Iterator[Callable[[], float]]:
    """Watch a figure during the block; afterwards the call says how far it rose above its beginning."""
    first = now()
    highest = [first]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            highest[0] = max(highest[0], now())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: highest[0] - first
    finally:
        done.set()
        watcher.join()
