"""What a schedule says, read from JSON, a form, or a project's yml: every field is checked here. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import orjson

from app.errors import BadParameter
from app.models.periodic import Missed, Overlap
from app.services import cron as crons

NAME_LENGTH = 255  # characters of a description, a spider's name, a tag, an argument's name
JSON_LENGTH = 256 << 10  # characters of all arguments of a spider, or of the settings
MOST_SPIDERS = 100
MOST_TAGS = 100
MOST_JITTER = 86_400  # seconds

PARTS = ("minutes_shift", "hour", "day", "month", "dayofweek")  # as Scrapy Cloud has them, in cron's order
ACCEPTED = frozenset({
    "cron", *PARTS, "timezone", "jitter", "overlap", "missed", "description", "spiders", "job_settings",
    "addtags", "priority", "enabled", "disabled", "type",
})  # fmt: skip
# What is shown besides; somebody may send back what he got.
SHOWN = frozenset({
    "id", "words", "next", "problem", "declared", "paused_by", "created_by", "created_at", "modified_at",
})  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """When to run what; the columns of a ``PeriodicJob`` that somebody chooses."""

    cron: str
    spiders: list[dict[str, Any]]
    description: str = ""
    timezone: str = "UTC"
    jitter_seconds: int = 0
    overlap: str = Overlap.SKIP
    missed: str = Missed.SKIP
    job_settings: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)
    priority: int = 2
    enabled: bool = True

    def columns(self) -> dict[str, Any]:
        """By column."""
        return asdict(self)

    def parts(self) -> dict[str, str]:
        """The five fields of ``cron`` by the names that Scrapy Cloud has for them."""
        return dict(zip(PARTS, self.cron.split(" "), strict=True))


def of_row(row: Any) -> Plan:
    """The plan of a row of ``PeriodicJob``."""
    found = {each.name: getattr(row, each.name) for each in fields(Plan)}
    return Plan(**{**found, "tags": found["tags"] or []})


def parse(given: Mapping[str, Any], old: Plan | None = None, *, merge: bool = False) -> Plan:
    """The plan that fields of the wire name; null is not given.

    Args:
        old: what the schedule says so far. Of two fields that say the same thing in two ways, as ``enabled``
            and ``disabled``, the one that says something new counts.
        merge: what is not given stays as it is in ``old``; null is the default then.

    Raises:
        BadParameter: a field is unknown, or has a value that it cannot have.

    """
    for name in sorted(set(given) - ACCEPTED - SHOWN):
        raise BadParameter(f"unknown argument {name[:50]}")
    values = {name: plain(name, value) for name, value in given.items() if name in ACCEPTED}
    if (kind := values.get("type")) not in (None, "", "spider"):
        raise BadParameter(
            f"invalid value for type: {str(kind)[:50]}; there are periodic jobs of type spider"
        )
    found: dict[str, Any] = {}
    for name, (column, read) in _READERS.items():
        if values.get(name) is not None:
            found[column] = read(name, values[name])
        elif merge and name in values and name != "spiders":
            found[column] = _DEFAULTS[column]
    found["cron"] = _cron(values, old, merge=merge)
    found |= _enabled(values, old)
    if merge and old is not None:
        return replace(old, **found)
    if "spiders" not in found:
        raise BadParameter("missing 'spiders' argument")
    return Plan(**found)


def plain(name: str, value: Any) -> Any:
    """The value as JSON has it.

    Raises:
        BadParameter: JSON cannot have it, or PostgreSQL.

    """
    try:
        json = orjson.dumps(value)
    except TypeError as error:
        raise BadParameter(f"invalid value for {name}: {str(error)[:100]}") from None
    if b"\\u0000" in json:
        raise BadParameter(f"invalid value for {name}: NUL character")
    return orjson.loads(json)


def text(name: str, value: Any) -> str:
    """A text of at most ``NAME_LENGTH`` characters; a number is one too."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadParameter(f"invalid value for {name}: not a text")
    if len(str(value)) > NAME_LENGTH:
        raise BadParameter(f"invalid value for {name}: longer than {NAME_LENGTH} characters")
    return str(value)


def _cron(values: Mapping[str, Any], old: Plan | None, *, merge: bool) -> str:
    parts = {name: _part(name, values[name]) for name in PARTS if values.get(name) not in (None, "")}
    whole = text("cron", values["cron"]) if values.get("cron") else None
    said = [] if whole is None else [crons.check(whole)]
    if parts:
        rest = old.parts() if old is not None and merge else {"minutes_shift": "0"}
        said.append(crons.check(" ".join({**rest, **parts}.get(name, "*") for name in PARTS)))
    if old is not None and len(said) > 1:
        said = [each for each in said if each != old.cron] or [old.cron]
    if old is not None and merge and not said:
        return old.cron
    if not said:
        raise BadParameter("missing 'cron' argument")
    if len(set(said)) > 1:
        raise BadParameter(f"invalid value for cron: {whole!r} is not what {', '.join(sorted(parts))} say")
    return said[0]


def _part(name: str, value: Any) -> str:
    listed = [text(name, each) for each in (value if isinstance(value, list) else [value])]
    part = ",".join(listed)
    if not part or part.split() != [part]:
        raise BadParameter(f"invalid value for {name}: {part[:50]!r} is no field of a cron expression")
    return part


def _enabled(values: Mapping[str, Any], old: Plan | None) -> dict[str, bool]:
    said = set()
    if values.get("enabled") is not None:
        said.add(_flag("enabled", values["enabled"]))
    if values.get("disabled") is not None:
        said.add(not _flag("disabled", values["disabled"]))
    if len(said) > 1:
        if old is None:
            raise BadParameter("invalid value for enabled: disabled says the same")
        said.discard(old.enabled)
    return {"enabled": said.pop()} if said else {}


def _flag(name: str, value: Any) -> bool:
    word = str(value).lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", ""):
        return False
    raise BadParameter(f"invalid value for {name}: {word[:50]!r} is neither true nor false")


def _timezone(name: str, value: Any) -> str:
    return crons.check_zone(text(name, value)) if value != "" else "UTC"


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        word = str(value) if not isinstance(value, float) or value % 1 else str(int(value))
        if not (word.isascii() and word.isdigit() and len(word) <= 9 and low <= int(word) <= high):
            raise BadParameter(
                f"invalid value for {name}: {word[:50]!r} is not a number from {low} to {high}"
            )
        return int(word)

    return read


_PRIORITY = _integer(0, 4)


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if value not in allowed:
            raise BadParameter(f"invalid value for {name}: {str(value)[:50]!r} is not {' or '.join(allowed)}")
        return str(value)

    return read


def _tags(name: str, value: Any) -> list[str]:
    tags = [text(name, each) for each in (value if isinstance(value, list) else [value])]
    if "" in tags:
        raise BadParameter(f"invalid value for {name}: empty")
    if len(tags) > MOST_TAGS:
        raise BadParameter(f"invalid value for {name}: more than {MOST_TAGS}")
    return list(dict.fromkeys(tags))


def _object(name: str, value: Any) -> dict[str, Any]:
    """A JSON object, as it is or as the text of one."""
    if isinstance(value, str):
        try:
            value = plain(name, orjson.loads(value or "{}"))
        except orjson.JSONDecodeError:
            raise BadParameter(f"invalid value for {name}: not JSON") from None
    if not isinstance(value, dict):
        raise BadParameter(f"invalid value for {name}: not a JSON object")
    if len(orjson.dumps(value)) > JSON_LENGTH:
        raise BadParameter(f"invalid value for {name}: longer than {JSON_LENGTH} characters")
    return value


def _settings(name: str, value: Any) -> dict[str, Any] | None:
    return _object(name, value) or None


def _args(name: str, value: Any) -> dict[str, str]:
    found = {}
    for key, each in _object(name, value).items():
        if "=" in key or not 1 <= len(key) <= NAME_LENGTH:  # the spider's command line has name=value
            raise BadParameter(f"invalid value for {name}: {key[:50]!r} is no name of an argument")
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise BadParameter(f"invalid value for {name}: {key[:50]} is neither a text nor a number")
        found[key] = str(each)
    return found


def _spiders(name: str, value: Any) -> list[dict[str, Any]]:
    """A list of objects, or of names; one of them may stand for itself, and JSON for what it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = plain(name, orjson.loads(value))
        except orjson.JSONDecodeError:
            raise BadParameter(f"invalid value for {name}: not JSON") from None
    listed = value if isinstance(value, list) else [value]
    if not 1 <= len(listed) <= MOST_SPIDERS:
        raise BadParameter(f"invalid value for {name}: 1 to {MOST_SPIDERS} spiders")
    return [_spider(name, each) for each in listed]


def _spider(name: str, value: Any) -> dict[str, Any]:
    """One spider as it is stored: ``name``, and what was given of ``args``, ``priority``, ``tags``."""
    given = {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else {}
    given = given or {"name": value}
    for key in sorted(set(given) - {"name", "args", "priority", "addtags"}):
        raise BadParameter(f"invalid value for {name}: unknown field {key[:50]}")
    found: dict[str, Any] = {"name": text(f"{name}.name", given.get("name"))}
    if not found["name"]:
        raise BadParameter(f"invalid value for {name}.name: empty")
    if args := _args(f"{name}.args", given.get("args", {})):
        found["args"] = args
    if given.get("priority", "") != "":
        found["priority"] = _PRIORITY(f"{name}.priority", given["priority"])
    if tags := _tags(f"{name}.addtags", given.get("addtags", [])):
        found["tags"] = tags
    return found


_READERS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "description": ("description", text),
    "timezone": ("timezone", _timezone),
    "jitter": ("jitter_seconds", _integer(0, MOST_JITTER)),
    "overlap": ("overlap", _choice(*Overlap)),
    "missed": ("missed", _choice(*Missed)),
    "spiders": ("spiders", _spiders),
    "job_settings": ("job_settings", _settings),
    "addtags": ("tags", _tags),
    "priority": ("priority", _PRIORITY),
}
_DEFAULTS = Plan("", []).columns()
