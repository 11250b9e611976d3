"""Keys of jobs and spiders: parse, format, compare. Pure."""

from dataclasses import dataclass

from app.errors import BadParameter

LARGEST = 2**31 - 1  # the columns are 32-bit integers
DIGITS = 10  # that the largest one has


def number(text: str, name: str) -> int:
    """A positive whole number below 2**31, as ids are written on the wire.

    Raises:
        BadParameter: ``text`` is anything else (contract 3.2: "invalid value for project: invalid").

    """
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS and 1 <= int(text) <= LARGEST):
        raise BadParameter(f"invalid value for {name}: {text[:200]}")
    return int(text)


@dataclass(frozen=True, order=True)
class JobKey:
    """``project/spider/job``, three positive numbers; ordered by number."""

    project: int
    spider: int
    job: int

    @classmethod
    def parse(cls, text: str, name: str = "job") -> "JobKey":
        """Read ``P/S/J``.

        Raises:
            BadParameter: ``text`` is not three positive numbers.

        """
        parts = text.split("/")
        try:
            if len(parts) == 3:
                return cls(*(number(part, name) for part in parts))
        except BadParameter:
            pass
        raise BadParameter(f"invalid value for {name}: {text[:200]}")

    def __str__(self) -> str:
        return f"{self.project}/{self.spider}/{self.job}"
