"""system/ts: the platform's clock (contract 6.1)."""

from fastapi import APIRouter
from sqlalchemy import select
from starlette.responses import Response

from app.api.storage.wire import json_value
from app.db import now_ms, reading

router = APIRouter(tags=["system"])


@router.get("/system/ts")
def timestamp() -> Response:
    """The current time in milliseconds, on the clock that all times of jobs are of."""
    with reading() as session:
        return json_value(session.scalar(select(now_ms())))
