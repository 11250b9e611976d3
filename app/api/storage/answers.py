"""Stored records as an answer: the format that the caller wants, and how it is to look (contract 5.4)."""

from collections.abc import Callable, Iterator
from functools import partial

from starlette.responses import Response

from app.api import formats
from app.api.params import Param, Params
from app.api.storage.wire import FORMATS, Call, stream, wants
from app.errors import BadParameter
from app.services.reader import Block

Writer = Callable[[Iterator[Block]], Iterator[bytes]]

OFFERED: tuple[str, ...] = ("jl", "json", "msgpack", "csv", "xml", "text")
PARAMS = (
    Param("format", "instead of the Accept header", values=OFFERED),
    Param("fields", "columns of CSV, separated by commas"),
    Param("include_headers", "1: the first row of CSV has the names of the columns"),
    Param("sep", "separator of CSV"),
    Param("quote", "quotation mark of CSV"),
    Param("escape", "escape character of CSV"),
    Param("lineend", "what ends a row of CSV"),
    Param("saveas", "file name for a browser to save the answer as"),
)


def answer(
    call: Call,
    blocks: Iterator[Block],
    offered: tuple[str, ...] = OFFERED,
    *,
    fields: str | None = None,
    text: Writer = formats.jl,
) -> Response:
    """Stream records, a block at a time.

    Args:
        offered: names of the formats that the resource has.
        fields: columns of CSV when the caller names none; None: they must.
        text: what writes them as text.

    Raises:
        BadParameter: the format is none of those offered, or how it is to look makes no sense.

    """
    params = call.params
    chosen = wants(call, offered)
    if chosen == "csv":
        columns = params.maybe("fields", length=4096) or fields
        if columns is None:
            raise BadParameter("missing 'fields' argument")
        rows = partial(
            formats.csv_rows,
            fields=[name for name in columns.split(",") if name],
            headers=params.flag("include_headers"),
            marks=_punctuation(params),
        )
        return stream(call, rows(blocks), formats.CSV)
    writers: dict[str, Writer] = {
        "jl": formats.jl,
        "json": formats.json_array,
        "msgpack": formats.msgpack,
        "xml": formats.xml,
        "text": text,
    }
    return stream(call, writers[chosen](blocks), f"{FORMATS[chosen]}; charset=UTF-8")


def _punctuation(params: Params) -> formats.Punctuation:
    given = {name: params.maybe(name) for name in ("sep", "quote", "escape")}
    for name, value in given.items():
        if value is not None and (len(value) != 1 or value in "\r\n"):
            raise BadParameter(f"invalid value for {name}: not one character")
    return formats.Punctuation(
        separator=given["sep"] or ",",
        quote=given["quote"] or '"',
        escape=given["escape"],
        line_end=params.maybe("lineend") or "\n",
    )
