"""items, logs, requests, samples: what all four have (contract 6.16-6.19)."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api import filters, formats
from app.api.params import Param, Params, describe
from app.api.storage import answers, uploads
from app.api.storage.wire import (
    TEXT,
    Call,
    Caller,
    enter,
    enter_job,
    json_value,
    stream,
)
from app.db import reading
from app.errors import BadParameter, NotFound
from app.keys import LARGEST, JobKey, number
from app.models import Kind
from app.services import jobs, keyorder, reader, records
from app.services.joblist import key_of
from app.services.reader import Block

router = APIRouter()

FIRST = JobKey(0, 0, 0)  # before all others
MOST_INDEXES = 1000  # of one read: each unpacks a chunk
RANDOM = 20  # records of one sample, contract 5.7

READ = (
    Param("count", "at most so many", type="integer"),
    Param("start", "first record, P/S/J/N, or the next one there is; `random` for a sample of one job"),
    Param("startafter", "as start, but without that record"),
    Param("index", "only the records with these numbers, of one job", type="integer", repeat=True),
    Param("startts", "only what was received at this time or later, ms", type="integer"),
    Param("endts", "only what was received before this time, ms", type="integer"),
    Param("meta", "add this field to each record", repeat=True, values=("_key", "_ts")),
    Param("nodata", "1: nothing but the fields of meta"),
    Param("filter", '["field", "operator", [arguments]]; all that are given must hold', repeat=True),
    *answers.PARAMS,
)
WRITE = (Param("start", "number of the first record; without it, after the last one", type="integer"),)
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/x-jsonlines": {"schema": {"type": "array", "items": {"type": "object"}}}},
    }
}


# Reading


@dataclass(frozen=True)
class Source:
    """A job whose records are read."""

    id: int
    key: JobKey
    total: int  # the index after its last record


@dataclass(frozen=True)
class Range:
    """Which records to read, of whichever jobs."""

    start: tuple[int, int, int]  # spider, job, number: the first one
    count: int
    startts: int | None
    endts: int | None
    meta: Sequence[str]
    nodata: bool
    test: filters.Test | None

    @classmethod
    def parse(cls, params: Params, project: int) -> "Range":
        """Read the parameters of contract 5.7-5.10."""
        start, after = params.maybe("start"), params.maybe("startafter")
        first = _position(start, "start", project) if start else (0, 0, 0)
        if after:
            spider, job, place = _position(after, "startafter", project)
            first = max(first, (spider, job, place + 1))
        return cls(
            start=first,
            count=params.integer("count", LARGEST, low=0),
            startts=params.moment("startts"),
            endts=params.moment("endts"),
            meta=[name for name in params.many("meta") if name in ("_key", "_ts")],
            nodata=params.flag("nodata"),
            test=filters.read(params),
        )

    def blocks(self, jobs_in_order: Iterator[Source], kind: Kind) -> Iterator[Block]:
        """The records of jobs, one job after the other."""
        left = self.count
        for job in jobs_in_order:
            if (job.key.spider, job.key.job) < self.start[:2]:
                continue
            first = self.start[2] if (job.key.spider, job.key.job) == self.start[:2] else 0
            for block in self._of(job, kind, first, left):
                left -= len(block.numbers)
                yield block
            if left <= 0:
                return

    def _of(self, job: Source, kind: Kind, first: int, count: int) -> Iterator[Block]:
        blocks = reader.read(job.id, kind, first, job.total, times=self.times, since=self.startts)
        return self.shown(formats.limited(self.passing(blocks), count), job.key, kind)

    @property
    def times(self) -> bool:
        """Are receive times needed?"""
        return self.startts is not None or self.endts is not None or "_ts" in self.meta

    def passing(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """The records that all conditions let pass."""
        if self.startts is not None or self.endts is not None:
            blocks = formats.since(blocks, self.startts or 0, self.endts)
        return formats.selected(blocks, self.test) if self.test else blocks

    def shown(self, blocks: Iterator[Block], key: JobKey, kind: Kind) -> Iterator[Block]:
        """The blocks with the meta fields asked for; samples, which are arrays, have none."""
        if kind == Kind.SAMPLES or not (self.meta or self.nodata):
            return blocks
        return formats.with_meta(blocks, self.meta, str(key), alone=self.nodata)


def _position(text: str, name: str, project: int) -> tuple[int, int, int]:
    """``P/S/J/N`` or ``P/S/J`` as spider, job and number."""
    parts = text.split("/")
    if len(parts) in (3, 4):
        key = JobKey.parse("/".join(parts[:3]), name)
        place = parts[3] if len(parts) == 4 else "0"
        if key.project == project and place.isascii() and place.isdigit() and int(place) <= LARGEST:
            return key.spider, key.job, int(place)
    raise BadParameter(f"invalid value for {name}: {text[:200]}")


def _jobs(project: int, spider: int | None, kind: Kind, start: Sequence[int]) -> Iterator[Source]:
    """The jobs of a project or spider that have records, from the one of ``start`` on."""
    after = JobKey(project, start[0], start[1] - 1)
    while True:
        with reading() as session:
            found = keyorder.with_records(session, project, spider, kind, after, keyorder.BATCH)
        for row in found:
            yield Source(row.id, key_of(row), row.total)
        if len(found) < keyorder.BATCH:
            return
        after = key_of(found[-1])


def _answer(call: Call, kind: Kind, blocks: Iterator[Block]) -> Response:
    offered = answers.OFFERED
    if kind == Kind.REQUESTS:
        offered = tuple(name for name in offered if name != "msgpack")  # contract 5.4
    if kind != Kind.LOGS:
        return answers.answer(call, blocks, offered)
    text = formats.jl if call.params.flag("nodata") else formats.log_text
    return answers.answer(call, blocks, offered, fields="time,level,message", text=text)


def _read_many(call: Call, kind: Kind, project: str, spider: str | None = None) -> Response:
    with reading() as session:
        _, project_id = enter(session, call, project)
    if call.params.many("index") or call.params.maybe("start") == "random":
        raise BadParameter("index and start=random are for the records of one job")
    spider_number = number(spider, "spider") if spider is not None else None
    wanted = Range.parse(call.params, project_id)
    chosen = _jobs(project_id, spider_number, kind, wanted.start)
    return _answer(call, kind, wanted.blocks(chosen, kind))


def _read_job(call: Call, kind: Kind, project: str, spider: str, job: str) -> Response:
    with reading() as session:
        _, key = enter_job(session, call, project, spider, job)
        job_id = jobs.find(session, key)
        total = records.total(session, job_id, kind) if job_id is not None else 0
    params = call.params
    chosen = _numbers(params, total)
    wanted = Range.parse(params if chosen is None else params.without("start", "startafter"), key.project)
    one_job = iter([] if job_id is None else [Source(job_id, key, total)])
    if chosen is None or job_id is None:
        return _answer(call, kind, wanted.blocks(one_job, kind))
    blocks = formats.limited(wanted.passing(_picked(job_id, kind, chosen, times=wanted.times)), wanted.count)
    return _answer(call, kind, wanted.shown(blocks, key, kind))


def _numbers(params: Params, total: int) -> list[int] | None:
    """The numbers that ``index`` names, or a random sample; None when neither is asked for."""
    if params.maybe("start") == "random":
        count = min(params.integer("count", RANDOM, low=0), RANDOM, total)
        return sorted(random.sample(range(total), count))
    named = params.many("index")
    if not named:
        return None
    if len(named) > MOST_INDEXES:
        raise BadParameter(f"invalid value for index: more than {MOST_INDEXES}")
    if not all(text.isascii() and text.isdigit() and int(text) <= LARGEST for text in named):
        raise BadParameter(f"invalid value for index: {' '.join(named)[:200]}")
    return sorted({int(text) for text in named})


def _picked(job_id: int, kind: Kind, numbers: Sequence[int], *, times: bool) -> Iterator[Block]:
    for place in numbers:
        yield from reader.read(job_id, kind, place, place + 1, times=times)


def _read_part(
    call: Call, kind: Kind, project: str, spider: str, job: str, part: str, field: str | None = None
) -> Response:
    """One record by its number, or the values of one field as text."""
    with reading() as session:
        _, key = enter_job(session, call, project, spider, job)
        job_id = jobs.find(session, key)
    plain = part.isascii() and part.isdigit()
    if plain and int(part) > LARGEST:
        raise BadParameter(f"invalid value for index: {part[:50]}")
    wanted = replace(Range.parse(call.params, key.project), start=(0, 0, 0))
    start, stop = (int(part), int(part) + 1) if plain else (0, min(wanted.count, LARGEST))
    blocks = wanted.passing(reader.read(job_id or 0, kind, start, stop, times=wanted.times))
    name = field if plain else part
    if name is not None:
        if kind == Kind.SAMPLES or (field is not None and not plain):
            raise NotFound("Not Found")
        return stream(call, formats.values_text(blocks, name), TEXT)
    return _answer(call, kind, wanted.shown(blocks, key, kind))


def _stats(call: Call, kind: Kind, project: str, spider: str, job: str) -> Response:
    with reading() as session:
        _, key = enter_job(session, call, project, spider, job)
        job_id = jobs.find(session, key)
        counts, size, count = records.stats(session, job_id or 0, kind)
    return json_value({"counts": counts, "totals": {"input_bytes": size, "input_values": count}})


# Each resource has the same calls.


def _add_routes(kind: Kind) -> None:
    one = f"/{kind}/{{project:segment}}/{{spider:segment}}/{{job:segment}}"

    def of_project(call: Caller, project: str) -> Response:
        return _read_many(call, kind, project)

    def of_spider(call: Caller, project: str, spider: str) -> Response:
        return _read_many(call, kind, project, spider)

    def of_job(call: Caller, project: str, spider: str, job: str) -> Response:
        return _read_job(call, kind, project, spider, job)

    def stats(call: Caller, project: str, spider: str, job: str) -> Response:
        return _stats(call, kind, project, spider, job)

    def part(call: Caller, project: str, spider: str, job: str, part: str) -> Response:
        return _read_part(call, kind, project, spider, job, part)

    def field(call: Caller, project: str, spider: str, job: str, part: str, field: str) -> Response:
        return _read_part(call, kind, project, spider, job, part, field)

    def write(call: Caller, project: str, spider: str, job: str) -> Response:
        return uploads.write(call, kind, project, spider, job)

    def add(path: str, call: Any, what: str, *params: Param, more: dict[str, Any] | None = None) -> None:
        method = "POST" if call is write else "GET"
        router.add_api_route(
            path, call, methods=[method], description=what, tags=[str(kind)],
            name=f"{kind}: {call.__name__}", openapi_extra={**describe(*params), **(more or {})},
        )  # fmt: skip

    what = str(kind)
    add(f"/{kind}/{{project:segment}}", of_project, f"All {what} of a project, by spider and job.", *READ)
    add(f"/{kind}/{{project:segment}}/{{spider:segment}}", of_spider, f"All {what} of a spider.", *READ)
    add(one, of_job, f"The {what} of a job, while it runs and after.", *READ)
    add(one, write, f"Store {what} from a position on; the same again changes nothing.", *WRITE, more=BODY)
    add(f"{one}/stats", stats, f"How many {what} have each field, and how large they are.")
    add(
        f"{one}/{{part:segment}}",
        part,
        "One record by its number, or the values of one field as text.",
        *READ,
    )
    add(f"{one}/{{part:segment}}/{{field:segment}}", field, "One field of one record as text.")


for each in Kind:
    _add_routes(each)
