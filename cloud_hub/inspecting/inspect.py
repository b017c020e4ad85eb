"""The whole of an inspection: every file by itself, files against each other, and a proposal with its windows."""

from __future__ import annotations

import re

import msgspec

from cloud_hub.data.load import Options, load, split_part
from cloud_hub.data.read import readable_files
from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.inspecting.duplicates import shared_stretches
from cloud_hub.inspecting.files import look_at_file
from cloud_hub.inspecting.looked import Looked, span
from cloud_hub.inspecting.propose import Draft, Given, command_line, draft
from cloud_hub.inspecting.result import SEVERITIES, Assumption, Finding, Inspection, Proposal
from models.errors import MillwrightError

# What training refuses to go below (cloud_hub.training.prepare), in windows held out and trained on.
MIN_TRAIN = 24
MIN_HELD_OUT = 6
_HELD_OUT = 0.25
_ENOUGH_CALIBRATIONS = 4  # then the held-out quarter is as long as one calibration
_SAME_RATE = 0.005
_HEALTHY = re.compile(r"(?:^|[^a-z])(?:normal|healthy|baseline|good|anomaly.free)(?:[^a-z]|$)")


def inspect_data(sources: list[str], given: Given, out: str = "model.mwb") -> tuple[Inspection, list[Recording]]:
    """Look at files and folders, and propose how to train on them.

    Returns: the inspection, and the recordings of its proposal (empty without one): holes cut out, none shorter than a
             window.
    Raises:  DataError: no such file or folder. BundleSpecError: no such family.
    """
    files = _look(sources, given)
    findings = [finding for looked in files for finding in looked.findings]
    findings += _same_data(files)
    usable = [looked for looked in files if not any(f.severity == "stops" for f in looked.findings)]
    usable, unlike = _named_healthy(usable)
    kept, mixed = _largest_group(usable)
    findings += unlike + mixed
    proposal: Proposal | None = None
    recordings: list[Recording] = []
    if kept:
        chosen = sources if len(kept) == len(files) else [looked.report.source for looked in kept]
        try:
            made = draft(kept, given)
            findings += made.findings
            proposal, recordings, said = _propose(made, chosen, out, given)
            findings += said
        except DataError as error:
            findings.append(Finding(severity="stops", kind="refused", where="data", text=str(error)))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Inspection(files=[f.report for f in files], findings=findings, proposal=proposal), recordings


def _look(sources: list[str], given: Given) -> list[Looked]:
    looked: list[Looked] = []
    for source in sources:
        path, start, end = split_part(source)
        part = f"@{start}-{end}" if (start, end) != (0.0, 1.0) else ""
        for file in readable_files(path):
            one = look_at_file(f"{file}{part}", file, (start, end), given.rate_hz, given.axes)
            one.of_folder = path.is_dir()
            looked.append(one)
    if not looked:
        raise DataError("data: no files given")
    return looked


# ------------------------------------------------------------------------------------------------ files against files


def _same_data(files: list[Looked]) -> list[Finding]:
    """The same file twice, and the same stretch in different files or twice in one."""
    found = []
    first_of: dict[str, int] = {}
    copies = set()
    for i, looked in enumerate(files):
        first = first_of.setdefault(looked.report.sha256, i)
        if first != i and looked.report.source != files[first].report.source:
            copies.add(i)
            found.append(
                Finding(
                    severity="risk",
                    kind="same file",
                    where=looked.report.source,
                    text=f"byte for byte the same as {files[first].report.source}",
                    advice="give it once: twice it counts double, and held-out data are no longer unseen",
                )
            )
    columns = sorted({name for looked in files for name in looked.prints})
    told = set()
    for column in columns:
        prints = {i: f.prints[column] for i, f in enumerate(files) if column in f.prints and i not in copies}
        for shared in shared_stretches(column, prints):
            if (shared.first, shared.second) in told:
                continue
            told.add((shared.first, shared.second))
            one, other = files[shared.first].report.source, files[shared.second].report.source
            what = f"{shared.share:.0%} of it is also in {one}" if one != other else "holds the same stretch twice"
            found.append(
                Finding(
                    severity="risk",
                    kind="same stretch",
                    where=f"{other}, column {column!r}",
                    text=f"{what}: row {shared.second_row + 1} is row {shared.first_row + 1} again",
                    advice="cut it out: what is held out must not have been trained on",
                )
            )
    return found


def _named_healthy(files: list[Looked]) -> tuple[list[Looked], list[Finding]]:
    """In a folder where some files are named as healthy, those alone. Who names each file means it."""
    named: list[Looked] = []
    others: list[Looked] = []
    for looked in files:
        fits = not looked.of_folder or _HEALTHY.search(looked.name.lower())
        (named if fits else others).append(looked)
    if not others or not any(looked.of_folder for looked in named):
        return files, []
    text = f"not named as healthy, as {next(f.name for f in named if f.of_folder)} is, in the same folder (guessed)"
    advice = "train on the healthy ones alone, as proposed; to train on these too, name each file"
    finding = Finding(severity="stops", kind="not healthy", where=_some(others), text=text, advice=advice)
    return named, [finding]


def _some(files: list[Looked]) -> str:
    names = ", ".join(looked.name for looked in files[:3])
    return names + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _largest_group(files: list[Looked]) -> tuple[list[Looked], list[Finding]]:
    """The files of one rate, set of columns and unit that are longest together, and what the others differ in."""
    groups: list[list[Looked]] = []
    for looked in files:
        group = next((g for g in groups if _difference(g[0], looked) is None), None)
        if group is None:
            groups.append([looked])
        else:
            group.append(looked)
    if not groups:
        return [], []
    kept = max(groups, key=_weight)
    found = []
    for group in groups:
        difference = _difference(kept[0], group[0])
        if difference is not None:
            found.append(
                Finding(
                    severity="stops",
                    kind=f"mixed {difference[0]}",
                    where=_some(group),
                    text=f"{difference[2]}, but {kept[0].name} has {difference[1]}",
                    advice="train on files of one kind; the longest such set is in the proposal",
                )
            )
    return kept, found


def _weight(group: list[Looked]) -> tuple[bool, float]:
    named = any(_HEALTHY.search(looked.name.lower()) for looked in group)
    return named, sum(looked.report.seconds or 0.0 for looked in group)


def _difference(one: Looked, other: Looked) -> tuple[str, str, str] | None:
    """In what two files cannot be trained on together, with what each has; None when they can."""
    rates = (one.rate_hz or 0.0, other.rate_hz or 0.0)
    if abs(rates[0] - rates[1]) > _SAME_RATE * rates[0]:
        return "rates", f"{rates[0]:g} Hz", f"sampled at {rates[1]:g} Hz"
    columns = [", ".join(c.name for c in f.report.channels if c.role != "label") for f in (one, other)]
    if columns[0] != columns[1]:
        return "columns", f"the columns {columns[0]}", f"the columns {columns[1]}"
    if one.units != other.units:
        return "units", f"the unit {one.units or 'unknown'}", f"the unit {other.units or 'unknown'}"
    return None


# ------------------------------------------------------------------------------------------------------- the proposal


def _propose(
    made: Draft, sources: list[str], out: str, given: Given
) -> tuple[Proposal, list[Recording], list[Finding]]:
    options = options_of(made, given)
    try:
        window, hop = made.family.window_for(made.rate_hz)
    except MillwrightError as error:
        raise DataError(f"family {made.family.name}: {error}") from error
    everything = load(sources, options)
    recordings = [r for r in everything if len(r.samples) >= window]
    said = _about_pieces(everything, recordings, window)
    windows: dict[str, int] = dict.fromkeys((r.point for r in everything), 0)
    for recording in recordings:
        windows[recording.point] += count(len(recording.samples), window, hop)
    fewest = min(windows.values())
    wanted = _ENOUGH_CALIBRATIONS * made.family.calibration.windows
    refused = fewest == 0 or not enough(recordings, window, hop)
    seconds = sum(len(r.samples) / r.rate_hz for r in everything) / len(windows)
    proposal = Proposal(
        family=made.family.name,
        slot=made.slot,
        quantity=made.quantity,
        units=made.units,
        units_from=made.units_from,
        rate_hz=made.rate_hz,
        axes=list(made.axes),
        column_points=made.column_points,
        mend_time=made.mend_time,
        sources=sources,
        assumptions=[*made.assumptions, *_cut_holes(everything)],
        window=window,
        hop=hop,
        recordings=len(recordings),
        windows=windows,
        verdict="refused" if refused else "few" if fewest < wanted else "enough",
        seconds=seconds,
        seconds_wanted=((wanted - 1) * hop + window) / made.rate_hz,
        command=command_line(made, sources, out, given),
    )
    return proposal, recordings, said + _about_windows(proposal, fewest)


def options_of(made: Draft | Proposal, given: Given) -> Options:
    """How to read files in the way that is proposed. What a file states need not be said."""
    return Options(
        axes=tuple(made.axes),
        rate_hz=given.rate_hz,
        units=None if made.units_from == "file" else made.units,
        column_points=made.column_points,
        mend_time=made.mend_time,
        cut_holes=True,
    )


def enough(recordings: list[Recording], window: int, hop: int) -> bool:
    """Whether every point has the windows that training asks for, split as it splits them."""
    train: dict[str, int] = {}
    held_out: dict[str, int] = {}
    for recording in recordings:
        n, point = len(recording.samples), recording.point
        early = round(n * (1 - _HELD_OUT))
        late = n - early
        early = early - window if early > 4 * window else early
        train[point] = train.get(point, 0) + count(early, window, max(1, hop // 2))
        held_out[point] = held_out.get(point, 0) + count(late, window, hop)
    return min(train.values(), default=0) >= MIN_TRAIN and min(held_out.values(), default=0) >= MIN_HELD_OUT


def count(samples: int, window: int, hop: int) -> int:
    """How many windows a run of samples gives."""
    return max(0, (samples - window) // hop + 1)


def _cut_holes(recordings: list[Recording]) -> list[Assumption]:
    pieces = [r for r in recordings if r.name.endswith("]")]
    if not pieces:
        return []
    why = f"gaps in time and rows with missing values make {len(pieces)} recordings; no window spans one"
    return [Assumption(setting="holes", value="cut out", why=why, option="fill them in the file")]


def _about_pieces(everything: list[Recording], kept: list[Recording], window: int) -> list[Finding]:
    short = len(everything) - len(kept)
    if not short:
        return []
    lost = sum(len(r.samples) for r in everything) - sum(len(r.samples) for r in kept)
    return [
        Finding(
            severity="risk",
            kind="short pieces",
            where="data",
            text=f"{short:,} of {len(everything):,} recordings are shorter than a window of {window} samples: "
            f"{lost:,} samples are not used",
            advice="fill the holes that cut them, or record longer stretches",
        )
    ]


def _about_windows(proposal: Proposal, fewest: int) -> list[Finding]:
    if proposal.verdict == "enough":
        return []
    refused = proposal.verdict == "refused"
    what = "training refuses" if refused else "training runs, but what is held out is too short to count false alarms"
    return [
        Finding(
            severity="stops" if refused else "risk",
            kind="too little data" if refused else "little data",
            where="data",
            text=f"{fewest:,} healthy windows of {proposal.window / proposal.rate_hz:.3g} s: {what}",
            advice=f"record at least {span(proposal.seconds_wanted)} of healthy running, in all its usual states",
        )
    ]


def first_stop(inspection: Inspection) -> DataError | None:
    """What stops training, as an error, worst first; None when nothing does."""
    stops = [f for f in inspection.findings if f.severity == "stops"]
    if not stops:
        return None
    first = stops[0]
    more = f" (and {len(stops) - 1} more: cloud-hub inspect tells all)" if len(stops) > 1 else ""
    text = first.text if first.where == "data" else f"{first.where}: {first.text}"
    return DataError(text + (f"; {first.advice}" if first.advice else "") + more)


def encode(inspection: Inspection) -> bytes:
    """The inspection as JSON."""
    return msgspec.json.format(msgspec.json.encode(inspection), indent=1) + b"\n"
