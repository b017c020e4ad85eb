"""Where uploads, jobs and bundles are kept, and the bounds on them: what the services that handle files are given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.errors import DataError
from cloud_hub.settings import Settings

KINDS = {".csv": "csv", ".parquet": "parquet", ".wav": "wav", ".npz": "npz"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of the hub's home, and bounds in bytes."""

    uploads: Path
    captures: Path
    jobs: Path
    candidates: Path
    bundles: Path
    reports: Path
    upload_max: int
    uploads_max: int

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """As the settings say."""
        return cls(
            uploads=settings.uploads_dir,
            captures=settings.captures_dir,
            jobs=settings.jobs_dir,
            candidates=settings.candidates_dir,
            bundles=settings.bundles_dir,
            reports=settings.reports_dir,
            upload_max=int(settings.upload_max_mb * 2**20),
            uploads_max=int(settings.uploads_max_gb * 2**30),
        )

    def upload(self, sha256: str, kind: str) -> Path:
        """The file of an upload."""
        return self.uploads / f"{sha256}.{kind}"

    def source(self, kind: str, ref: str, name: str) -> Path:
        """The file behind a source of a data set: a capture's by its id, an upload's by its digest."""
        if kind == "capture":
            return self.captures / f"{ref}.npz"
        return self.upload(ref, KINDS[Path(name).suffix])


def safe_name(name: str) -> str:
    """The last part of a file's name with nothing in it that a path, a shell or a page could take for more.

    Raises: DataError: no name is left, or it is of no kind that can be read.
    """
    base = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = base.rpartition(".")
    suffix = f"{dot}{suffix.lower()}"
    stem = _UNSAFE.sub("_", stem).strip("._-")[:_MAX_NAME]
    if suffix not in KINDS:
        raise DataError(f"upload {name[:80]!r}: expected a file of {', '.join(KINDS)}")
    if not stem:
        raise DataError(f"upload {name[:80]!r}: expected a name of A-Z a-z 0-9 . _ - before {suffix}")
    return stem + suffix
