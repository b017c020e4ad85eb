"""Progress for programs: lines of JSON in a file, for whoever started the command and wants to show how far it is.

    {"share": 0.62, "what": "quantising to int8"}
    {"end": "done"}                                  or "refused", "failed", each with "text"

A line is written when `what` changes or the share has grown by a hundredth, so the file stays small whatever trains.
The last line always tells how it ended, unless the process was killed.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_hub.errors import DataError, GateError
from models.errors import BundleError, MillwrightError

_STEP = 0.01


class ProgressFile:
    """Use it as a context; call it like any other `Say`. Without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        """Raises: DataError: the file cannot be written."""
        self._told = ("", -1.0)
        try:
            self._file = path.open("w", encoding="utf-8") if path is not None else None
        except OSError as error:
            raise DataError(f"--progress {path}: cannot be written: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._write({"end": "done"})
        elif isinstance(error, (GateError, BundleError)):
            self._write({"end": "refused", "text": str(error)})
        else:
            known = isinstance(error, MillwrightError)
            self._write({"end": "failed", "text": str(error) if known else f"{type(error).__name__}: {error}"})
        if self._file is not None:
            self._file.close()

    def __call__(self, what: str, share: float) -> None:
        """Tell what is being done and the share done, 0 to 1."""
        if what != self._told[0] or share >= self._told[1] + _STEP:
            self._told = what, share
            self._write({"share": round(share, 4), "what": what})

    def _write(self, line: dict[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
