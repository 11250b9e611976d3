"""Stored records as answers: JSON lines, JSON, CSV, text. Everything streams, a block at a time."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from app.services.records import Block

JL = "application/x-jsonlines; charset=UTF-8"
JSON = "application/json"
CSV = "text/csv; charset=UTF-8"
TEXT = "text/plain; charset=UTF-8"

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


def jl(blocks: Iterable[Block]) -> Iterator[bytes]:
    """JSON lines as they were stored, untouched."""
    for block in blocks:
        yield b"\n".join(block.lines) + b"\n"


def json_array(blocks: Iterable[Block]) -> Iterator[bytes]:
    """One JSON array."""
    opening = b"["
    for block in blocks:
        yield opening + b",".join(block.lines)
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def with_meta(blocks: Iterable[Block], names: Sequence[str], key: str) -> Iterator[Block]:
    """The same records with ``_key`` and ``_ts`` added where asked for (contract 5.8)."""
    for block in blocks:
        lines = []
        for place, line in enumerate(block.lines):
            extra = ""
            if "_key" in names:
                extra += f',"_key":"{key}/{block.first + place}"'
            if "_ts" in names:
                extra += f',"_ts":{block.times[place]}'
            lines.append(_append(line, extra.encode()))
        yield Block(block.first, lines, block.times)


def _append(line: bytes, extra: bytes) -> bytes:
    inside = line.rstrip()[:-1]
    return inside + (extra[1:] if inside.strip() == b"{" else extra) + b"}"


def csv_rows(blocks: Iterable[Block], fields: Sequence[str], headers: bool) -> Iterator[bytes]:
    """CSV of the given fields; a value that is no text is written as JSON, a missing one is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if headers:
        writer.writerow(fields)
    for block in blocks:
        for line in block.lines:
            record = orjson.loads(line)
            writer.writerow([_cell(record.get(field)) for field in fields])
        yield buffer.getvalue().encode("utf-8", "surrogatepass")
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes, though it reads that deep
        return json.dumps(value)


def level_name(level: int) -> str:
    """``ERROR`` for 40; a level between two is named after the one below it."""
    return LEVELS.get(level) or LEVELS[max((known for known in LEVELS if known <= level), default=10)]


def time_text(milliseconds: int, separator: str) -> str:
    """``YYYY-MM-DD HH:MM:SS``, UTC, with the separator in the middle."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime(f"%Y-%m-%d{separator}%H:%M:%S")
