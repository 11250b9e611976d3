"""A long answer: what fails before its first part is an error; what fails later cuts the answer off."""

import logging
from collections.abc import Iterator, Mapping
from itertools import chain

from sqlalchemy.exc import OperationalError
from starlette.responses import StreamingResponse
from starlette.types import Send

from app.errors import Unavailable

log = logging.getLogger(__name__)


class Stream(StreamingResponse):
    """Parts of an answer, made as the client takes them; the first one at once, by whoever makes this."""

    def __init__(
        self, parts: Iterator[bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(chain([next(parts, b"")], parts), headers=headers, media_type=media_type)

    async def stream_response(self, send: Send) -> None:
        """Without the last message the server closes the line: the client sees that it has not got all."""
        try:
            await super().stream_response(send)
        except (Unavailable, OperationalError) as error:
            log.warning("an answer was cut off: %s", str(error).partition("\n")[0])
