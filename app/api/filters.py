"""The ``filter`` parameter: which records to answer (contract 5.9)."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from app.api.params import Params
from app.errors import BadParameter

Test = Callable[[Any], bool]
MISSING = object()
PATTERN_LENGTH = 1000  # characters of a regular expression


def read(params: Params) -> Test | None:
    """A test of records that all ``filter`` parameters must let pass; None when there are none.

    Raises:
        BadParameter: one is not ``["field", "operator", [arguments]]``.

    """
    tests = list(_tests(params))
    return (lambda record: all(test(record) for test in tests)) if tests else None


def _tests(params: Params) -> Iterator[Test]:
    for name, every in (("filter", None), ("filterany", any), ("filterall", all)):
        for text in params.long(name):
            try:
                field, operator, arguments = orjson.loads(text)
                test = OPERATORS[operator](arguments)
                if not isinstance(field, str):
                    raise TypeError
            except (ValueError, TypeError, KeyError, IndexError, re.error):
                raise BadParameter(f"invalid value for {name}: {text[:200]}") from None
            yield _of(field, test if every is None else _elements(test, every))


def _of(field: str, test: Test) -> Test:
    return lambda record: test(record.get(field, MISSING) if isinstance(record, Mapping) else MISSING)


def _elements(test: Test, every: Callable[[Iterator[bool]], bool]) -> Test:
    return lambda value: isinstance(value, list) and every(test(each) for each in value)


def _compare(holds: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Test]:
    def make(arguments: list[Any]) -> Test:
        wanted = arguments[0]

        def test(value: Any) -> bool:
            if value is MISSING:
                return False
            try:
                return holds(_like(value, wanted), wanted)
            except TypeError:
                return False

        return test

    return make


def _like(value: Any, wanted: Any) -> Any:
    """The value converted towards the type it is compared with, where that is possible."""
    if isinstance(wanted, bool) or type(value) is type(wanted):
        return value
    try:
        if isinstance(wanted, int | float) and isinstance(value, str):
            return float(value)
    except ValueError:
        return value
    return str(value) if isinstance(wanted, str) and isinstance(value, int | float) else value


def _text(holds: Callable[[str, str], bool]) -> Callable[[list[Any]], Test]:
    def make(arguments: list[Any]) -> Test:
        wanted = str(arguments[0])
        return lambda value: isinstance(value, str) and holds(value, wanted)

    return make


def _matches(arguments: list[Any]) -> Test:
    if len(arguments[0]) > PATTERN_LENGTH:
        raise ValueError
    pattern = re.compile(arguments[0])
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


def _has(expected: bool) -> Callable[[list[Any]], Test]:
    return lambda arguments: (
        lambda value: isinstance(value, list) and any(each in arguments for each in value) is expected
    )


def _is_empty(expected: bool) -> Callable[[list[Any]], Test]:
    return lambda arguments: (
        lambda value: isinstance(value, str | list | dict) and (len(value) == 0) is expected
    )


def _not_equal(value: Any, wanted: Any) -> bool:
    return bool(value != wanted)


OPERATORS: dict[str, Callable[[list[Any]], Test]] = {
    "=": _compare(lambda value, wanted: value == wanted),
    "!=": _compare(_not_equal),
    "<": _compare(lambda value, wanted: value < wanted),
    ">": _compare(lambda value, wanted: value > wanted),
    "<=": _compare(lambda value, wanted: value <= wanted),
    ">=": _compare(lambda value, wanted: value >= wanted),
    "exists": lambda arguments: lambda value: value is not MISSING,
    "notexists": lambda arguments: lambda value: value is MISSING,
    "contains": _text(lambda value, wanted: wanted in value),
    "icontains": _text(lambda value, wanted: wanted.lower() in value.lower()),
    "isempty": _is_empty(True),
    "isnotempty": _is_empty(False),
    "matches": _matches,
    "haselement": _has(True),
    "hasnotelement": _has(False),
}
