"""What is told about uploads, data sets and labels: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloud_hub.data.stretches import Verdict

SourceKind = Literal["capture", "upload"]
Role = Literal["healthy", "fault"]


@dataclass(frozen=True, slots=True)
class UploadView:
    """A file that somebody brought. `kind`: its format. `columns`: of the file, with what each is."""

    sha256: str
    name: str
    kind: str
    length: int
    rows: int
    seconds: float | None
    rate_hz: float | None
    columns: tuple[str, ...]
    added_s: float
    added_by: str


@dataclass(frozen=True, slots=True)
class DatasetView:
    """A data set; the figures are of its newest version."""

    name: str
    title: str
    version: int
    sha256: str
    sources: int
    created_s: float
    changed_s: float


@dataclass(frozen=True, slots=True)
class PartView:
    """A part of a file: fractions of its rows, and how long it is where the rate is known."""

    start: float
    end: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SourceView:
    """One file of a version. `ref`: the capture's id or the upload's digest. Training never sees `test`."""

    number: int
    kind: SourceKind
    ref: str
    sha256: str
    name: str
    role: Role
    fault: str | None
    seconds: float | None
    train: tuple[PartView, ...]
    test: tuple[PartView, ...]


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of a data set. `inspected`: whether an inspection of it is kept."""

    dataset: str
    version: int
    sha256: str
    test_share: float
    note: str
    made_s: float
    made_by: str
    inspected: bool


@dataclass(frozen=True, slots=True)
class VersionDetail:
    """A version with its files."""

    version: VersionView
    sources: tuple[SourceView, ...]


@dataclass(frozen=True, slots=True)
class LineageView:
    """A bundle and the training that made it; `job` is None when it was trained elsewhere from the same files."""

    sha256: str
    slot: str
    version: str
    published: bool
    job: str | None


@dataclass(frozen=True, slots=True)
class LabelView:
    """A label. Times are UTC seconds by the gateway's clock, `said_s` by the hub's. `capture`: when it is about all of
    one. `revision` grows with every change.
    """

    id: int
    machine: str
    point: str
    capture: str | None
    from_s: float
    to_s: float
    verdict: Verdict
    fault: str | None
    note: str
    said_by: str
    said_s: float
    revision: int
