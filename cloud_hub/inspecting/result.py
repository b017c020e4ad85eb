"""What an inspection finds. Everything here is also the JSON of `cloud-hub inspect --json`."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["stops", "risk", "note"]
"""`stops`: training refuses it. `risk`: training runs, but what it learns may be wrong. `note`: good to know."""
SEVERITIES: tuple[Severity, ...] = ("stops", "risk", "note")

Source = Literal["file", "name", "values", "given", "unknown"]
"""Where a unit or quantity is from: stated by the file, guessed from a name, guessed from values, said by the user."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing worth saying. `where`: file, and column where there is one. `advice`: what to do about it."""

    severity: Severity
    kind: str
    where: str
    text: str
    column: str = ""
    advice: str = ""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One column. `step`: of its quantisation, None when there is none to be seen. `levels`: how many distinct values.

    `stuck_rows`: the longest run of one value, when it is longer than chance explains. `clipped`: share of the rows
    that pile up at the lowest or highest value, 0 when they do not.
    """

    name: str
    role: Literal["signal", "label", "counter", "constant", "text"]
    rows: int
    quantity: str | None = None
    unit: str | None = None
    unit_from: Source = "unknown"
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    missing: int = 0
    step: float | None = None
    levels: int = 0
    stuck_rows: int = 0
    clipped: float = 0.0


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """What tells the sampling rate. `source`: `file` (a number in it), `stamps`, or `unknown`."""

    source: Literal["file", "stamps", "given", "unknown"]
    rate_hz: float | None = None
    column: str | None = None
    jitter: float = 0.0
    uneven: float = 0.0
    back: int = 0
    repeats: int = 0
    missing: int = 0
    gaps: int = 0
    lost_s: float = 0.0
    counted_hz: float | None = None


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `error`: why it cannot be read at all; then nothing else is known of it."""

    source: str
    path: str
    sha256: str
    bytes: int
    rows: int = 0
    seconds: float | None = None
    clock: Clock | None = None
    channels: list[Channel] = []
    other: dict[str, str] = {}
    error: str | None = None


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that nobody gave. `option`: how to say otherwise."""

    setting: str
    value: str
    why: str
    option: str


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """How to train. `windows`: healthy ones, cut as a gateway does, by point. `verdict` on their number: `refused`
    (training would refuse), `few` (it runs, but the held-out quarter says little) or `enough`.
    """

    family: str
    slot: str
    quantity: str
    units: str
    units_from: Source
    rate_hz: float
    axes: list[str]
    column_points: bool
    mend_time: bool
    sources: list[str]
    assumptions: list[Assumption]
    window: int
    hop: int
    recordings: int
    windows: dict[str, int]
    verdict: Literal["refused", "few", "enough"]
    seconds: float
    seconds_wanted: float
    command: str


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. `findings`: worst first. `proposal`: None when a finding stops everything."""

    files: list[FileReport]
    findings: list[Finding]
    proposal: Proposal | None
