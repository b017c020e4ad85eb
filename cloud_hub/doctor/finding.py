"""What an examination finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from cloud_hub.errors import HubError

Grade = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend`: what to do about it, None when it is well."""

    about: str
    grade: Grade
    text: str
    mend: str | None = None


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding(about, "ok", text)


def warning(about: str, text: str, mend: str) -> Finding:
    """It works, and should be mended."""
    return Finding(about, "warning", text, mend)


def problem(about: str, text: str, mend: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(about, "problem", text, mend)


@dataclass(frozen=True, slots=True)
class Check:
    """One question. `look` yields findings; an error of the hub's own that it raises is a finding, too."""

    about: str
    mend: str
    look: Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """Ask all questions, whatever the ones before have found."""
    for check in checks:
        try:
            yield from check.look()
        except (HubError, OSError) as error:
            yield problem(check.about, str(error), check.mend)
