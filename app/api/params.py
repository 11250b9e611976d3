"""Wire parameters: what an endpoint takes, its description for OpenAPI, and reading it from a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.api.body import Body
from app.errors import BadParameter
from app.keys import DIGITS, LARGEST, JobKey, number

NAME_LENGTH = 255  # characters of a spider's name, a tag, an argument's name
ARGS_LENGTH = 256 << 10  # characters of all spider arguments, or of one JSON object


@dataclass(frozen=True)
class Param:
    """One parameter of an endpoint."""

    name: str
    description: str
    required: bool = False
    repeat: bool = False
    type: str = "string"  # of the OpenAPI document; "file" is an upload
    values: Sequence[str] = ()  # all that are allowed, when they are few

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the parameter."""
        schema: dict[str, Any] = (
            {"type": "string", "format": "binary"} if self.type == "file" else {"type": self.type}
        )
        if self.values:
            schema["enum"] = list(self.values)
        return {"type": "array", "items": schema} if self.repeat else schema


APIKEY = Param("apikey", "the API key, instead of HTTP Basic")


def describe(*params: Param) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint that takes its parameters from the query string."""
    return {
        "parameters": [
            {
                "name": each.name,
                "in": "query",
                "required": each.required,
                "description": each.description,
                "schema": each.schema,
                **({"explode": True, "style": "form"} if each.repeat else {}),
            }
            for each in (*params, APIKEY)
        ]
    }


def describe_form(*params: Param, more: str = "") -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint that takes a form; ``more`` says what other names mean."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": [each.name for each in params if each.required],
        "properties": {
            each.name: {**each.schema, "description": each.description} for each in (*params, APIKEY)
        },
        "additionalProperties": {"type": "string", "description": more} if more else True,
    }
    files = any(each.type == "file" for each in params)
    kinds = (
        ("multipart/form-data",) if files else ("application/x-www-form-urlencoded", "multipart/form-data")
    )
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


def describe_lines(kind: str, *params: Param) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint that takes JSON lines, each of them a JSON ``kind``."""
    lines = {"schema": {"type": "array", "items": {"type": kind}}}
    body = {"required": True, "content": {"application/x-jsonlines": lines}}
    return {**describe(*params), "requestBody": body}


class Params:
    """Reads typed values out of a ``Body``; every error names the parameter."""

    def __init__(self, body: Body) -> None:
        self._params = body.params
        self._files = body.files

    def text(self, name: str, *, length: int = NAME_LENGTH) -> str:
        """A required, non-empty value."""
        value = self.maybe(name, length=length)
        if not value:
            raise BadParameter(f"missing '{name}' argument")
        return value

    def maybe(self, name: str, *, length: int = NAME_LENGTH) -> str | None:
        """An optional value; given twice it must be the same both times."""
        values = set(self._params.get(name, ()))
        if len(values) > 1:
            raise BadParameter(f"invalid value for {name}: given more than once")
        value = next(iter(values), None)
        if value is not None and len(value) > length:
            raise BadParameter(f"invalid value for {name}: longer than {length} characters")
        return value

    def many(self, name: str) -> list[str]:
        """All values of a repeatable parameter, in the order sent; none may be empty or over-long."""
        values = self._params.get(name, [])
        for value in values:
            if not value:
                raise BadParameter(f"invalid value for {name}: empty")
            if len(value) > NAME_LENGTH:
                raise BadParameter(f"invalid value for {name}: longer than {NAME_LENGTH} characters")
        return values

    def long(self, name: str) -> list[str]:
        """All values of a repeatable parameter that may be long, as filters are."""
        values = self._params.get(name, [])
        if any(len(value) > ARGS_LENGTH for value in values):
            raise BadParameter(f"invalid value for {name}: longer than {ARGS_LENGTH} characters")
        return values

    def moment(self, name: str) -> int | None:
        """An optional time in milliseconds, or another large count."""
        text = self.maybe(name)
        if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise BadParameter(f"invalid value for {name}: {text[:200]}")
        return None if text is None else int(text)

    def without(self, *names: str) -> "Params":
        """The same without these parameters."""
        kept = {name: values for name, values in self._params.items() if name not in names}
        return Params(Body(params=kept))

    def with_value(self, name: str, value: str | None) -> "Params":
        """The same, with this value of ``name`` in place of others, unless it is None."""
        return self if value is None else Params(Body(params={**self._params, name: [value]}))

    def flag(self, name: str) -> bool:
        """Is ``name`` given as 1, y, Y, or true?"""
        return (self.maybe(name) or "").lower() in ("1", "y", "yes", "true")

    def project(self) -> int:
        """The required ``project``."""
        return number(self.text("project"), "project")

    def integer(self, name: str, default: int, low: int = -LARGEST, high: int = LARGEST) -> int:
        """An optional whole number between ``low`` and ``high``."""
        text = self.maybe(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        plain = digits.isascii() and digits.isdigit() and len(digits) <= DIGITS
        if not plain or not low <= int(text) <= high:
            raise BadParameter(f"invalid value for {name}: {text[:200]}")
        return int(text)

    def choice(self, name: str, allowed: Sequence[str]) -> list[str]:
        """All values of ``name``; each must be one of ``allowed``."""
        for value in self.many(name):
            if value not in allowed:
                raise BadParameter(f"invalid value for {name}: {value[:200]}")
        return self.many(name)

    def job_keys(self, name: str, project: int, *, required: bool = False) -> list[JobKey]:
        """Keys of jobs, all of the project."""
        keys = [JobKey.parse(value, name) for value in self.many(name)]
        for key in keys:
            if key.project != project:
                raise BadParameter(f"invalid value for {name}: {key} is not a job of project {project}")
        if required and not keys:
            raise BadParameter(f"missing '{name}' argument")
        return keys

    def job_key(self, name: str, project: int) -> JobKey | None:
        """The key of one job of the project, or none."""
        return None if self.maybe(name) is None else self.job_keys(name, project)[0]

    def json_object(self, name: str) -> dict[str, Any]:
        """A JSON object written as text; nothing, or ``{}``, means none."""
        text = self.maybe(name, length=ARGS_LENGTH)
        if not text:
            return {}
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise BadParameter(f"invalid value for {name}: not JSON") from None
        if not isinstance(value, dict):
            raise BadParameter(f"invalid value for {name}: not a JSON object")
        if "\\u0000" in text:
            raise BadParameter(f"invalid value for {name}: NUL character")
        try:
            orjson.dumps(value)
        except TypeError:  # it reads deeper nesting than it writes
            raise BadParameter(f"invalid value for {name}: nested too deeply") from None
        return value

    def others(self, known: Sequence[Param]) -> dict[str, str]:
        """All that has another name, as spider arguments; of a repeated one the last (contract 13.18)."""
        names = {each.name for each in known} | {APIKEY.name}
        found = {name: values[-1] for name, values in self._params.items() if name not in names}
        check_args(found)
        return found

    def files(self, name: str, *, required: bool = False) -> list[tuple[str, bytes]]:
        """Uploaded files: (file name, data)."""
        found = self._files.get(name, [])
        if required and not found:
            raise BadParameter(f"missing '{name}' argument")
        return found


def check_args(found: dict[str, str]) -> None:
    """Refuse spider arguments that no spider can be given.

    Raises:
        BadParameter: a name has a =, or is too long, or all are together.

    """
    for name in found:
        if "=" in name:  # the spider's command line has name=value
            raise BadParameter(f"invalid argument {name[:50]}: a name has no =")
        if len(name) > NAME_LENGTH:
            raise BadParameter(
                f"invalid argument {name[:50]}…: its name is longer than {NAME_LENGTH} characters"
            )
    if sum(len(name) + len(value) for name, value in found.items()) > ARGS_LENGTH:
        raise BadParameter(f"the spider arguments are longer than {ARGS_LENGTH} characters")
