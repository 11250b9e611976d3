"""Projects and the numbers of their spiders."""

import pytest

from app import db
from app.errors import BadParameter, NameTaken
from app.services import projects
from tests.factories import make_project, make_version

pytestmark = pytest.mark.usefixtures("database", "sent")


def create(name: str = "new", project_id: int | None = None) -> int:
    with db.transaction() as session:
        return projects.create(session, name, project_id)


def test_the_next_free_number_or_the_one_asked_for() -> None:
    assert [create(), create(project_id=10), create()] == [2, 10, 11]
    with db.reading() as session:
        assert [projects.exists(session, number) for number in (1, 10, 12)] == [True, True, False]


def test_a_number_is_given_once() -> None:
    with pytest.raises(NameTaken, match="project 1 exists"):
        create(project_id=1)


@pytest.mark.parametrize(("name", "project_id"), [("", 5), ("x" * 101, 5), ("x", 0), ("x", -1), ("x", 2**31)])
def test_what_no_project_can_be(name: str, project_id: int) -> None:
    with pytest.raises(BadParameter):
        create(name, project_id)


def test_the_list_names_the_current_version() -> None:
    make_version("7")
    make_project(3)
    with db.reading() as session:
        assert [tuple(found) for found in projects.listing(session)] == [
            (1, "one", "7"),
            (3, "project 3", None),
        ]


def test_spiders_by_name() -> None:
    make_project(2, ["b", "a", "c"])
    with db.reading() as session:
        assert [(found.name, found.number) for found in projects.spiders(session, 2, ["c", "b", "x"])] == [
            ("b", 2),
            ("c", 3),
        ]
