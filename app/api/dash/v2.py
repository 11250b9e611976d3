"""v2/*: the newer JSON API, without the envelope (contract 4.14)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.body import Body
from app.api.dash.wire import Call, JsonCall, ProjectId, SpiderId, enter, json_response, who
from app.api.params import NAME_LENGTH, Param, Params, check_args, describe, describe_form
from app.db import AnyRow, reading, transaction
from app.errors import BadParameter, NotFound
from app.keys import number
from app.services import jobs, spiderlist
from app.services.spiderlist import Wanted
from app.settings import settings

router = APIRouter(prefix="/v2", tags=["v2"])

PAGE_SIZE = 100  # rows of a page when nothing else is asked for
MOST_ROWS = 1000  # of one page
ARCHIVED = Param("archived", "true: only archived spiders, of which there are none", values=("true", "false"))
ORDERING = Param(
    "ordering",
    "by what, with - in front from the last to the first",
    values=[sign + name for name in spiderlist.ORDERS for sign in ("", "-")],
)
LIST = (
    Param("search", "only spiders whose name has this in it, whatever the case"),
    ARCHIVED,
    ORDERING,
    Param("page", "number of the page, from 1", type="integer"),
    Param("page_size", f"rows of a page; {PAGE_SIZE} when not given, at most {MOST_ROWS}", type="integer"),
)
TAGS = (
    Param("add", "tag to add", repeat=True),
    Param("remove", "tag to remove", repeat=True),
)
JOB = (
    Param("spider", "name of the spider", required=True),
    Param("priority", "0 lowest … 4 highest; 2 when not given", type="integer"),
    Param("units", "1 … 6; memory of the job in units of the platform's setting", type="integer"),
    Param("addtags", "tag of the new job", repeat=True),
    Param("args", "JSON object: the spider's arguments", type="object"),
)


def describe_json(*params: Param) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint that takes a JSON object, or a form."""
    described = describe_form(*params)
    content = described["requestBody"]["content"]
    kinds = ("application/json", *content)
    described["requestBody"]["content"] = dict.fromkeys(kinds, next(iter(content.values())))
    return described


def moment(milliseconds: int | None) -> str | None:
    """``YYYY-MM-DDTHH:MM:SS.ffffffZ``, as all times of this API."""
    if milliseconds is None:
        return None
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _rounded(average: Any) -> float | None:
    return None if average is None else round(float(average), 2)


def spider_object(row: AnyRow, last: AnyRow | None) -> dict[str, Any]:
    """A spider with the keys that were recorded; null is what the platform does not know."""
    return {
        "id": row.id,
        "jobq_id": row.number,
        "name": row.name,
        "type": row.type,
        "tags": row.tags or [],
        "version": row.version,
        "settings": {},
        "stats": {},
        "archived": False,
        "deleted": not row.present,
        "default_kumo_units": None,
        "created_at": None,
        "modified_at": None,
        "project": {"id": row.project_id, "name": row.project},
        "avg_item_count": _rounded(row.items),
        "avg_response_count": _rounded(row.pages),
        "avg_runtime": _rounded(row.runtime),
        "fields_count": {},
        "first_run": moment(row.first_run),
        "last_error_count": last and last.errors,
        "last_item_count": last and last.items,
        "last_job_id": last and f"{row.project_id}/{row.number}/{last.number}",
        "last_outcome": last and last.close_reason,
        "last_response_count": last and last.pages,
        "last_run": last and moment(last.running_time),
    }


@dataclass(frozen=True)
class Page:
    """One page of a list, by its number."""

    url: str  # of the list, with the parameters that it was asked for with
    number: int
    size: int
    total: int  # rows of all pages

    @property
    def offset(self) -> int:
        """Rows of the pages before."""
        return (self.number - 1) * self.size

    def _link(self, to: int) -> str | None:
        return f"{self.url}page={to}" if 1 <= to <= -(-self.total // self.size) else None

    def answer(self, results: list[dict[str, Any]]) -> Response:
        """The page, with links to its neighbours."""
        links = {"next": self._link(self.number + 1), "previous": self._link(self.number - 1)}
        return json_response({"count": self.total, **links, "results": results})


def page_of(params: Params, path: str, total: int, names: Sequence[str] = ("search",)) -> Page:
    """The page that is asked for.

    Args:
        path: of the list, below v2/projects.
        names: parameters that its links have too.

    Raises:
        NotFound: the list is shorter than that.

    """
    place = params.integer("page", 1, low=1)
    size = min(params.integer("page_size", PAGE_SIZE, low=1), MOST_ROWS)
    if (place - 1) * size >= max(total, 1):
        raise NotFound(f"invalid page: {place}")
    given = {name: value for name in (*names, "page_size") if (value := params.maybe(name))}
    query = f"{urlencode(given)}&" if given else ""
    return Page(f"{settings().url}/api/v2/projects/{path}?{query}", place, size, total)


@router.get("/users/me", openapi_extra=describe())
def me(call: Call) -> Response:
    """The owner of the key: `id`, `username`, `is_admin`."""
    with reading() as session:
        principal, _ = who(session, call)
    return json_response({"id": principal.key_id, "username": principal.name, "is_admin": principal.admin})


@router.get("/projects/{project}/spiders", openapi_extra=describe(*LIST))
def list_spiders(call: Call, project: ProjectId) -> Response:
    """A page of the project's spiders, each with its last job and averages of its last ten."""
    with reading() as session:
        _, params, project_id = enter(session, call, project)
        archived, ordering = (_one_of(params, each) for each in (ARCHIVED, ORDERING))
        wanted = Wanted(
            project_id,
            search=params.maybe("search") or "",
            order=ordering.removeprefix("-") or "name",
            descending=ordering.startswith("-"),
        )
        total = 0 if archived == "true" else spiderlist.count(session, wanted)
        page = page_of(params, f"{project_id}/spiders", total, ("archived", "ordering", "search"))
        rows = spiderlist.page(session, wanted, page.size, page.offset) if total else []
    return page.answer([spider_object(*each) for each in rows])


def _one_of(params: Params, wanted: Param) -> str:
    """One of the values of a parameter; clients send it empty when they want nothing of it."""
    value = params.maybe(wanted.name) or ""
    if value and value not in wanted.values:
        raise BadParameter(f"invalid value for {wanted.name}: {value}")
    return value


@router.get("/projects/{project}/spiders/{spider}", openapi_extra=describe())
def get_spider(call: Call, project: ProjectId, spider: SpiderId) -> Response:
    """A spider, by its number, with its last job and averages of its last ten."""
    with reading() as session:
        _, _, project_id = enter(session, call, project)
        return json_response(_spider(session, project_id, number(spider, "spider")))


def _spider(session: Session, project: int, spider: int) -> dict[str, Any]:
    found = spiderlist.page(session, Wanted(project, spider), 1, 0)
    if not found:
        raise spiderlist.unknown(project, spider)
    return spider_object(*found[0])


@router.patch("/projects/{project}/spiders/{spider}/tags", openapi_extra=describe_json(*TAGS))
def update_tags(call: JsonCall, project: ProjectId, spider: SpiderId) -> Response:
    """Add and remove tags of a spider; answers the spider."""
    with transaction() as session:
        _, params, project_id = enter(session, call, project)
        spider_number = number(spider, "spider")
        _no_objects(call)
        add, remove = params.many("add"), params.many("remove")
        if not add and not remove:
            raise BadParameter('At least one of "add" or "remove" arguments must not be empty')
        spiderlist.update_tags(session, project_id, spider_number, add, remove)
        return json_response(_spider(session, project_id, spider_number))


def _no_objects(call: Body, *allowed: str) -> None:
    for name in sorted(call.objects - set(allowed)):
        raise BadParameter(f"invalid value for {name[:200]}: a JSON object")


@router.post("/projects/{project}/jobs", openapi_extra=describe_json(*JOB))
def run(call: JsonCall, project: ProjectId) -> Response:
    """Schedule a job of a spider; answers its key and what it was given."""
    with transaction() as session:
        principal, params, project_id = enter(session, call, project)
        _no_objects(call, "args")
        for name in sorted(params.others(JOB)):
            raise BadParameter(f"unknown argument {name[:50]}: what is for the spider belongs into args")
        spider = params.text("spider")
        new = jobs.NewJob(
            spider=spider,
            args=_arguments(params),
            tags=params.many("addtags"),
            priority=params.integer("priority", 2, 0, 4),
            units=params.integer("units", 1, 1, 6),
            job_cmd=[spider] if spider.startswith("py:") else None,
        )
        try:
            key = jobs.schedule(session, project_id, new, principal.name)
        except NotFound as error:
            raise BadParameter(str(error)) from None  # 400, as in run.json
    answer = {
        "key": str(key),
        "spider": spider,
        "state": new.state,
        "priority": new.priority,
        "units": new.units,
        "tags": list(dict.fromkeys(new.tags)),
    }
    return json_response(answer, 201)


def _arguments(params: Params) -> dict[str, str]:
    """Arguments are texts; a number becomes one."""
    found = {}
    for name, value in params.json_object("args").items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadParameter(f"invalid value for args: {name[:NAME_LENGTH]} is neither a text nor a number")
        found[name] = str(value)
    check_args(found)
    return found
