"""A long answer: what fails before its first part is an error; what fails later cuts the answer off."""

import logging
import time
from collections.abc import Iterator, Mapping
from itertools import chain

from sqlalchemy.exc import OperationalError
from starlette.responses import StreamingResponse
from starlette.types import Send

from app.errors import Unavailable

log = logging.getLogger(__name__)

PART_BYTES = 1 << 18
PART_SECONDS = 0.1


class Stream(StreamingResponse):
    """Parts of an answer, made as the client takes them; the first one at once, by whoever makes this."""

    def __init__(
        self, parts: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        parts = joined(parts)
        super().__init__(chain([next(parts, b"")], parts), headers=headers, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Without the last message the server closes the line: the client sees that it has not got all."""
        try:
            await super().stream_response(send)
        except (Unavailable, OperationalError) as error:
            log.warning("an answer was cut off: %s", str(error).partition("\n")[0])


def joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Larger parts, as each one costs a change of threads; the first one and slow ones wait for no others."""
    waiting: list[bytes] = []
    size, began = PART_BYTES, time.monotonic()
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PART_BYTES or time.monotonic() - began > PART_SECONDS:
            yield _emptied(waiting)
            size, began = 0, time.monotonic()
    if waiting:
        yield _emptied(waiting)


def _emptied(parts: list[bytes]) -> bytes:
    """All of them as one, of which nothing else keeps a copy while a slow client takes it."""
    whole = b"".join(parts)
    parts.clear()
    return whole
