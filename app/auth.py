"""Who asks, and may they touch the project?"""

import base64
import binascii
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import NoAccess, NotAuthenticated
from app.services import apikeys


@dataclass(frozen=True)
class Principal:
    """Somebody with a good key."""

    key_id: int
    name: str
    admin: bool

    def projects(self, session: Session) -> list[int]:
        """Ids of the projects they may touch, in order."""
        return apikeys.projects_of(session, self.key_id, self.admin)

    def enter(self, session: Session, project_id: int) -> None:
        """Let them into the project.

        Raises:
            NoAccess: the project does not exist, or is none of theirs (contract 3.2: the same answer).

        """
        if not apikeys.may_touch(session, self.key_id, self.admin, project_id):
            raise NoAccess(self.name, project_id)


def basic_user(header: str | None) -> str | None:
    """The user name of an HTTP Basic header, which is where clients put the key (contract 2.1)."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def authenticate(session: Session, key: str | None) -> Principal:
    """The principal of a key.

    Raises:
        NotAuthenticated: no key, or not a valid one.

    """
    found = apikeys.find(session, key) if key else None
    if found is None:
        raise NotAuthenticated("Authentication failed")
    return Principal(found.id, found.name, found.admin)
