"""What all storage calls share: who asks, the body as lines, answers, errors (contract 5)."""

import gzip
import io
import logging
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Annotated, Any
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.convertors import register_url_convertor
from starlette.responses import Response

from app import jsonlines
from app.api.body import Body, read_query
from app.api.params import Params
from app.api.storage.paths import Segment
from app.api.streams import Stream, joined
from app.auth import JobPrincipal, Principal, authenticate, authenticate_job, basic
from app.db import reading
from app.errors import (
    BadParameter,
    NoAccess,
    NotFound,
    TooLarge,
)
from app.keys import JobKey, number
from app.settings import settings

log = logging.getLogger(__name__)

register_url_convertor("segment", Segment())  # before any route is made

JL = "application/x-jsonlines; charset=UTF-8"
JSON = "application/json; charset=UTF-8"
TEXT = "text/plain; charset=UTF-8"

HINT = "; the dash API is below /api/ (with the slash at its end)"
LARGEST_WHOLE = 4 << 20  # bytes of a body that is one value, however it was compressed
SMALL = 1 << 20  # bytes of a body that is read before its sender is known


@dataclass
class Call:
    """A request to the storage API."""

    query: Body
    credentials: tuple[str, str] | None  # of HTTP Basic
    accept: str
    gzip: bool  # may the answer be compressed?
    path: str  # percent-encoded, as it came
    encoding: str = "identity"  # of the body
    content_range: str | None = None
    upload: IO[bytes] | None = None  # the body, as it came

    @property
    def params(self) -> Params:
        """The parameters of the query string."""
        return Params(self.query)

    def lines(self) -> Iterator[bytes]:
        """The body's lines, decompressed, one at a time; blank ones are passed over.

        Raises:
            BadParameter: the body cannot be decompressed.
            TooLarge: a line is longer than one value may be, or the whole is over the limit.

        """
        yield from jsonlines.lines(self._plain(), settings().storage_mb << 20)

    def values(self) -> Iterator[Any]:
        """The body's lines as JSON.

        Raises:
            BadParameter: a line is no JSON; and as ``lines``.

        """
        for place, line in enumerate(self.lines(), 1):
            yield jsonlines.parse(line, place)[1]

    def value(self, default: Any = None) -> Any:
        """The body as one JSON value, which may have line breaks inside; ``default`` when it is empty.

        Raises:
            BadParameter: it is no JSON; and as ``lines``.

        """
        whole = bytearray()
        for line in self.lines():
            whole += line + b"\n"
            if len(whole) > LARGEST_WHOLE:
                raise TooLarge(f"Error parsing data, Serialized value too large - max {LARGEST_WHOLE} bytes")
        return jsonlines.parse(bytes(whole).strip(), 1)[1] if whole else default

    def object(self) -> dict[str, Any]:
        """The body as one JSON object; empty when the body is."""
        value = self.value({})
        if not isinstance(value, dict):
            raise BadParameter("Error parsing data, not a JSON object")
        return value

    def segments(self, start: int) -> list[str]:
        """The path's segments from the one at ``start``, each decoded by itself: %2F is no separator."""
        parts = self.path.strip("/").split("/")[start:]
        return [unquote_to_bytes(part).decode() for part in parts]

    def _plain(self) -> IO[bytes]:
        assert self.upload is not None
        self.upload.seek(0)
        if self.encoding in ("identity", ""):
            return self.upload
        if self.encoding == "gzip":
            return io.BufferedReader(gzip.GzipFile(mode="rb", fileobj=self.upload), 1 << 16)
        raise BadParameter(f"unsupported content encoding: {self.encoding[:50]}; send gzip or identity")


async def read_call(request: Request) -> AsyncIterator[Call]:
    """The request as a ``Call``; its body waits in a file, so that memory stays small."""
    headers = request.headers
    call = Call(
        query=read_query(request),
        credentials=basic(headers.get("authorization")),
        accept=headers.get("accept", ""),
        gzip=reads_gzip(headers.get("accept-encoding", "")),
        path=raw_path(request),
        encoding=headers.get("content-encoding", "identity").strip().lower(),
        content_range=headers.get("content-range"),
    )
    try:
        unquote_to_bytes(call.path).decode()
    except UnicodeDecodeError:
        call.query.problem = BadParameter("the path is not UTF-8")
    if request.method not in ("POST", "PUT", "PATCH"):
        yield call
        return
    length = headers.get("content-length", "")
    if not length.isdigit() or int(length) > SMALL:
        await run_in_threadpool(_check, call)  # a stranger cannot make us take much
    with tempfile.SpooledTemporaryFile(SMALL) as spool:
        size, limit = 0, settings().storage_mb << 20
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise TooLarge(f"Error parsing data, the request body is larger than {limit} bytes")
            spool.write(part)
        call.upload = spool
        yield call


def reads_gzip(accepted: str) -> bool:
    """Does an Accept-Encoding header name gzip, and not to exclude it?"""
    for part in accepted.lower().replace(" ", "").split(","):
        name, _, quality = part.partition(";q=")
        if name == "gzip":
            return _float(quality) > 0
    return False


def raw_path(request: Request) -> str:
    """The path as it came, percent-encoded."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


Caller = Annotated[Call, Depends(read_call)]


def _check(call: Call) -> None:
    with reading() as session:
        who(session, call)


def who(session: Session, call: Call) -> Principal | JobPrincipal:
    """Authenticate (contract 5.2), then complain about what could not be read.

    Raises:
        NotAuthenticated: no or bad credentials; before anything else is looked at.

    """
    principal: Principal | JobPrincipal | None = None
    if call.credentials and "/" in call.credentials[0]:
        principal = authenticate_job(session, *call.credentials)
    if principal is None:
        key = (call.credentials[0] if call.credentials else "") or call.query.key
        principal = authenticate(session, key, call.query.login)
    if call.query.problem is not None:
        raise call.query.problem
    return principal


def enter(session: Session, call: Call, project: str, *, shared: bool = False) -> tuple[str, int]:
    """Let the caller into a project; returns their name and the project's id.

    Args:
        shared: a running job of the project may enter too (collections, frontier).

    Raises:
        NotAuthenticated, NoAccess, BadParameter: as the names say, in this order of precedence.

    """
    principal = who(session, call)
    if project.endswith((".json", ".jl")):
        raise NotFound(f"no such path: {call.path[:200]}{HINT}")
    project_id = number(project, "project")
    if isinstance(principal, Principal):
        principal.enter(session, project_id)
    elif not shared or principal.key.project != project_id:
        raise NoAccess(principal.name, project_id)
    return principal.name, project_id


def enter_job(session: Session, call: Call, *parts: str) -> tuple[Principal | JobPrincipal, JobKey]:
    """Let the caller to a job: ``parts`` are project, spider and job of the path. The job itself may enter.

    Raises:
        NotAuthenticated, NoAccess, BadParameter: as ``enter``.

    """
    principal = who(session, call)
    key = JobKey.parse("/".join(parts))
    if isinstance(principal, Principal):
        principal.enter(session, key.project)
    elif principal.key != key:
        raise NoAccess(principal.name, key.project)
    return principal, key


def project_admin(session: Session, call: Call) -> Principal:
    """The caller, who must have an admin key.

    Raises:
        NoAccess: they have another.

    """
    principal = who(session, call)
    if not isinstance(principal, Principal) or not principal.admin:
        raise NoAccess(principal.name, 0)
    return principal


# Answers


def empty() -> Response:
    """The answer to a write (contract 5.6)."""
    return Response(b"", media_type=TEXT)


def json_value(value: Any, status: int = 200) -> Response:
    """One JSON value."""
    return Response(orjson.dumps(value), status, media_type=JSON)


def rows(call: Call, values: Iterable[Any]) -> Response:
    """JSON lines, or one JSON array when that is asked for; nothing else (contract 5.4)."""
    if wants(call, ("jl", "json")) == "json":
        return json_value(list(values))
    return Response(jsonlines.written(values), media_type=JL)


def stream(call: Call, parts: Iterator[bytes], kind: str) -> Response:
    """A long answer, compressed when the caller can read that."""
    headers = {}
    if name := call.params.maybe("saveas"):
        if not name.isascii() or not name.isprintable() or set(name) & set('"\\/;'):
            raise BadParameter(f"invalid value for saveas: {name}")
        headers["Content-Disposition"] = f"Attachment; filename={name}"
    if call.gzip:
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        parts = _compressed(joined(parts))
    return Stream(parts, kind, headers)


def _compressed(parts: Iterator[bytes]) -> Iterator[bytes]:
    # Level 1: on a fast line more would take longer than it saves.
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for part in filter(None, parts):
        # Each part reaches the reader, who may be waiting for a running job's newest records.
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


FORMATS = {
    "json": "application/json",
    "jl": "application/x-jsonlines",
    "msgpack": "application/x-msgpack",
    "csv": "text/csv",
    "xml": "application/xml",
    "text": "text/plain",
}


def wants(call: Call, offered: tuple[str, ...]) -> str:
    """The format to answer in: the parameter ``format``, else the first that Accept names, else JSON lines.

    Raises:
        BadParameter: ``format`` is none that the resource has.

    """
    named = call.params.maybe("format")
    if named is not None:
        if named not in offered:
            raise BadParameter(f"invalid value for format: {named}; one of {', '.join(offered)}")
        return named
    accepted = []
    for place, part in enumerate(call.accept.split(",")):
        kind, _, options = part.partition(";")
        _, _, quality = options.replace(" ", "").partition("q=")
        if (weight := _float(quality)) > 0:
            accepted.append((-weight, place, kind.strip().lower()))
    for _, _, kind in sorted(accepted):
        for name in offered:
            if kind == FORMATS[name] or (kind, name) == ("text/xml", "xml"):
                return name
        if kind == "*/*":
            break
    return "jl"


def _float(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
