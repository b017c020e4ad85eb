"""From what files hold to how to train on them: family, columns, unit, slot. What the user gives always wins."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cloud_hub.data.read import labels_among
from cloud_hub.errors import DataError
from cloud_hub.inspecting.looked import Looked
from cloud_hub.inspecting.names import guess_from_name, is_position, unit_by_gravity
from cloud_hub.inspecting.result import Assumption, Channel, Finding, Source
from models.bundle.manifest import MAX_AXES
from models.families import Family, families, family_named

# A shaft of 25 Hz with three harmonics fits below half of this; slower series are levels, not vibration.
VIBRATION_HZ = 200.0
UNKNOWN = "unknown"
MIXED = "mixed"
SLOTS = {"spectral": "vibration"}
_FAST = ("acceleration", "velocity", "sound", "current")


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says on the command line; None or empty for what is to be found out."""

    family: str | None = None
    slot: str | None = None
    quantity: str | None = None
    units: str | None = None
    rate_hz: float | None = None
    axes: tuple[str, ...] = ()
    column_points: bool | None = None
    mend_time: bool | None = None


@dataclass(slots=True)
class Draft:
    """Settings so far. `some_axes`: columns are left out that are no labels.

    `assumptions` and `findings`: what was taken without being told, and what must be said of it.
    """

    family: Family
    rate_hz: float
    axes: tuple[str, ...] = ()
    some_axes: bool = False
    column_points: bool = False
    quantity: str = ""
    units: str = ""
    units_from: Source = "given"
    slot: str = ""
    mend_time: bool = False
    assumptions: list[Assumption] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def assume(self, setting: str, value: str, why: str, option: str) -> None:
        """Note a setting that nobody gave."""
        self.assumptions.append(Assumption(setting=setting, value=value, why=why, option=option))


def draft(files: list[Looked], given: Given) -> Draft:
    """Choose what was not given. All files have one rate and the same columns.

    Raises: DataError: what is given contradicts the files or itself. BundleSpecError: no such family.
    """
    rate_hz = files[0].rate_hz
    if rate_hz is None:
        raise DataError(f"{files[0].report.path}: its sampling rate (Hz) is not in the file; give it with --rate")
    signals = _signals(files, given)
    made = Draft(_family(rate_hz, signals, given), rate_hz)
    if given.family is None:
        made.assume("family", made.family.name, _why_family(rate_hz, signals), "--family NAME")
    _choose_axes(made, files, signals, given)
    _choose_points(made, given)
    _choose_units(made, files, [c for c in signals if c.name in made.axes], given)
    made.slot = given.slot or SLOTS.get(made.family.name, made.family.name)
    if given.slot is None:
        made.assume("slot", made.slot, "the usual name for this family", "--slot NAME")
    dirty = [
        f for f in files if f.report.clock and (f.report.clock.back or f.report.clock.repeats or f.report.clock.missing)
    ]
    made.mend_time = bool(dirty) if given.mend_time is None else given.mend_time
    if dirty and given.mend_time is None:
        made.assume(
            "time", "mended", f"{_names(dirty)}: rows are sorted by stamp, of equal stamps the first row is kept",
            "--no-mend-time refuses such files",
        )  # fmt: skip
    return made


def _names(files: list[Looked]) -> str:
    names = [looked.name for looked in files]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _signals(files: list[Looked], given: Given) -> list[Channel]:
    """The columns to choose from, as the first file has them."""
    channels = {channel.name: channel for channel in files[0].report.channels}
    if given.axes:
        labels = labels_among(tuple(channels))
        wrong = [axis for axis in given.axes if axis in labels]
        if wrong:
            raise DataError(f"--axes names {', '.join(wrong)}, which marks faults: labels are never trained on")
        missing = [axis for axis in given.axes if axis not in channels]
        if missing:
            raise DataError(
                f"{files[0].report.path}: no column {', '.join(missing)}; it has {', '.join(channels) or 'none'}"
            )
        return [channels[axis] for axis in given.axes]
    copies = set.intersection(
        *({f.column for f in looked.findings if f.kind == "duplicate column"} for looked in files)
    )
    roles: dict[str, set[str]] = {}
    for channel in (c for looked in files for c in looked.report.channels):
        roles.setdefault(channel.name, set()).add(channel.role)
    # A column that moves in one file is of use; one that counts, labels or holds text in one is of none.
    useful = {name for name, found in roles.items() if "signal" in found and found <= {"signal", "constant"}}
    return [channel for name, channel in channels.items() if name in useful - copies]


def _family(rate_hz: float, signals: list[Channel], given: Given) -> Family:
    if given.family is not None:
        return family_named(given.family)
    return families()["spectral" if _is_fast(rate_hz, signals) else "process"]


def _is_fast(rate_hz: float, signals: list[Channel]) -> bool:
    """Vibration, sound or current waveforms: sampled fast, and not all named as levels."""
    slow = [c for c in signals if c.quantity is not None and c.quantity not in _FAST]
    return rate_hz >= VIBRATION_HZ and len(slow) < len(signals)


def _why_family(rate_hz: float, signals: list[Channel]) -> str:
    if _is_fast(rate_hz, signals):
        return f"sampled at {rate_hz:g} Hz: waveforms, whose spectra tell the machine's state"
    if rate_hz >= VIBRATION_HZ:
        return "all columns are named as slow quantities"
    return f"sampled at {rate_hz:.4g} Hz, under {VIBRATION_HZ:g}: levels that belong together, not waveforms"


def _choose_axes(made: Draft, files: list[Looked], signals: list[Channel], given: Given) -> None:
    names = tuple(c.name for c in signals)
    if given.axes:
        made.axes, made.some_axes = given.axes, True
        return
    if not names:
        raise DataError(f"{files[0].report.path}: no column is left that moves")
    if made.family.name == "spectral" and given.quantity is None:
        kinds = [c.quantity for c in signals if c.quantity in _FAST]
        kind = next((q for q in _FAST if q in kinds), None)
        names = tuple(c.name for c in signals if kind is None or c.quantity == kind)
    if len(names) > MAX_AXES:
        made.findings.append(
            Finding(
                severity="risk",
                kind="too many columns",
                where=files[0].name,
                text=f"{len(names)} columns, a point has at most {MAX_AXES}: left out {', '.join(names[MAX_AXES:])}",
                advice="choose with --axes, or make each column a point of its own: --column-points",
            )
        )
        names = names if given.column_points else names[:MAX_AXES]
    made.axes = names
    left = [c.name for c in files[0].report.channels if c.name not in names]
    made.some_axes = any(c.name in left for c in files[0].report.channels if c.role != "label")
    why = f"all columns but {', '.join(left)}" if left else "all columns"
    made.assume("axes", ", ".join(names), why, "--axes A,B")


def _choose_points(made: Draft, given: Given) -> None:
    made.column_points = bool(given.column_points)
    if given.column_points is not None or len(made.axes) < 2 or made.family.name != "spectral":
        return
    if all(is_position(axis) for axis in made.axes):
        made.column_points = True
        made.assume("points", "one for each column", "the names are those of sensor positions (guessed)", "--one-point")


def _choose_units(made: Draft, files: list[Looked], chosen: list[Channel], given: Given) -> None:
    """Quantity and unit: as given, as the files state, as the columns' names say, by gravity, or honestly unknown."""
    quantities = made.family.quantities
    stated = {f.units for f in files if f.units is not None}
    units = given.units or (next(iter(stated)) if stated else None)
    if units is not None:
        made.units, made.units_from = units, "given" if given.units else "file"
        made.findings += _against_names(files[0], units, chosen)
    else:
        made.units, made.units_from, why = _guess_units(made, files[0], chosen)
        made.assume("units", made.units, why, "--units UNIT")
    if given.quantity is not None:
        made.quantity = given.quantity
        return
    fitting = [quantity for quantity, allowed in quantities.items() if made.units in allowed]
    named = [q for q in fitting if any(c.quantity == q for c in chosen)]
    if not fitting:
        known = ", ".join(sorted({unit for allowed in quantities.values() for unit in allowed}))
        if made.units == UNKNOWN:
            raise DataError(f"{files[0].report.path}: its unit is not in the file; give it with --units: {known}")
        raise DataError(
            f"{files[0].report.path}: family {made.family.name} knows the units {known}, got {made.units!r}: convert "
            "the data, or choose another --family"
        )
    made.quantity = (named or fitting)[0]
    if made.units not in {UNKNOWN, MIXED} and len(fitting) > 1:
        made.assume("quantity", made.quantity, f"what is measured in {made.units}", "--quantity NAME")


def _against_names(first: Looked, units: str, chosen: list[Channel]) -> list[Finding]:
    """A unit that is stated wins over names, but is doubtful when they say another."""
    others = sorted({c.unit for c in chosen if c.unit_from == "name" and c.unit is not None} - {units})
    if not others or units in {MIXED, UNKNOWN}:
        return []
    text = f"taken to be in {units}, but the columns' names say {', '.join(others)}"
    return [Finding(severity="risk", kind="unit", where=first.name, text=text, advice="one of the two is wrong")]


def _guess_units(made: Draft, first: Looked, chosen: list[Channel]) -> tuple[str, Source, str]:
    allowed = {unit for units in made.family.quantities.values() for unit in units}
    units = {channel.unit for channel in chosen}
    kinds = {channel.quantity for channel in chosen}
    file_kind = guess_from_name(Path(first.report.path).stem).quantity
    if len(units) == 1 and None not in units:
        unit = str(next(iter(units)))
        if unit in allowed:
            return unit, "name", "the columns' names say so (guessed)"
        return UNKNOWN, "unknown", f"the names say {unit} (guessed), which family {made.family.name} has no use for"
    if len(units | kinds) > 1 and len(kinds) > 1 and MIXED in allowed:
        return MIXED, "name", "columns of several quantities (guessed from their names), each in its own unit"
    if kinds == {"acceleration"}:
        by_gravity = unit_by_gravity([c.mean or 0.0 for c in chosen])
        if by_gravity is not None and by_gravity in allowed:
            return by_gravity, "values", "the mean of the axes is as long as gravity in this unit (guessed)"
    kind = next(iter(kinds - {None}), file_kind)
    about = f"probably {kind}, but " if kind else ""
    why = (
        f"{about}neither file nor names tell the unit. Scores do not depend on it; velocity in mm/s and severity zones "
        f'are off without it, and a gateway\'s points must say units = "{UNKNOWN}", quantity = "{UNKNOWN}" too'
    )
    return UNKNOWN, "unknown", why


def command_line(made: Draft, sources: list[str], out: str, given: Given) -> str:
    """The exact command that trains with these settings."""
    words = ["cloud-hub", "train"]
    for source in sources:
        words += ["--data", source]
    words += ["--out", out, "--family", made.family.name, "--slot", made.slot]
    words += ["--quantity", made.quantity, *(["--axes", ",".join(made.axes)] if made.some_axes else [])]
    if made.units_from != "file":
        words += ["--units", made.units]
    if given.rate_hz is not None:
        words += ["--rate", f"{given.rate_hz:g}"]
    words += ["--column-points"] if made.column_points else []
    words += ["--mend-time"] if made.mend_time else []
    return shlex.join(words)
