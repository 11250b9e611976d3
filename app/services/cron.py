"""Cron: what an expression means, in words and as moments in a time zone. Pure.

``cronsim`` reads expressions and matches days. The moments of a day are made here, in both directions, and
follow Debian's cron where clocks change: what has a fixed hour and minute runs once on every day, right
after the gap when its time was left out, the first time when it comes twice; what has a star in minute or
hour runs whenever the clock shows such a time, be it twice or never.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count, islice, product
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from app.errors import BadParameter

LENGTH = 255  # characters of an expression
FIELDS = ("minute", "hour", "day of month", "month", "day of week")
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MOST_DAYS = 366 * 30  # that are looked through: February 29th on a Monday comes each 28 years
_ANY = datetime(2024, 1, 1, tzinfo=UTC)  # reading an expression takes a moment to begin at


def check(expression: str) -> str:
    """An expression of five fields, or a nickname as ``@daily``, with single spaces.

    Raises:
        BadParameter: it is none, or no day ever fits.

    """
    cron = " ".join(NICKNAMES.get(expression.strip().lower(), expression).split())
    if len(cron) > LENGTH:
        raise BadParameter(f"invalid value for cron: longer than {LENGTH} characters")
    if len(cron.split(" ")) != len(FIELDS):
        raise BadParameter(f"invalid value for cron: {cron!r} has not the five fields {', '.join(FIELDS)}")
    try:
        _read(cron)
    except CronSimError as error:
        raise BadParameter(f"invalid value for cron: {str(error).lower()} in {cron!r}") from None
    if next(upcoming(cron, "UTC", 0), None) is None:
        raise BadParameter(f"invalid value for cron: {cron!r} fits no day")
    return cron


@lru_cache(1000)
def _read(cron: str) -> CronSim:
    return CronSim(cron, _ANY)


@lru_cache
def zones() -> frozenset[str]:
    """The names of all time zones."""
    return frozenset(available_timezones())


def check_zone(name: str) -> str:
    """The name of a time zone.

    Raises:
        BadParameter: there is none of that name.

    """
    if name not in zones():
        raise BadParameter(f"invalid value for timezone: {name[:64]!r} is no time zone as Europe/Berlin")
    return name


def explain(cron: str) -> str:
    """An expression that was checked, in words: "At 05:00 on Monday"."""
    return _read(cron).explain()


def local(time: int, zone: str) -> str:
    """A moment, ms, as the clocks of a zone show it: ``2026-03-29T03:00:00+02:00``."""
    return datetime.fromtimestamp(time / 1000, ZoneInfo(zone)).isoformat(timespec="seconds")


def shown(time: int, zone: str) -> str:
    """The same for people: ``Sun 29 Mar 2026, 03:00 CEST``."""
    return datetime.fromtimestamp(time / 1000, ZoneInfo(zone)).strftime("%a %-d %b %Y, %H:%M %Z")


def upcoming(cron: str, zone: str, after: int) -> Iterator[int]:
    """The moments after one, the next one first; all are ms."""
    return (each for each in _moments(cron, zone, after, 1) if each > after)


def past(cron: str, zone: str, until: int) -> Iterator[int]:
    """The moments until one, itself too, the last one first; all are ms."""
    return (each for each in _moments(cron, zone, until, -1) if each <= until)


def _moments(cron: str, zone: str, around: int, step: int) -> Iterator[int]:
    """Moments in order, or backwards; some may be on the wrong side of ``around``, by a day and no more."""
    expression, tz = _read(cron), ZoneInfo(zone)
    first = datetime.fromtimestamp(around / 1000, tz).date() - timedelta(days=step)
    last: int | None = None
    for days in islice(count(0, step), MOST_DAYS):
        day = first + timedelta(days=days)
        if day.month in expression.months and expression.match_day(day):
            for moment in _of_day(expression, day, tz)[::step]:
                # What two days have in common, when a gap lies between them, comes once.
                if last is None or (moment - last) * step > 0:
                    yield moment
                    last = moment


def _of_day(expression: CronSim, day: date, tz: ZoneInfo) -> list[int]:
    """The moments of a day in order, ms."""
    times = product(sorted(expression.hours), sorted(expression.minutes))
    midnight = datetime(day.year, day.month, day.day, tzinfo=tz)
    if _offset(midnight, -1) == _offset(midnight, 2):  # no clock changes near this day
        start = int(midnight.timestamp()) * 1000
        return [start + (hour * 60 + minute) * 60_000 for hour, minute in times]
    walls = [midnight.replace(hour=hour, minute=minute) for hour, minute in times]
    if expression.parts[1].startswith("*") or expression.parts[2].startswith("*"):
        shown = [wall.replace(fold=fold) for wall in walls for fold in (0, 1)]
        moments = [wall for wall in shown if _exists(wall)]
    else:
        moments = [_after_gap(wall) for wall in walls]
    return sorted({int(moment.timestamp()) * 1000 for moment in moments})


def _offset(midnight: datetime, days: int) -> timedelta | None:
    return (midnight + timedelta(days=days)).utcoffset()


def _exists(wall: datetime) -> bool:
    """Do clocks ever show it?"""
    back = wall.astimezone(UTC).astimezone(wall.tzinfo)
    return back.replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None, fold=0)


def _after_gap(wall: datetime) -> datetime:
    while not _exists(wall):
        wall += timedelta(minutes=1)
    return wall
