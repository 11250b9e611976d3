"""Who asks, and may they touch the project?"""

import base64
import binascii
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import BadParameter, NoAccess, NotAuthenticated
from app.keys import JobKey
from app.services import apikeys, jobs, keyuse, logins

COOKIE = "crawldock"  # of a browser that has signed in


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


@dataclass(frozen=True)
class JobPrincipal:
    """A running job, by its own credentials: what a spider's code has (contract 5.2)."""

    key: JobKey
    job_id: int
    token: str

    @property
    def name(self) -> str:
        """Stands where a user's name would: the job's key."""
        return str(self.key)


def basic(header: str | None) -> tuple[str, str] | None:
    """User and password of an HTTP Basic header; clients put the API key into the user (contract 2.1)."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def authenticate(session: Session, key: str | None, login: str | None = None) -> Principal:
    """The principal of a key or, when there is none, of a browser that has signed in.

    Raises:
        NotAuthenticated: neither, or not a valid one.

    """
    found = apikeys.find(session, key) if key else None
    if login and not key:
        found = logins.find(session, login)
    if found is None:
        raise NotAuthenticated("Authentication failed")
    keyuse.note(found.id)
    return Principal(found.id, found.name, found.admin)


def authenticate_job(session: Session, user: str, token: str) -> JobPrincipal | None:
    """The running job whose credentials these are; None when ``user`` is no job key.

    Raises:
        NotAuthenticated: it is one, but the job does not run, or the token is not its own.

    """
    try:
        key = JobKey.parse(user)
    except BadParameter:
        return None
    # Nothing that no token can be is asked of the database: PostgreSQL has no NUL in a text.
    job_id = jobs.running_with(session, key, token) if token.isascii() and token.isalnum() else None
    if job_id is None:
        raise NotAuthenticated("Authentication failed")
    return JobPrincipal(key, job_id, token)
