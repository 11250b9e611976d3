"""Tables: columns, constraints, indexes, enums. No queries, no sessions."""

from sqlmodel import SQLModel

from app.models.apikey import ApiKey, KeyProject
from app.models.collection import Collection, CollectionRecord
from app.models.frontier import Fingerprint, FrontierBatch, FrontierSlot
from app.models.job import Job, JobState, JobTag, JobTagged
from app.models.login import Login
from app.models.periodic import Missed, Overlap, PeriodicJob, PeriodicRun, RunState
from app.models.project import Activity, Comment, Project, ProjectSetting, Report, Spider
from app.models.record import Chunk, Kind, StrayObject
from app.models.version import ProjectEgg, Version, VersionFile, VersionState
from app.models.webhook import Delivery, DeliveryState, Webhook
from app.models.worker import Worker

metadata = SQLModel.metadata

__all__ = [
    "Activity",
    "ApiKey",
    "Chunk",
    "Collection",
    "CollectionRecord",
    "Comment",
    "Delivery",
    "DeliveryState",
    "Fingerprint",
    "FrontierBatch",
    "FrontierSlot",
    "Job",
    "JobState",
    "JobTag",
    "JobTagged",
    "KeyProject",
    "Kind",
    "Login",
    "Missed",
    "Overlap",
    "PeriodicJob",
    "PeriodicRun",
    "Project",
    "ProjectEgg",
    "ProjectSetting",
    "Report",
    "RunState",
    "Spider",
    "StrayObject",
    "Version",
    "VersionFile",
    "VersionState",
    "Webhook",
    "Worker",
    "metadata",
]
