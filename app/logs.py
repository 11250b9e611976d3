"""The platform's own log: one line per event on stderr, named after the process."""

import logging
from typing import TYPE_CHECKING

from app.settings import settings

if TYPE_CHECKING:  # processes without a web server do not import one
    from fastapi.telemetry import TelemetryConfig

# FastAPI would ask at each request, at some cost, whether OpenTelemetry wants to know of it; /metrics and
# this log are what we have.
NO_TELEMETRY: "TelemetryConfig" = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def configure(process: str) -> None:
    """Set up logging of this process; ``process`` stands in each line."""
    level = settings().log_level.upper()
    logging.basicConfig(
        level=level, format=f"%(asctime)s {process:<9} %(levelname)-7s %(message)s", force=True
    )
    # What libraries tell at INFO is for their own authors, except that a server is up.
    for chatty in ("alembic", "celery", "kombu", "httpx", "httpcore", "httpx2", "httpcore2", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
