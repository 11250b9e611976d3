"""Stored records as answers: JSON lines, JSON, MessagePack, CSV, XML, text. A block at a time."""

import csv
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import orjson
import ormsgpack

from app.services.reader import Block

JL = "application/x-jsonlines; charset=UTF-8"
JSON = "application/json"
CSV = "text/csv; charset=UTF-8"
XML = "application/xml"
TEXT = "text/plain; charset=UTF-8"

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


def jl(blocks: Iterable[Block]) -> Iterator[bytes]:
    """JSON lines as they were stored, untouched."""
    for block in blocks:
        yield block.text
        yield b"\n"


def json_array(blocks: Iterable[Block]) -> Iterator[bytes]:
    """One JSON array."""
    opening = b"["
    for block in blocks:
        yield opening + block.text.replace(b"\n", b",")
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def selected(blocks: Iterable[Block], test: Callable[[Any], bool]) -> Iterator[Block]:
    """The records that pass a test."""
    for block in blocks:
        kept = [place for place, line in enumerate(block.lines) if test(orjson.loads(line))]
        if kept:
            yield _picked(block, kept)


def since(blocks: Iterable[Block], start: int, end: int | None) -> Iterator[Block]:
    """The records received at ``start`` or later, and before ``end``; in ms."""
    for block in blocks:
        kept = [
            place for place, time in enumerate(block.times) if time >= start and (end is None or time < end)
        ]
        if kept:
            yield _picked(block, kept)


def limited(blocks: Iterable[Block], count: int) -> Iterator[Block]:
    """The first ``count`` records."""
    if count <= 0:
        return
    for block in blocks:
        yield block if len(block.numbers) <= count else _picked(block, range(count))
        count -= len(block.numbers)
        if count <= 0:  # looked at here: the next block is not even fetched
            return


def _picked(block: Block, places: Sequence[int]) -> Block:
    return Block.of(
        [block.lines[place] for place in places],
        [block.numbers[place] for place in places],
        [block.times[place] for place in places] if block.times else (),
    )


def with_meta(
    blocks: Iterable[Block], names: Sequence[str], key: str, *, alone: bool = False
) -> Iterator[Block]:
    """The same records with ``_key`` and ``_ts`` added where asked for (contract 5.8).

    Args:
        key: of the job, or of whatever the numbers count in.
        alone: without the records' own fields.

    """

    def added(block: Block) -> Block:
        lines = []
        for place, line in enumerate(block.lines):
            extra = ""
            if "_key" in names:
                extra += f',"_key":"{key}/{block.numbers[place]}"'
            if "_ts" in names:
                extra += f',"_ts":{block.times[place]}'
            lines.append(_append(b"{}" if alone else line, extra.encode()))
        return Block.of(lines, block.numbers, block.times)

    return map(added, blocks)  # which, unlike a loop that waits, holds none of them


def with_field(line: bytes, name: str, value: int) -> bytes:
    """The JSON object with one more field behind its own, whatever they are called."""
    return _append(line, f',"{name}":{value}'.encode())


def _append(line: bytes, extra: bytes) -> bytes:
    inside = line.rstrip()[:-1]
    return inside + (extra[1:] if inside.strip() == b"{" else extra) + b"}"


def msgpack(blocks: Iterable[Block]) -> Iterator[bytes]:
    """MessagePack objects, one after the other."""
    for block in blocks:
        yield b"".join(map(_packed, block.lines))


def _packed(line: bytes) -> bytes:
    value = orjson.loads(line)
    try:
        return ormsgpack.packb(value)
    except TypeError:  # nested more deeply than it writes: a text is better than no answer
        return ormsgpack.packb(line.decode())


@dataclass(frozen=True)
class Punctuation:
    """How CSV is written (contract 5.4)."""

    separator: str = ","
    quote: str = '"'
    escape: str | None = None
    line_end: str = "\n"


def csv_rows(
    blocks: Iterable[Block], fields: Sequence[str], headers: bool, marks: Punctuation | None = None
) -> Iterator[bytes]:
    """CSV of the given fields; a value that is no text is written as JSON, a missing one is empty."""
    marks = marks or Punctuation()
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=marks.separator,
        quotechar=marks.quote,
        escapechar=marks.escape,
        doublequote=marks.escape is None,
        lineterminator=marks.line_end,
    )
    if headers:
        writer.writerow(fields)
    for block in blocks:
        for record in map(orjson.loads, block.lines):
            values = map(record.get, fields)
            writer.writerow([value if type(value) is str else _cell(value) for value in values])
        yield buffer.getvalue().encode("utf-8", "surrogatepass")
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads that deep
        return json.dumps(value)


_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml(blocks: Iterable[Block]) -> Iterator[bytes]:
    """XML with the data types of XML-RPC: one ``<value>`` a record."""
    opening = '<?xml version="1.0" encoding="UTF-8"?>\n<values>\n'
    for block in blocks:
        text = "".join(f"{_xml(orjson.loads(line))}\n" for line in block.lines)
        yield (opening + _NOT_IN_XML.sub("\ufffd", text)).encode()
        opening = ""
    yield f"{opening}</values>\n".encode()


def _xml(value: Any) -> str:
    if value is None:
        inside = "<nil/>"
    elif isinstance(value, bool):
        inside = f"<boolean>{value:d}</boolean>"
    elif isinstance(value, int):
        inside = f"<int>{value}</int>"
    elif isinstance(value, float):
        inside = f"<double>{value!r}</double>"
    elif isinstance(value, list):
        inside = f"<array><data>{''.join(map(_xml, value))}</data></array>"
    elif isinstance(value, dict):
        members = (
            f"<member><name>{escape(name)}</name>{_xml(each)}</member>" for name, each in value.items()
        )
        inside = f"<struct>{''.join(members)}</struct>"
    else:
        inside = f"<string>{escape(value)}</string>"
    return f"<value>{inside}</value>"


def values_text(blocks: Iterable[Block], field: str) -> Iterator[bytes]:
    """The values of one field as raw text, a line each; records without it are passed over."""
    for block in blocks:
        records = map(orjson.loads, block.lines)
        found = (record[field] for record in records if isinstance(record, dict) and field in record)
        yield "".join(f"{_raw(value)}\n" for value in found).encode("utf-8", "replace")


def _raw(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def log_text(blocks: Iterable[Block]) -> Iterator[bytes]:
    """Log entries as text: time (UTC), level and message (contract 6.17)."""
    for block in blocks:
        yield "".join(map(entry_text, map(orjson.loads, block.lines))).encode("utf-8", "replace")


def entry_text(entry: dict[str, Any]) -> str:
    """One log entry as a line."""
    moment, level = time_text(entry["time"], " "), level_name(entry["level"])
    return f"{moment} {level} {entry['message']}\n"


def level_name(level: int) -> str:
    """``ERROR`` for 40; a level between two is named after the one below it."""
    return LEVELS.get(level) or LEVELS[max((known for known in LEVELS if known <= level), default=10)]


def time_text(milliseconds: int, separator: str) -> str:
    """``YYYY-MM-DD HH:MM:SS``, UTC, with the separator in the middle."""
    return time.strftime(f"%Y-%m-%d{separator}%H:%M:%S", time.gmtime(milliseconds // 1000))
