"""How fast are the items of a large job read?"""

from functools import partial
from pathlib import Path

from bench import typical
from bench.crawldock import Crawldock, api_alone, platform
from bench.lab import Lab, Row, rates
from bench.nginx import missing, nginx
from bench.process import curl, run, say

WAYS = {
    "jl, curl": ("", ()),
    "jl, curl --compressed": ("", ("--compressed",)),
    "msgpack, curl": ("?format=msgpack", ()),
    "json, curl": ("?format=json", ()),
    "csv, curl": (f"?format=csv&fields={','.join(typical.FIELDS)}", ()),
}


def measure(lab: Lab) -> list[Row]:
    """Whole processes; beside nginx, which serves the same JSON lines from a file to curl."""
    if missing():
        say("reads needs nginx on PATH (Debian: nginx-light): these rows are left out")
        return []
    count = lab.of(200_000, 5_000)
    folder = lab.place("reads")
    with platform(folder):
        pass
    file = typical.file(folder / "served", count)
    size = count, file.stat().st_size
    with api_alone(folder) as ours, nginx(file.parent) as url:
        job = ours.new_job()
        for first, body in typical.batches(count, 20_000):
            ours.write(f"/items/{job}", body, start=str(first))
        if _bytes(ours.curl(f"/items/{job}"), folder) != size[1]:
            raise RuntimeError(f"job {job} holds other bytes than were written")
        sides = [
            *(
                partial(_seconds, ours.curl(f"/items/{job}{query}", *options), folder)
                for query, options in WAYS.values()
            ),
            partial(_client, ours, job, count, folder),
            partial(_seconds, curl(f"{url}/{file.name}"), folder),
            partial(_seconds, curl(f"{url}/gzip/{file.name}", "--compressed"), folder),
        ]
        what = f"{count:,} items read"
        *mine, theirs, compressed = lab.turns(what, sides)
    rows = []
    for way, seconds in zip([*WAYS, "python-scrapinghub"], mine, strict=True):
        pair = ("nginx, gzip on", compressed) if "--compressed" in way else ("nginx, a file", theirs)
        rows += rates(f"{what}, {way}", size, seconds, *pair)
    return rows


def _seconds(argv: list[str], folder: Path) -> float:
    took, printed = run(argv, folder=folder)
    if int(printed) < 1000:
        raise RuntimeError(f"{argv[-1]} answered {printed} bytes")
    return took


def _bytes(argv: list[str], folder: Path) -> int:
    return int(run(argv, folder=folder)[1])


def _client(ours: Crawldock, job: str, count: int, folder: Path) -> float:
    return run(ours.client("read", job, count), folder=folder)[0]
