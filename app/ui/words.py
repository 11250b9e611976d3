"""How pages write numbers, times and states. Pure."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

MINUTE, HOUR, DAY = 60, 3600, 86_400
LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
# How an outcome looks: these are good, these were wished for, all others are bad.
GOOD = ("finished",)
WISHED = ("cancelled", "shutdown", "closespider_itemcount", "closespider_pagecount", "closespider_timeout")
NO = "–"  # where there is no value


def number(value: float | None) -> str:
    """A whole number with thousands apart; a dash for none."""
    return NO if value is None else f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def rate(value: float | None) -> str:
    """A number per minute, with one digit behind the point while it is small."""
    if value is None:
        return NO
    return f"{value:.1f}" if 0 < value < 10 else number(value)


def size(value: float | None) -> str:
    """Bytes in the unit that fits."""
    if value is None:
        return NO
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return NO


def duration(milliseconds: float | None) -> str:
    """How long something took: the two largest units."""
    if milliseconds is None:
        return NO
    seconds = max(milliseconds, 0) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def moment(milliseconds: int | None) -> str | Markup:
    """A time in UTC; a script shows it in the viewer's zone."""
    if milliseconds is None:
        return NO
    at = _utc(milliseconds)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S"), at.strftime("%Y-%m-%d %H:%M")
    )


def iso(milliseconds: int) -> str:
    """A time as machines write it, in UTC, with milliseconds."""
    return _utc(milliseconds).strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def ago(milliseconds: int | None) -> str | Markup:
    """How long ago a time was, in one unit; the time itself is at hand."""
    if milliseconds is None:
        return NO
    passed = time.time() - milliseconds / 1000
    text = "now"
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if abs(passed) >= unit:
            text = f"{int(abs(passed) // unit)} {name}"
            text = f"{text} ago" if passed > 0 else f"in {text}"
            break
    at = _utc(milliseconds)
    return Markup('<time class="ago" datetime="{}" title="{} UTC">{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S"), text
    )


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def tone(state: str, close_reason: str | None = None, stopping: bool = False) -> str:
    """The class of a chip: pending, running, stopping, good, wished or bad."""
    if state == "running":
        return "stopping" if stopping else "running"
    if state != "finished":
        return str(state)
    if close_reason in GOOD:
        return "good"
    return "wished" if close_reason in WISHED else "bad"


def cut(text: object, length: int = 60) -> str:
    """A text of at most ``length`` characters."""
    shown = str(text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def query(given: Mapping[str, Sequence[str]], **changes: Any) -> str:
    """A query string: the parameters ``given``, some changed; None, "" and () leave one out."""
    merged: dict[str, Any] = {**given, **changes}
    kept = {name: value for name, value in merged.items() if value not in (None, "", [], ())}
    return "?" + urlencode(kept, doseq=True) if kept else "?"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "rate": rate,
    "bytes": size,
    "duration": duration,
    "moment": moment,
    "iso": iso,
    "ago": ago,
    "plural": plural,
    "tone": tone,
    "cut": cut,
    "level": lambda value: LEVELS.get(value, str(value)),
}
