"""A file while it is looked at: its report so far, what to say about it, and what comparing it with others needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cloud_hub.inspecting.duplicates import Prints
from cloud_hub.inspecting.result import FileReport, Finding, Severity


@dataclass(slots=True)
class Looked:
    """One file. `prints`: of each signal, by name. `units`: what the file states. `of_folder`: not named by itself."""

    report: FileReport
    findings: list[Finding] = field(default_factory=list)
    prints: dict[str, Prints] = field(default_factory=dict)
    units: str | None = None
    of_folder: bool = False

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return Path(self.report.path).name

    @property
    def rate_hz(self) -> float | None:
        """Its sampling rate, None when nothing tells it."""
        return self.report.clock.rate_hz if self.report.clock else None

    def say(self, severity: Severity, kind: str, text: str, advice: str = "", *, column: str = "") -> None:
        """Add a finding about the file, or about one of its columns."""
        where = self.name + (f", column {column!r}" if column else "")
        self.findings.append(
            Finding(severity=severity, kind=kind, where=where, column=column, text=text, advice=advice)
        )


def span(seconds: float) -> str:
    """A length of time for people: hours, minutes or seconds, whichever gives a number from 2 on."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
