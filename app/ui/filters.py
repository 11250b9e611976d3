"""The filter of the jobs page: what its query string means."""

import time
from datetime import UTC, datetime

from app.api.params import Params
from app.errors import BadParameter
from app.services.jobboard import Wanted

NAMES = ("spider", "tag", "outcome", "since", "args")
SINCE = (
    ("", "any time"),
    ("1h", "last hour"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
)
UNITS = {"m": 60, "h": 3600, "d": 86_400}
MOST = 10  # tags, or arguments


def read(params: Params, project: int) -> Wanted:
    """The filter that a query string stands for.

    ``spider`` is a name, ``tag`` a tag (repeat it: all of them), ``outcome`` a close reason (``!`` in front:
    any other), ``since`` a time ago (``90m``, ``24h``, ``7d``) or a date in UTC, ``args`` an argument as
    ``name=value`` or ``name`` alone (repeat it: all of them).

    Raises:
        BadParameter: one of them is nothing of the kind.

    """
    tags, args = ([each for each in params.long(name) if each] for name in ("tag", "args"))
    for name, values in (("tag", tags), ("args", args)):
        if len(values) > MOST:
            raise BadParameter(f"invalid value for {name}: more than {MOST}")
    pairs = [each.partition("=") for each in args]
    return Wanted(
        project,
        spider=params.maybe("spider") or "",
        tags=tags,
        outcome=params.maybe("outcome") or "",
        since=_since(params.maybe("since") or ""),
        args={name: value if equals else None for name, equals, value in pairs},
    )


def _since(text: str) -> int | None:
    """A time in ms."""
    if not text:
        return None
    number, unit = text[:-1], text[-1]
    if unit in UNITS and number.isascii() and number.isdigit() and len(number) <= 6:
        return int((time.time() - int(number) * UNITS[unit]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadParameter(f"invalid value for since: {text[:50]}; 90m, 24h, 7d, or a date") from None
