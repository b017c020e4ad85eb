"""What models are trained on: uploads, labels, data sets and their versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, ID, SHA256, WORD, Base
from cloud_hub.store.tables.captures import Capture


class Upload(Base):
    """A file that somebody brought, kept under its digest. `report`: what an inspection found in it."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "added_s", "sha256"),)

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(WORD)
    length: Mapped[int]
    rows: Mapped[int]
    seconds: Mapped[float | None]
    added_s: Mapped[float]
    added_by: Mapped[str] = mapped_column(String(200))
    report: Mapped[dict[str, Any] | None]


class Label(Base):
    """What somebody says about a span of time of a point (by the gateway's clock), or about a whole capture of it.

    Where labels overlap, the one said last counts.
    """

    __tablename__ = "labels"
    __table_args__ = (
        Index(None, "machine_id", "point", "from_s"),
        Index(None, "said_s", "id"),
        Index(None, "capture_id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    machine_id: Mapped[str] = mapped_column(ID)
    point: Mapped[str] = mapped_column(ID)
    capture_id: Mapped[str | None] = mapped_column(ID, ForeignKey(Capture.id))
    from_s: Mapped[float]
    to_s: Mapped[float]
    verdict: Mapped[str] = mapped_column(WORD)
    fault: Mapped[str | None] = mapped_column(ID)
    note: Mapped[str] = mapped_column(default="")
    said_by: Mapped[str] = mapped_column(String(200))
    said_s: Mapped[float]
    revision: Mapped[int] = mapped_column(default=1)


class Dataset(Base):
    """A name for versions of one collection of data. `version`: the newest."""

    __tablename__ = "datasets"
    __table_args__ = (Index(None, "changed_s", "name"),)

    name: Mapped[str] = mapped_column(ID, primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    version: Mapped[int]
    created_s: Mapped[float]
    changed_s: Mapped[float]


class DatasetVersion(Base):
    """A version: never changed once it stands. `test_share`: the share at the end of each source that training never
    sees. `sha256`: over sources and split, so that equal contents have equal digests. `inspection`: of its training
    part, None until somebody asked for it.
    """

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("dataset", "sha256"), Index(None, "sha256"))

    dataset: Mapped[str] = mapped_column(ID, ForeignKey(Dataset.name), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(SHA256)
    test_share: Mapped[float]
    note: Mapped[str] = mapped_column(default="")
    made_s: Mapped[float]
    made_by: Mapped[str] = mapped_column(String(200))
    inspection: Mapped[dict[str, Any] | None]


class DatasetSource(Base):
    """One file of a version. `train`, `test`: its parts, each with `start` and `end` (fractions) and `seconds`."""

    __tablename__ = "dataset_sources"
    __table_args__ = (
        ForeignKeyConstraint(["dataset", "version"], [DatasetVersion.dataset, DatasetVersion.version]),
        Index(None, "sha256"),
    )

    dataset: Mapped[str] = mapped_column(ID, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(WORD)
    ref: Mapped[str] = mapped_column(SHA256)
    sha256: Mapped[str] = mapped_column(SHA256)
    name: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(WORD)
    fault: Mapped[str | None] = mapped_column(ID)
    seconds: Mapped[float | None]
    train: Mapped[list[dict[str, Any]]]
    test: Mapped[list[dict[str, Any]]]
