"""spiders/list.json (contract 4.3)."""

from fastapi import APIRouter
from starlette.responses import Response

from app.api.dash.wire import PROJECT, Call, enter, ok
from app.api.params import Param, describe
from app.db import reading
from app.services import projects

router = APIRouter(tags=["spiders"])


@router.get(
    "/spiders/list.json",
    openapi_extra=describe(PROJECT, Param("spider", "only these spiders", repeat=True)),
)
def list_spiders(call: Call) -> Response:
    """Spiders that the project's current version has; `id` is the name."""
    with reading() as session:
        _, params, project = enter(session, call)
        rows = projects.spiders(session, project, params.many("spider"))
    return ok(
        spiders=[
            {"id": row.name, "tags": row.tags or [], "type": row.type, "version": row.version} for row in rows
        ]
    )
