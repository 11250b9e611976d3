"""reports/*: texts about jobs (contract 4.9)."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.api.dash.wire import COUNT, OFFSET, PROJECT, Call, enter, ok, paging, utc
from app.api.params import Param, Params, describe, describe_form
from app.db import AnyRow, reading, transaction
from app.errors import BadParameter
from app.keys import JobKey
from app.services import reports

router = APIRouter(prefix="/reports", tags=["reports"])

JOB = Param("job", "key of the job, P/S/J; without it, the report is about the project")
ADD = (
    PROJECT,
    JOB,
    Param("key", "name of the report; another one of the same name and job is replaced", required=True),
    Param("content_type", "text/plain when not given", values=reports.TYPES),
    Param("content", "the text, UTF-8, at most 256 KiB", required=True, type="file"),
)
LIST = (PROJECT, Param("job", "only the reports of this job, P/S/J"), COUNT, OFFSET)
LONGEST = 256 << 10  # bytes of a report
ROWS = 100  # of one answer: their texts are in it


def _job(params: Params, project: int) -> JobKey | None:
    keys = params.job_keys("job", project)
    if len(keys) > 1:
        raise BadParameter("invalid value for job: given more than once")
    return keys[0] if keys else None


@router.post("/add.json", openapi_extra=describe_form(*ADD))
def add(call: Call) -> Response:
    """Store a report about a job."""
    with transaction() as session:
        _, params, project = enter(session, call)
        job, key, content = _job(params, project), params.text("key"), _content(params)
        params.choice("content_type", reports.TYPES)
        kind = params.maybe("content_type") or reports.TYPES[0]
        reports.put(session, project, job, key, kind, content)
    return ok()


def _content(params: Params) -> str:
    """The text, sent as a file or as a field."""
    sent = params.files("content")
    data = sent[-1][1] if sent else params.text("content", length=LONGEST).encode()
    if len(data) > LONGEST:
        raise BadParameter(f"invalid value for content: longer than {LONGEST} bytes")
    if b"\0" in data:
        raise BadParameter("invalid value for content: NUL character")
    if not data:
        raise BadParameter("missing 'content' argument")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadParameter("invalid value for content: not UTF-8") from None


def _shown(row: AnyRow, project: int) -> dict[str, Any]:
    return {
        "job": None if row.number is None else f"{project}/{row.spider}/{row.number}",
        "key": row.key,
        "content_type": row.content_type,
        "content": row.content,
        "created": utc(row.created_time),
    }


@router.get("/list.json", openapi_extra=describe(*LIST))
def list_reports(call: Call) -> Response:
    """Reports of a project or job with their texts, the oldest first; at most 100. An addition."""
    with reading() as session:
        _, params, project = enter(session, call)
        count, offset = paging(params, cap=ROWS)
        rows = reports.listing(session, project, _job(params, project), count, offset)
    return ok(count=len(rows), reports=[_shown(row, project) for row in rows])
