"""The exception tree; each face renders it in its wire's form. Nothing here knows HTTP.

CrawldockError
├── BadSettings            an environment variable has a bad value
├── BadParameter           a parameter is missing, malformed or out of range
├── NotAuthenticated       no key, or a wrong one
├── NoAccess               a good key without rights on the project
├── Refused                well formed, but a rule says no
│   ├── AlreadyScheduled   a job with the same spider and arguments is pending or running
│   ├── Revoked            the key was revoked
│   ├── NotYours           somebody else's, and the key is no admin's
│   └── NameTaken          a project, key or collection of that name or id exists
├── NotFound               no such thing
├── TooLarge               the request body is over the limit
├── OutOfStep              records do not follow on those that are stored
├── Elsewhere              payloads that a transaction needs are in the chunk store: fetch them first
├── Unavailable            something is away or overloaded; trying again makes sense
│   ├── DatabaseBusy       writers queue for too long
│   └── StoreAway          the chunk store does not answer
│       ├── ObjectLost     it does, and lacks an object that a row names
│       └── Condemned      objects were written so long ago that they are being removed
└── DeployFailed           a version could not be built; the message holds the log or traceback
"""

from collections.abc import Sequence


class CrawldockError(Exception):
    """Root of all errors that a user may see; str() is a sentence for them."""


class BadSettings(CrawldockError):
    """An environment variable has a bad value."""


class BadParameter(CrawldockError):
    """A parameter is missing, malformed or out of range."""


class NotAuthenticated(CrawldockError):
    """No key, or a wrong one."""


class NoAccess(CrawldockError):
    """A good key without rights on the project."""

    def __init__(self, user: str, project: int) -> None:
        super().__init__(f"User '{user}' doesn't have access to project {project}")


class Refused(CrawldockError):
    """The request is well formed, but a rule says no."""


class AlreadyScheduled(Refused):
    """A job with the same spider and arguments is pending or running.

    Attributes:
        spider: the spider's name, for the faces whose wording differs.

    """

    def __init__(self, spider: str) -> None:
        super().__init__(f"Spider '{spider}' already scheduled")
        self.spider = spider


class Revoked(Refused):
    """The key was revoked."""


class NotYours(Refused):
    """It is somebody else's, and the key is no admin's."""


class NameTaken(Refused):
    """A project, key or collection of that name or id exists."""


class NotFound(CrawldockError):
    """No such thing."""


class TooLarge(CrawldockError):
    """The request body is over the limit."""


class OutOfStep(CrawldockError):
    """Records do not follow on those that are stored: somebody else has written some."""


class Elsewhere(CrawldockError):
    """Payloads that a transaction needs are in the chunk store: fetch them first.

    Attributes:
        urls: of the objects.

    """

    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__("records are in the chunk store")
        self.urls = urls


class Unavailable(CrawldockError):
    """Something is away or overloaded; trying again makes sense."""


class DatabaseBusy(Unavailable):
    """Writers queue for too long."""


class StoreAway(Unavailable):
    """The chunk store does not answer."""


class ObjectLost(StoreAway):
    """The chunk store answers, and lacks an object that a row names."""


class Condemned(StoreAway):
    """Objects were written so long ago that they are being removed: write them anew."""


class DeployFailed(CrawldockError):
    """A version could not be built; the message holds the log or the traceback."""
