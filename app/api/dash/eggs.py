"""eggs/*: dependency eggs of a project, and its eggs as a zip (contract 4.6)."""

import io
import zipfile

from fastapi import APIRouter
from starlette.responses import Response

from app.api.dash.wire import PROJECT, Call, enter, ok
from app.api.eggs import checked_egg, safe_name
from app.api.params import Param, describe, describe_form
from app.db import reading, transaction
from app.errors import NotFound
from app.services import versions

router = APIRouter(tags=["deploy"])

NAME = Param("name", "name of the egg", required=True)
ADD = (
    PROJECT,
    NAME,
    Param("version", "version of the egg", required=True),
    Param("egg", "the egg, a zip file", required=True, type="file"),
)
DELETE = (
    PROJECT,
    Param("name", "name of the egg; __main__ is the project's own code", required=True),
    Param("version", "with name=__main__: the deployed version to delete, required then"),
)


@router.post("/eggs/add.json", openapi_extra=describe_form(*ADD))
def add(call: Call) -> Response:
    """Store a dependency egg; it is on the path of every job of the project from now on."""
    with reading() as session:
        _, params, project = enter(session, call)
    name, version = safe_name(params, "name"), params.text("version")
    data = checked_egg(params.files("egg", required=True)[-1][1], "egg")
    with transaction() as session:
        versions.add_egg(session, project, name, version, data)
    return ok(egg={"name": name, "version": version})


@router.post("/eggs/delete.json", openapi_extra=describe_form(*DELETE))
def delete(call: Call) -> Response:
    """Delete a dependency egg, or with `name=__main__` a deployed version."""
    with transaction() as session:
        _, params, project = enter(session, call)
        name = params.text("name")
        if name == versions.MAIN_EGG:
            versions.remove(session, project, params.text("version"))
        else:
            versions.remove_egg(session, project, name)
    return ok()


@router.post("/eggs/list.json", include_in_schema=False)
@router.get("/eggs/list.json", openapi_extra=describe(PROJECT))
def list_eggs(call: Call) -> Response:
    """The project's dependency eggs."""
    with reading() as session:
        _, _, project = enter(session, call)
        rows = versions.eggs(session, project)
    return ok(eggs=[{"name": row.name, "version": row.version} for row in rows])


def _zip(entries: list[tuple[str, bytes]]) -> Response:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:  # stored: eggs are compressed already
        for name, data in entries:
            bundle.writestr(name, data)
    return Response(buffer.getvalue(), media_type="application/zip")


@router.get("/eggs/bundle.zip", openapi_extra=describe(PROJECT))
def bundle(call: Call) -> Response:
    """A zip of the current version's egg, `__main__.egg`, and all dependency eggs."""
    with reading() as session:
        _, _, project = enter(session, call)
        _, found = versions.bundle(session, project)
    if not found:
        raise NotFound(f"project {project} has no eggs")
    return _zip([(f"{name}.egg", data) for name, data in found])


@router.get("/migrate-eggs.zip", openapi_extra=describe(PROJECT))
def migrate(call: Call) -> Response:
    """A zip of `requirements.txt` and the dependency eggs; shub takes whatever comes for a zip."""
    with reading() as session:
        _, _, project = enter(session, call)
        requirements, found = versions.bundle(session, project)
    eggs = [(f"{name}.egg", data) for name, data in found if name != versions.MAIN_EGG]
    return _zip([("requirements.txt", requirements.encode()), *eggs])
