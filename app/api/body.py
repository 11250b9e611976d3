"""What a request carries: query string, form or multipart body, credentials; decoded strictly as UTF-8.

Starlette's own form parsing replaces bytes that are not UTF-8; here they are an error that names the
parameter, and nothing is changed.
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from app.auth import COOKIE, basic
from app.errors import BadParameter, CrawldockError, TooLarge
from app.settings import settings

log = logging.getLogger(__name__)

FORM_BYTES = 4 << 20  # of a body that is not an upload
KEYS = ("key", "prefix", "start", "startafter")  # of records in collections, which are bytes to the database
WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
MOST_PARAMETERS = 10_000  # 1,000 jobs can be named in one call, ten times over; SQLite binds 32,766 values


@dataclass
class Body:
    """The parameters of a request by name, in the order sent, and the files of an upload.

    A body that cannot be read is kept as ``problem`` until the sender has been authenticated: a bad
    key with bad parameters is about the key (contract 2.1).
    """

    params: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)  # (file name, data)
    objects: set[str] = field(default_factory=set)  # which params are the text of a JSON object
    whole: dict[str, Any] | None = None  # a JSON object as it was sent, where that is asked for
    key: str | None = None
    login: str | None = None  # of a signed-in browser, which may read with it
    problem: CrawldockError | None = None
    size: int = 0  # parameters so far
    with_nul: Sequence[str] = ()  # names of those whose values may have NUL characters


async def render_gone(request: Request, error: Exception) -> Response:
    """Exception handler of each face: the client left while it was sending; nothing was changed."""
    log.info("%r: the client left while it was sending", request.url.path)
    return Response(status_code=400)


async def read_body(request: Request) -> Body:
    """Read query string and body of a request; never raises a CrawldockError, see ``Body.problem``."""
    return await _read(request, json=False)


async def read_json_body(request: Request) -> Body:
    """As ``read_body``; the body may also be a JSON object, whose fields are the parameters then."""
    return await _read(request, json=True)


async def read_whole_json(request: Request) -> Body:
    """As ``read_body``; a JSON object is kept as it is in ``Body.whole``, else the parameters are."""
    body = await _read(request, json=True, whole=True)
    values = {name: found[0] if len(found) == 1 else found for name, found in body.params.items()}
    body.whole = {**values, **(body.whole or {})}
    return body


async def _read(request: Request, *, json: bool, whole: bool = False) -> Body:
    user, _ = basic(request.headers.get("authorization")) or (None, "")
    body = Body(key=user, login=_login(request))
    try:
        _add(body, request.scope["query_string"])
        if request.method in WITH_BODY:
            await _read_form(body, request, json=json, whole=whole)
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        _text(unquote_to_bytes(raw), "the path")
    except CrawldockError as problem:
        body.problem = body.problem or problem
    body.key = body.key or next(iter(body.params.pop("apikey", [])), None)
    return body


def _login(request: Request) -> str | None:
    """Of a browser, for reading alone: a form on a page of others can make it send what changes things."""
    return request.cookies.get(COOKIE) if request.method == "GET" else None


def read_query(request: Request) -> Body:
    """Read the query string alone; never raises a CrawldockError, see ``Body.problem``."""
    body = Body(with_nul=KEYS, login=_login(request))
    try:
        _add(body, request.scope["query_string"])
    except CrawldockError as problem:
        body.problem = body.problem or problem
    body.key = next(iter(body.params.pop("apikey", [])), None)
    return body


async def _read_form(body: Body, request: Request, *, json: bool, whole: bool) -> None:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        await _read_multipart(body, request, options.get(b"boundary", b""))
        return
    data = b"".join([part async for part in _limited(request, FORM_BYTES)])
    if json and kind == b"application/json":
        fields = _json_fields(data)
        if whole:
            body.whole, key = fields, fields.pop("apikey", None)
            body.key = body.key or (key if isinstance(key, str) else None)
        else:
            _add_json(body, fields)
        return
    if data and kind not in (b"", b"application/x-www-form-urlencoded"):
        raise BadParameter(f"unsupported content type: {kind.decode('latin-1')[:100]}; send a form")
    _add(body, data)


def _json_fields(data: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        raise BadParameter("malformed JSON body") from None
    if not isinstance(fields, dict):
        raise BadParameter("malformed JSON body: not an object")
    return fields


def _add_json(body: Body, fields: dict[str, Any]) -> None:
    """Add the fields of a JSON object; null, an empty list and an empty object mean nothing given."""
    for name, value in fields.items():
        many = isinstance(value, list)
        for each in value if many else [value]:
            if many and (each is None or isinstance(each, list | dict)):
                raise BadParameter(f"invalid value for {name[:200]}: a list of something else than texts")
            if isinstance(each, dict) and each:
                body.objects.add(name)
            if each is not None and each != {}:
                _put(body, name.encode(), each.encode() if isinstance(each, str) else _dumped(name, each))


def _dumped(name: str, value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # it reads deeper nesting than it writes
        raise BadParameter(f"invalid value for {name[:200]}: nested too deeply") from None


async def _read_multipart(body: Body, request: Request, boundary: bytes) -> None:
    if not boundary:
        raise BadParameter("malformed multipart body: no boundary")
    # Latin-1 keeps every byte, so that fields can be decoded strictly below.
    kind = b"multipart/form-data; charset=latin-1; boundary=" + boundary
    headers = Headers(raw=[(b"content-type", kind)])
    closing, tail = b"--" + boundary + b"--", bytearray()

    async def watched() -> AsyncGenerator[bytes, None]:
        async for part in _limited(request, settings().upload_mb << 20):
            tail[:] = (tail + part)[-len(closing) - 100 :]
            yield part

    parser = MultiPartParser(headers, watched(), max_part_size=FORM_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadParameter(f"malformed multipart body: {error.message}") from None
    try:
        if closing not in tail:  # the parser would pass over what is missing
            raise BadParameter("malformed multipart body: cut off")
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                _put(body, name.encode("latin-1"), value.encode("latin-1"))
            elif pair := _pair(body, name.encode("latin-1"), (value.filename or "").encode("latin-1")):
                body.files.setdefault(pair[0], []).append((pair[1], await value.read()))
    finally:
        await form.close()


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the request body is larger than {limit >> 20} MB")
        yield part


def _add(body: Body, form: bytes) -> None:
    """Add the pairs of a URL-encoded form."""
    for pair in form.split(b"&") if form else ():
        raw_name, _, raw_value = pair.replace(b"+", b" ").partition(b"=")
        if pair:
            _put(body, unquote_to_bytes(raw_name), unquote_to_bytes(raw_value))


def _put(body: Body, raw_name: bytes, raw_value: bytes) -> None:
    body.size += 1
    if body.size > MOST_PARAMETERS:
        raise BadParameter(f"more than {MOST_PARAMETERS} parameters")
    if pair := _pair(body, raw_name, raw_value):
        body.params.setdefault(pair[0], []).append(pair[1])


def _pair(body: Body, raw_name: bytes, raw_value: bytes) -> tuple[str, str] | None:
    """Both as text; None leaves a problem behind, so that a key that comes later is still found."""
    try:
        name = _text(raw_name, "a parameter's name")
        return name, _text(raw_value, name, nul=name in body.with_nul)
    except BadParameter as problem:
        body.problem = body.problem or problem
        return None


def _text(raw: bytes, name: str, *, nul: bool = False) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadParameter(f"invalid value for {name[:200]}: not UTF-8") from None
    if "\0" in text and not nul:  # PostgreSQL cannot store it, and no argument of a process can hold it
        raise BadParameter(f"invalid value for {name[:200]}: NUL character")
    return text
