"""The pages that show what the two APIs can do: Swagger UI over their OpenAPI documents."""

from pathlib import Path

import swagger_ui_bundle
from starlette.responses import Response

from app.ui.wire import render

_VENDOR = Path(swagger_ui_bundle.__file__).parent / "vendor"
SWAGGER = next(path.parent for path in sorted(_VENDOR.rglob("swagger-ui-bundle.js")))


def page(title: str, document: str) -> Response:
    """The page of the OpenAPI document at this address; anybody may read it, as the document itself."""
    return render("docs", None, title=title, document=document)
