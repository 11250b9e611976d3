"""JSON lines: coming in, bounded, and forgiving where Python's own JSON is no JSON; and going out. Pure."""

import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import orjson

from app.errors import BadParameter, TooLarge

LARGEST_VALUE = 1 << 20  # bytes of one value, contract 5.11


def lines(data: IO[bytes], limit: int) -> Iterator[bytes]:
    """The lines of ``data``, without blank ones.

    Args:
        limit: bytes of all lines together.

    Raises:
        BadParameter: ``data`` is compressed and broken.
        TooLarge: a line, or all together, are over the limit.

    """
    size = 0
    try:
        while line := data.readline(LARGEST_VALUE + 2):
            size += len(line)
            if size > limit:
                raise TooLarge(f"Error parsing data, the request body is larger than {limit} bytes")
            if line := line.strip():
                if len(line) > LARGEST_VALUE:
                    raise TooLarge(
                        f"Error parsing data, Serialized value too large - max {LARGEST_VALUE} bytes"
                    )
                yield line
    except (EOFError, OSError, zlib.error) as error:
        raise BadParameter(f"Error parsing data, the gzip body is broken: {error}") from None


def parse(line: bytes, place: int) -> tuple[bytes, Any]:
    """A line as it can be stored, and its value.

    Raises:
        BadParameter: it is no JSON; ``place`` is the line's number for the message.

    """
    try:
        return line, orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return lenient(line)
        except ValueError:
            shown = line[:100].decode("utf-8", "replace")
            raise BadParameter(f"Error parsing data, invalid JSON in line {place}: {shown}") from None


def lenient(line: bytes) -> tuple[bytes, Any]:
    """What Python wrote and is no JSON: NaN and infinities become null, lone surrogates '?'.

    Returns: the line as others can read it, and its value as they see it.

    Raises:
        ValueError: it is nothing that Python reads as JSON, or is nested too deeply to be written.

    """
    try:
        value = json.loads(line)
        try:
            line = orjson.dumps(value)
        except orjson.JSONEncodeError:
            line = json.dumps(_cleaned(value)).encode()
        return line, orjson.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """A value as one line, to be kept: in no more memory than it needs.

    What orjson gives has one or two pages of its own, 4 or 8 KB, until it is freed.

    Raises:
        BadParameter: it is nested too deeply.

    """
    try:
        return bytes(memoryview(orjson.dumps(value)))
    except orjson.JSONEncodeError:  # it reads deeper nesting than it writes
        raise BadParameter("Error parsing data, nested too deeply") from None


def written(values: Iterable[Any]) -> bytes:
    """Values as JSON lines, in one buffer: pages for each (see ``dumps``) take longer than its JSON."""
    text = bytearray()
    for value in values:
        text += orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return bytes(text)


def value_json(value: Any) -> bytes:
    """A value as JSON that can still be written when it stands inside of a few others.

    Raises:
        BadParameter: it is nested too deeply.
        TooLarge: it is larger than one value may be.

    """
    dumps([[[[value]]]])
    json = dumps(value)
    if len(json) > LARGEST_VALUE:
        raise TooLarge(f"Error parsing data, Serialized value too large - max {LARGEST_VALUE} bytes")
    return json


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int | float):
        # False for NaN, infinities, and integers that are infinite to whoever reads them as doubles.
        return value if -sys.float_info.max <= value <= sys.float_info.max else None
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(each) for name, each in value.items()}
    return value
