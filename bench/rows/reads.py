"""How fast are the items of a large job read?"""

from functools import partial
from pathlib import Path

from bench import typical, zstd
from bench.crawldock import Crawldock, api_alone, platform
from bench.lab import Absent, Lab, Row, rates
from bench.nginx import missing, nginx
from bench.process import curl, run

BATCH = 20_000
WAYS = {
    "jl, curl": ("", ()),
    "jl, curl --compressed": ("", ("--compressed",)),
    "msgpack, curl": ("?format=msgpack", ()),
    "json, curl": ("?format=json", ()),
    "csv, curl": (f"?format=csv&fields={','.join(typical.FIELDS)}", ()),
    "xml, curl": ("?format=xml", ()),
}


def beside_zstd(lab: Lab) -> list[Row]:
    """JSON lines to curl over loopback; there, and through a pipe, ``zstd -dc`` gives it the same chunks."""
    if zstd.missing():
        raise Absent("zstd is not on PATH (Debian: zstd)")
    count = lab.of(200_000, 5_000)
    folder = lab.place("reads")
    with platform(folder):
        pass
    rows = []
    with api_alone(folder) as ours:
        for name, raw in (
            ("as a spider's", typical.lines(count)),
            ("with running text", typical.described(count)),
        ):
            job, lines = ours.new_job(), raw.splitlines(keepends=True)
            for first in range(0, count, BATCH):
                ours.write(f"/items/{job}", b"".join(lines[first : first + BATCH]), start=str(first))
            file = folder / f"{job.replace('/', '-')}.zst"
            zstd.frames(ours.database, job, file)
            size = len(raw) - count // 100  # no chunk has a newline at its end
            sides = [
                partial(_seconds, ours.curl(f"/items/{job}"), folder),
                partial(_seconds, ours.curl(f"/api/items.jl?project=1&job={job}"), folder),
                partial(zstd.seconds, file, size),
                partial(zstd.piped, file, size),
            ]
            what = f"{count:,} items {name} read, jl"
            mine, dash, theirs, pipe = lab.turns(what, sides, rounds=3 * lab.rounds)
            amounts = count, len(raw)
            rows += rates(f"{what}, curl", amounts, mine, "zstd -dc, the same curl", theirs)
            rows += rates(f"{what}, dash API", amounts, dash, "zstd -dc, the same curl", theirs)
            rows += rates(f"{what}, curl", amounts, mine, "zstd -dc, a pipe", pipe)
    return rows


def beside_nginx(lab: Lab) -> list[Row]:
    """Beside nginx, which serves the same JSON lines from a file to curl."""
    if missing():
        raise Absent("nginx is not on PATH (Debian: nginx-light)")
    count = lab.of(200_000, 5_000)
    folder = lab.place("reads")
    with platform(folder):
        pass
    file = typical.file(folder / "served", count)
    size = count, file.stat().st_size
    with api_alone(folder) as ours, nginx(file.parent) as url:
        job = ours.new_job()
        for first, body in typical.batches(count, BATCH):
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
