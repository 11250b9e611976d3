"""settings/get.json and releases/*: what deploying a container image asks for (contract 4.12, 4.13)."""

from fastapi import APIRouter
from starlette.responses import Response

from app.api.dash.wire import PROJECT, Call, enter, json_response, who
from app.api.params import describe
from app.db import reading
from app.errors import Refused

router = APIRouter(tags=["deploy"])

NO_IMAGES = "container images are not supported: deploy the project's code with `shub deploy`"


@router.get("/settings/get.json", openapi_extra=describe(PROJECT))
def settings(call: Call) -> Response:
    """Scrapy settings and add-ons of the project and its organization: there are none of either."""
    with reading() as session:
        enter(session, call)
    return json_response({"project_settings": {}, "organization_settings": {}, "enabled_addons": []})


@router.post("/releases/deploy.json", include_in_schema=False)
def deploy(call: Call) -> Response:
    """Refuse, once the caller is known to be one of the project."""
    with reading() as session:
        enter(session, call)
    raise Refused(NO_IMAGES)


@router.get("/releases/{status:path}", include_in_schema=False)
def deploy_status(call: Call) -> Response:
    """Refuse: no image was ever deployed, so there is nothing to tell of one."""
    with reading() as session:
        who(session, call)
    raise Refused(NO_IMAGES)
