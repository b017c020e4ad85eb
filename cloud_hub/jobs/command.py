"""From a data set's version and an order to the command line that trains, and the folder that it finds its data in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cloud_hub.errors import ConflictError, DataError
from cloud_hub.jobs.places import Places
from cloud_hub.store.data_views import PartView, SourceView, VersionDetail
from models.contract.ids import Id
from models.families import families

LIVES = "remaining_life"
_BLOCK = 2**20
Words = Annotated[str, msgspec.Meta(max_length=200)]


class TrainingOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to train; what is left out is taken from the data, as `cloud-hub train` does."""

    family: Id | None = None
    slot: Id | None = None
    version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")] | None = None
    title: Words | None = None
    quantity: Words | None = None
    units: Words | None = None
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    axes: Annotated[list[Words], msgspec.Meta(max_length=64)] = []
    column_points: bool | None = None
    mend_time: bool | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 1
    seeds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    accept: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


def order_of(values: dict[str, Any]) -> TrainingOrder:
    """An order from its JSON. Raises: DataError: what is wrong, and where."""
    try:
        return msgspec.convert(values, TrainingOrder)
    except msgspec.ValidationError as error:
        raise DataError(f"training order: {error}") from error


def check_order(order: TrainingOrder, detail: VersionDetail) -> None:
    """What can be known before a process is started. Raises: DataError."""
    if order.family is not None and order.family not in families():
        raise DataError(f"training order, family: expected one of {', '.join(families())}, got {order.family!r}")
    healthy = [source for source in detail.sources if source.role == "healthy" and source.train]
    if not healthy:
        where = f"data set {detail.version.dataset}, version {detail.version.version}"
        raise DataError(f"{where}: nothing in it is healthy, and models are trained on nothing else")
    if any("," in axis for axis in order.axes):
        raise DataError("training order, axes: expected names without commas")
    if order.family == LIVES:
        whole = healthy[0].train == (PartView(0.0, 1.0, healthy[0].train[0].seconds),)
        if len(detail.sources) != 1 or not whole:
            raise DataError(
                f"family {LIVES} learns from one file of whole lives: expected a data set of one whole file and a "
                f"test share of 0, got {len(detail.sources)} files and {detail.version.test_share:g}"
            )


def lay_out(detail: VersionDetail, places: Places, folder: Path) -> dict[int, Path]:
    """Link a version's files into a folder under the names that people know; the bundle will name its data so.

    Returns: number of the source to its link.
    Raises:  ConflictError: a file is gone, or is no longer what it was when the version was made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    links: dict[int, Path] = {}
    of_digest: dict[str, Path] = {}
    for source in detail.sources:
        if source.sha256 not in of_digest:
            file = places.source(source.kind, source.ref, source.name)
            _check_same(file, source)
            link = _unused(folder, source.name)
            link.symlink_to(file.resolve())
            of_digest[source.sha256] = link
        links[source.number] = of_digest[source.sha256]
    return links


def train_arguments(order: TrainingOrder, detail: VersionDetail, links: dict[int, Path], folder: Path) -> list[str]:
    """The words after `cloud-hub`. Values are joined to their options: none can be taken for an option itself."""
    words = ["train", f"--out={folder / 'model.mwb'}", f"--report={folder / 'report.html'}"]
    words += [f"--json={folder / 'result.json'}", f"--progress={folder / 'progress.jsonl'}"]
    options = {("healthy", 0): "--data", ("healthy", 1): "--test-healthy", ("fault", 0): "--faulty"}
    options[("fault", 1)] = "--test-faulty"
    for source in detail.sources:
        for late, parts in enumerate((source.train, source.test)):
            words += [f"{options[(source.role, late)]}={text}" for text in source_texts(links[source.number], parts)]
    for name in ("family", "slot", "version", "title", "quantity", "units", "accept"):
        value = getattr(order, name)
        words += [f"--{name}={value}"] if value else []
    words += [f"--axes={','.join(order.axes)}"] if order.axes else []
    words += [f"--rate={order.rate_hz!r}"] if order.rate_hz is not None else []
    if order.column_points is not None:
        words.append("--column-points" if order.column_points else "--one-point")
    if order.mend_time is not None:
        words.append("--mend-time" if order.mend_time else "--no-mend-time")
    return [*words, f"--seed={order.seed}", f"--seeds={order.seeds}"]


def source_texts(path: Path, parts: Sequence[PartView]) -> list[str]:
    """Parts of a file as `FILE@START-END`; twelve digits tell any row of the longest file that is read."""
    return [
        str(path) if (part.start, part.end) == (0.0, 1.0) else f"{path}@{part.start:.12f}-{part.end:.12f}"
        for part in parts
    ]


def digest_of(file: Path) -> str:
    """SHA-256 of a file. Raises: OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check_same(file: Path, source: SourceView) -> None:
    try:
        found = digest_of(file)
    except OSError as error:
        raise ConflictError(f"{source.kind} {source.name}: its file cannot be read: {error}") from error
    if found != source.sha256:
        raise ConflictError(f"{source.kind} {source.name}: expected a file with digest {source.sha256}, got {found}")


def _unused(folder: Path, name: str) -> Path:
    """A name in the folder that nothing has yet: `data.csv`, `data-2.csv`, ..."""
    stem, suffix = Path(name).stem, Path(name).suffix
    link, number = folder / name, 1
    while link.is_symlink():
        number += 1
        link = folder / f"{stem}-{number}{suffix}"
    return link
