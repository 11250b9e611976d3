"""comments/*: remarks on items and on their fields (contract 4.10)."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.api.dash.wire import Call, ProjectId, SpiderId, enter, json_response, ok, utc, who
from app.api.params import Param, Params, describe, describe_form
from app.auth import Principal
from app.db import AnyRow, reading, transaction
from app.errors import BadParameter, NoAccess, NotFound
from app.keys import DIGITS, LARGEST, JobKey, number
from app.services import comments
from app.services.comments import Place

router = APIRouter(prefix="/comments", tags=["comments"])

JobId = Annotated[str, Path(description="number of the job, as in job keys")]
ItemOrField = Annotated[str, Path(description="number of the item in the job, from 0, or NUMBER/FIELD")]
CommentId = Annotated[str, Path(description="id of the comment")]
TEXT = Param("text", f"the comment, at most {comments.LONGEST} characters", required=True)
JOB = "/{project}/{spider}/{job}"
PLACE = JOB + "/{place:path}"  # the name of a field may have slashes
FIELD_LENGTH = 255  # characters


def _shown(row: AnyRow, principal: Principal) -> dict[str, Any]:
    return {
        "id": row.id,
        "text": row.text,
        "created": utc(row.created_time),
        "archived": None if row.archived_time is None else utc(row.archived_time),
        "author": row.author,
        "avatar": "",
        "editable": _author(principal) in (None, row.author),
    }


def _author(principal: Principal) -> str | None:
    """Whose comments they may change; None: everybody's."""
    return None if principal.admin else principal.name


def _enter_job(session: Session, call: Call, *parts: str) -> tuple[Principal, Params, JobKey]:
    principal, params, _ = enter(session, call, parts[0])
    return principal, params, JobKey.parse("/".join(parts))


def _place(job: JobKey, text: str) -> Place:
    """``N`` or ``N/FIELD``."""
    item, _, field = text.partition("/")
    if not (item.isascii() and item.isdigit() and len(item) <= DIGITS and int(item) <= LARGEST):
        raise BadParameter(f"invalid value for item: {item[:200]}")
    if len(field) > FIELD_LENGTH:
        raise BadParameter(f"invalid value for field: longer than {FIELD_LENGTH} characters")
    return Place(job, int(item), field or None)


@router.get("/{project}/stats", openapi_extra=describe())
def stats(call: Call, project: ProjectId) -> Response:
    """How many items of each job have comments that are not archived, by the key of the job."""
    with reading() as session:
        _, _, project_id = enter(session, call, project)
        found = comments.commented_items(session, project_id)
    return json_response({str(key): items for key, items in found.items()})


@router.get(JOB, openapi_extra=describe())
def of_job(call: Call, project: ProjectId, spider: SpiderId, job: JobId) -> Response:
    """All comments of a job, archived ones too, by `item` or `item/field`."""
    with reading() as session:
        principal, _, key = _enter_job(session, call, project, spider, job)
        rows = comments.of_job(session, key)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        place = str(row.item) if row.field is None else f"{row.item}/{row.field}"
        found.setdefault(place, []).append(_shown(row, principal))
    return json_response(found)


@router.get(PLACE, openapi_extra=describe())
def at(call: Call, project: ProjectId, spider: SpiderId, job: JobId, place: ItemOrField) -> Response:
    """The comments on an item, without those on its fields, or on one field; archived ones too."""
    with reading() as session:
        principal, _, key = _enter_job(session, call, project, spider, job)
        rows = comments.at(session, _place(key, place))
    return json_response([_shown(row, principal) for row in rows])


@router.post(PLACE, openapi_extra=describe_form(TEXT))
def add(call: Call, project: ProjectId, spider: SpiderId, job: JobId, place: ItemOrField) -> Response:
    """Comment on an item or field."""
    with transaction() as session:
        principal, params, key = _enter_job(session, call, project, spider, job)
        where, text = _place(key, place), params.text("text", length=comments.LONGEST)
        row = comments.add(session, key.project, where, text, principal.name)
    return json_response(_shown(row, principal))


@router.delete(PLACE, openapi_extra=describe())
def archive_at(call: Call, project: ProjectId, spider: SpiderId, job: JobId, place: ItemOrField) -> Response:
    """Archive the comments on an item or field, all or none; somebody else's only with an admin key."""
    with transaction() as session:
        principal, _, key = _enter_job(session, call, project, spider, job)
        count = comments.archive_at(session, _place(key, place), _author(principal))
    return ok(count=count)


def _enter_comment(session: Session, call: Call, comment: str) -> tuple[Principal, Params, int]:
    """Let them to a comment. One in a project that is none of theirs does not exist for them."""
    principal, params = who(session, call)
    comment_id = number(comment, "comment")
    project = comments.project_of(session, comment_id)
    try:
        principal.enter(session, project or 0)
    except NoAccess:
        raise NotFound(f"unknown comment: {comment_id}") from None
    return principal, params, comment_id


@router.put("/{comment}", openapi_extra=describe_form(TEXT))
def edit(call: Call, comment: CommentId) -> Response:
    """Change the text of a comment; somebody else's only with an admin key."""
    with transaction() as session:
        principal, params, comment_id = _enter_comment(session, call, comment)
        text = params.text("text", length=comments.LONGEST)
        row = comments.edit(session, comment_id, text, _author(principal))
    return json_response(_shown(row, principal))


@router.delete("/{comment}", openapi_extra=describe())
def archive(call: Call, comment: CommentId) -> Response:
    """Archive a comment; somebody else's only with an admin key."""
    with transaction() as session:
        principal, _, comment_id = _enter_comment(session, call, comment)
        comments.archive(session, comment_id, _author(principal))
    return ok()
