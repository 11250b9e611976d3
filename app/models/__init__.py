"""Tables: columns, constraints, indexes, enums. No queries, no sessions."""

from sqlmodel import SQLModel

from app.models.apikey import ApiKey, KeyProject
from app.models.job import Job, JobState, JobTag
from app.models.project import Project, Spider
from app.models.record import Chunk, Kind
from app.models.version import ProjectEgg, Version, VersionFile, VersionState
from app.models.worker import Worker

metadata = SQLModel.metadata

__all__ = [
    "ApiKey",
    "Chunk",
    "Job",
    "JobState",
    "JobTag",
    "KeyProject",
    "Kind",
    "Project",
    "ProjectEgg",
    "Spider",
    "Version",
    "VersionFile",
    "VersionState",
    "Worker",
    "metadata",
]
