"""Training jobs, and the bundles that came of them and are not published (yet)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import ID, SHA256, WORD, Base
from cloud_hub.store.tables.datasets import DatasetVersion


class TrainingJob(Base):
    """A training. `asked`: what was asked for. `runner`: the hub (machine and folder) that has it. `process`: number
    and start of its process, by which a hub that comes back knows it again. `revision` grows with every change.
    """

    __tablename__ = "training_jobs"
    __table_args__ = (
        ForeignKeyConstraint(["dataset", "version"], [DatasetVersion.dataset, DatasetVersion.version]),
        Index(None, "created_s", "id"),
        Index(None, "state", "created_s", "id"),
        Index(None, "dataset", "version"),
        Index(None, "sha256"),
    )

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    dataset: Mapped[str] = mapped_column(ID)
    version: Mapped[int]
    asked: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(WORD)
    revision: Mapped[int] = mapped_column(default=1)
    created_s: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(200))
    started_s: Mapped[float | None]
    ended_s: Mapped[float | None]
    runner: Mapped[str | None] = mapped_column(String(200))
    process: Mapped[str | None] = mapped_column(String(64))
    stage: Mapped[str] = mapped_column(default="")
    share: Mapped[float] = mapped_column(default=0.0)
    exit_code: Mapped[int | None]
    reason: Mapped[str | None]
    sha256: Mapped[str | None] = mapped_column(SHA256)
    summary: Mapped[dict[str, Any] | None]


class Candidate(Base):
    """A bundle that a job made. `published_s`: when it became one that gateways can be given; None: not yet."""

    __tablename__ = "candidates"
    __table_args__ = (Index(None, "created_s", "sha256"),)

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    job: Mapped[str] = mapped_column(ID, ForeignKey(TrainingJob.id), index=True)
    slot: Mapped[str] = mapped_column(ID)
    version: Mapped[str] = mapped_column(ID)
    family: Mapped[str] = mapped_column(ID)
    length: Mapped[int]
    created_s: Mapped[float]
    manifest_json: Mapped[str]
    published_s: Mapped[float | None]
    published_by: Mapped[str | None] = mapped_column(String(200))
