"""as/*: visual spiders (contract 4.11), which the platform has not; it says so."""

from fastapi import APIRouter
from starlette.responses import Response

from app.api.dash.wire import Call, enter
from app.db import reading
from app.errors import Refused

router = APIRouter(prefix="/as", include_in_schema=False)


@router.get("/project-slybot.zip")
@router.get("/spider-properties.json")
@router.post("/spider-properties.json")
def refuse(call: Call) -> Response:
    """Refuse, once the caller is known to be one of the project."""
    with reading() as session:
        enter(session, call)
    raise Refused("visual spiders (Portia, autoscraping) are not supported: deploy a Scrapy project")
