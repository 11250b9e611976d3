"""Paths as they came: an encoded slash belongs to its segment, one at the end means nothing."""

from urllib.parse import unquote_to_bytes

from starlette.convertors import Convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import BadParameter


class Segment(Convertor[str]):
    """One path segment, decoded by itself: an encoded slash belongs to it."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """What the segment says; that it is UTF-8 is looked at when the caller is known."""
        return unquote_to_bytes(value).decode("utf-8", "replace")

    def to_string(self, value: str) -> str:
        """Required by Starlette, which builds URLs with it; nobody asks for that here."""
        raise NotImplementedError


class RawPaths:
    """Routes by the path as it came, percent-encoded, and without a slash at its end (contract 5.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
            # An empty key there would mean the whole collection.
            if scope["method"] != "DELETE" or not raw.startswith(b"/collections/"):
                raw = raw.rstrip(b"/") or b"/"
            scope = {**scope, "raw_path": raw, "path": raw.decode("latin-1")}
        await self.app(scope, receive, send)


def rest(path: str, start: int, name: str) -> str:
    """The segments from the one at ``start`` on as one name: clients do not encode its slashes.

    Raises:
        BadParameter: it has a NUL; ``name`` says in what.

    """
    text = unquote_to_bytes("/".join(path.strip("/").split("/")[start:])).decode()
    if "\0" in text:
        raise BadParameter(f"invalid value for {name}: NUL character")
    return text
