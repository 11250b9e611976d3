"""Cron: fire times where clocks change, backwards too, words, and what is no expression."""

from datetime import UTC, datetime
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from app.errors import BadParameter
from app.services import cron

DAY = 86_400_000
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Santiago", "Africa/Casablanca"]


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def times(expression: str, zone: str, after: str, count: int) -> list[str]:
    """Fire times after a wall time of the zone, as its clocks show them."""
    found = islice(cron.upcoming(cron.check(expression), zone, ms(after, zone)), count)
    return [datetime.fromtimestamp(each / 1000, ZoneInfo(zone)).isoformat() for each in found]


def test_a_fixed_time_that_spring_leaves_out_comes_right_after_the_gap() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3) == [
        "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
    ]  # fmt: skip
    assert times("0,15,30 2 * * *", "Europe/Berlin", "2026-03-29T00:00", 2) == [
        "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00",
    ]  # fmt: skip


def test_a_fixed_time_that_autumn_shows_twice_comes_once() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00",
    ]  # fmt: skip
    second = int(datetime.fromisoformat("2026-10-25T02:10:00+01:00").timestamp() * 1000)
    assert next(cron.upcoming("30 2 * * *", "Europe/Berlin", second)) == ms("2026-10-26T01:30")


def test_every_hour_is_every_hour_whatever_the_clock_does() -> None:
    for after in ("2026-03-07T20:00", "2026-10-31T20:00"):
        start = ms(after, "America/New_York")
        found = list(islice(cron.upcoming("0 * * * *", "America/New_York", start), 24))
        assert found == [start + hour * 3_600_000 for hour in range(1, 25)]
    autumn = times("0 * * * *", "America/New_York", "2026-11-01T00:30", 3)
    assert [each[11:] for each in autumn] == ["01:00:00-04:00", "01:00:00-05:00", "02:00:00-05:00"]


def test_zones_whose_clocks_never_change() -> None:
    assert times("0 9 * * MON-FRI", "Asia/Kolkata", "2026-03-27T10:00", 2) == [
        "2026-03-30T09:00:00+05:30", "2026-03-31T09:00:00+05:30",
    ]  # fmt: skip
    assert times("30 2 * * *", "UTC", "2026-03-29T00:00", 1) == ["2026-03-29T02:30:00+00:00"]


def test_a_gap_at_midnight_and_one_of_half_an_hour() -> None:
    assert times("* 1 * * FRI", "Africa/Cairo", "2026-04-23T23:00", 1) == ["2026-04-24T01:00:00+03:00"]
    assert times("30 0 * * *", "Africa/Cairo", "2026-04-23T12:00", 1) == ["2026-04-24T01:00:00+03:00"]
    autumn = times("*/30 1 * * *", "Australia/Lord_Howe", "2026-04-05T00:00", 4)
    assert [each[11:] for each in autumn] == [
        "01:00:00+11:00", "01:30:00+11:00", "01:30:00+10:30", "01:00:00+10:30",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/20 * * * *", "15 */3 * * *", "0 1 L * *", "0 0 * * 1#2"]
)
def test_a_year_as_cronsim_has_it_and_the_same_backwards(zone: str, expression: str) -> None:
    start, end = ms("2026-01-01T00:00"), ms("2027-01-01T00:00")
    found = list(takewhile(lambda time: time <= end, cron.upcoming(expression, zone, start)))
    reference = CronSim(expression, datetime.fromtimestamp(start / 1000, ZoneInfo(zone)))
    theirs = (int(moment.timestamp() * 1000) for moment in reference)
    assert found == sorted(set(takewhile(lambda time: time <= end, theirs)))
    assert found[::-1] == list(takewhile(lambda time: time > start, cron.past(expression, zone, end)))


def test_until_a_moment_is_until_and_with_it() -> None:
    noon = ms("2026-06-01T12:00")
    assert next(cron.past("0 12 * * *", "UTC", noon)) == noon
    assert next(cron.past("0 12 * * *", "UTC", noon - 1)) == noon - DAY
    assert next(cron.upcoming("0 12 * * *", "UTC", noon)) == noon + DAY
    assert next(cron.upcoming("0 12 * * *", "UTC", noon - 1)) == noon


@pytest.mark.parametrize(
    ("given", "expression", "words"),
    [
        ("0 5 * * *", "0 5 * * *", "At 05:00 every day"),
        (" 0  5 * *\tmon ", "0 5 * * mon", "At 05:00 on Monday"),
        ("*/15 8-18/2 1,15 JAN-MAR *", "*/15 8-18/2 1,15 JAN-MAR *", None),
        ("0 0 L * *", "0 0 L * *", "At 00:00 on the last day of every month"),
        ("@Daily", "0 0 * * *", "At 00:00 every day"),
        ("0 0 29 2 *", "0 0 29 2 *", "At 00:00 on February 29"),
        ("0 0 * 2 MON#5", "0 0 * 2 MON#5", None),
    ],
)
def test_good_expressions(given: str, expression: str, words: str | None) -> None:
    assert cron.check(given) == expression
    assert cron.explain(expression) == (words or cron.explain(expression)) != ""


@pytest.mark.parametrize(
    "bad",
    ["", "x", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
     "5-1 * * * *", "0 0 30 2 *", "0 0 31 4,6 *", "a\0b * * * *", "² * * * *", "@never", "1,, * * * *", "1 " * 200],
)  # fmt: skip
def test_bad_expressions(bad: str) -> None:
    with pytest.raises(BadParameter, match="invalid value for cron"):
        cron.check(bad)


@pytest.mark.parametrize(
    "bad", ["", "Berlin", "europe/berlin", "../UTC", "/etc/passwd", "UTC+1", "a\0", "x" * 1000]
)
def test_bad_zones(bad: str) -> None:
    with pytest.raises(BadParameter, match="invalid value for timezone"):
        cron.check_zone(bad)
    assert cron.check_zone("Europe/Berlin") == "Europe/Berlin"


def test_looking_ahead_begins_at_any_moment() -> None:
    now = int(datetime(2026, 3, 29, 0, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)
    assert next(cron.upcoming("* * * * *", "Europe/Berlin", now)) == ms("2026-03-29T01:00")
