"""How records are shown: cells of items, lines of a log, stats in groups. Pure; nothing here is markup."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.services.search import Record
from app.ui.words import LEVELS, iso, number, size

SHORT, LONG = 120, 2000  # characters of a cell before, and after it is unfolded
MESSAGE = 400  # characters of a log line that are not folded
WHOLE = 20_000  # characters of what is unfolded, or of a whole item among others
LAST_COLUMNS = ("_type",)  # what the entrypoint adds


# Items


@dataclass(frozen=True)
class Cell:
    """A value in a table."""

    kind: str  # text, number, json or nothing
    short: str
    long: str = ""  # more of it, when it is cut
    cut: bool = False  # there is even more
    url: str = ""  # it is a link


def columns(values: Sequence[Any], counts: Mapping[str, int]) -> list[str]:
    """The fields of items: first as they come in those shown, then those that most have."""
    names = dict.fromkeys(name for value in values if isinstance(value, dict) for name in value)
    for name, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        names.setdefault(name)
    return [name for name in names if name not in LAST_COLUMNS] + [
        name for name in LAST_COLUMNS if name in names
    ]


def cell(value: Any) -> Cell:
    """A value of an item."""
    if value is None:
        return Cell("nothing", "null")
    if isinstance(value, bool):
        return Cell("json", "true" if value else "false")
    if isinstance(value, int | float):
        return Cell("number", str(value)[:SHORT])
    kind = "text" if isinstance(value, str) else "json"
    text = value if isinstance(value, str) else written(value)
    url = text if kind == "text" and is_link(text) else ""
    if len(text) <= SHORT:
        return Cell(kind, text, url=url)
    return Cell(kind, text[:SHORT].rstrip(), text[:LONG], len(text) > LONG, url)


def is_link(text: str) -> bool:
    """Is it an address that may be made a link? Nothing that a browser would execute."""
    return text.startswith(("http://", "https://")) and len(text) <= LONG and not any(map(str.isspace, text))


def written(value: Any, indent: int | None = None) -> str:
    """A value as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent)
    except RecursionError:  # it is read deeper than it is written
        return "(nested too deeply to be shown)"


def row(value: Any, names: Sequence[str]) -> list[Cell | None]:
    """The cells of an item; None where it has no such field."""
    fields = value if isinstance(value, dict) else {}
    return [cell(fields[name]) if name in fields else None for name in names]


def whole(value: Any, most: int = WHOLE) -> tuple[str, bool]:
    """An item as indented JSON, and whether it was cut."""
    text = written(value, 2)
    return text[:most], len(text) > most


# Requests


@dataclass(frozen=True)
class Request:
    """A request as far as it can be read."""

    time: int | None  # ms
    method: str
    status: str
    url: str
    link: bool
    duration: int | None  # ms
    size: int | None  # bytes
    parent: int | None


def request(value: Any) -> Request:
    """A request of a job."""
    fields = value if isinstance(value, dict) else {}
    url = str(fields.get("url", ""))
    numbers = {name: _amount(fields.get(name)) for name in ("duration", "rs", "parent")}
    return Request(
        moment(fields.get("time")), str(fields.get("method", ""))[:20], str(fields.get("status", ""))[:20],
        url[:LONG], is_link(url), numbers["duration"], numbers["rs"], numbers["parent"],
    )  # fmt: skip


def _amount(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else None


def moment(value: Any) -> int | None:
    """A time in ms that the calendar has."""
    return value if isinstance(value, int) and 0 < value < 1 << 47 else None


# The log


@dataclass
class Line:
    """Log entries that follow each other and are the same."""

    number: int  # of the first
    level: str
    time: int | None  # ms
    head: str
    rest: str = ""  # what is folded
    end: str = ""  # of a traceback: the line that says what went wrong
    cut: bool = False
    times: int = 1


def lines(records: Sequence[Record]) -> list[Line]:
    """Log entries as they are shown: what repeats is one line, what is long is folded."""
    found: list[Line] = []
    before: tuple[Any, Any] | None = None
    for record in records:
        entry = record.value if isinstance(record.value, dict) else {}
        level, message = entry.get("level"), entry.get("message")
        if (level, message) == before:
            found[-1].times += 1
            continue
        before = (level, message)
        found.append(_line(record.number, level, entry.get("time"), str(message)))
    return found


def _line(number: int, level: Any, time: Any, message: str) -> Line:
    head, _, rest = message.partition("\n")
    if len(head) > MESSAGE:
        head, rest = head[:MESSAGE], message
    end = ""
    if "Traceback (most recent call last)" in message:
        end = message.rstrip().rpartition("\n")[2].strip()[:MESSAGE]
    return Line(
        number, level_name(level), moment(time), head, rest[:WHOLE].rstrip(), end if end != head else "",
        len(rest) > WHOLE,
    )  # fmt: skip


def level_name(level: Any) -> str:
    """``error`` for 40; a level between two is named after the one below it."""
    value = level if isinstance(level, int) else 20
    return LEVELS[max((known for known in LEVELS if known <= value), default=10)]


# Stats


def grouped(stats: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, Cell]]]]:
    """Stats by what stands before their first slash; those without one come first."""
    groups: dict[str, list[tuple[str, Cell]]] = {}
    for name in sorted(stats):
        group, slash, rest = name.partition("/")
        shown = _stat(name, stats[name])
        groups.setdefault(group if slash else "", []).append((rest if slash else name, shown))
    return sorted(groups.items())


def _stat(name: str, value: Any) -> Cell:
    """A stat with its unit, where the name tells it."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return cell(value)
    if name in ("start_time", "finish_time") and (at := moment(int(value))):
        return Cell("text", f"{iso(at)[:19].replace('T', ' ')} UTC")
    text = number(value) if isinstance(value, int) else str(value)
    if name.startswith("memusage/") or name.endswith("_bytes"):
        text += f" ({size(value)})"
    return Cell("number", text)
