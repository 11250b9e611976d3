"""Jinja2: the environment of all templates, its filters, and the addresses of our own files."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from app.ui import words

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"

# The menu of a project: the name that a page calls its section, the address, the words.
MENU = (
    ("jobs", "jobs", "Jobs"),
    ("run", "run", "Run"),
    ("periodic", "periodic-jobs", "Periodic jobs"),
    ("spiders", "spiders", "Spiders"),
    ("deploys", "deploys", "Code & deploys"),
    ("collections", "collections", "Collections"),
    ("activity", "activity", "Activity"),
    ("settings", "settings", "Settings"),
)


@lru_cache
def asset(name: str) -> str:
    """The address of a file in ``static``; it changes with its content, so browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/static/ui/{name}?{digest}"


def token(visitor: Any) -> Markup:
    """The hidden field without which no form of ours is accepted."""
    return Markup('<input type="hidden" name="form_token" value="{}">').format(visitor.form_token)


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(asset=asset, query=words.query, token=token, menu=MENU)
    return environment


def page(template: str, **context: Any) -> str:
    """Render ``template`` (without ``.html``)."""
    return _environment().get_template(f"{template}.html").render(context)
