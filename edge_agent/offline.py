"""`edge-agent replay`: a bundle over a recording, without broker and hub, with the agent's own intake and slots.

Times are in the recording's own seconds, counted in samples. Points start from their stored calibration when the active
bundle is replayed, else they calibrate themselves on the recording's beginning.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.config import Config, PointSettings
from edge_agent.errors import AgentError, StorageError
from edge_agent.install import check_fit, load_bundle_file, load_network, prove
from edge_agent.intake import Intake
from edge_agent.runtime import Runtime, find_runtime
from edge_agent.slot import Outcome, Slot, SlotEvent
from edge_agent.slot_folder import CALIBRATION_SUFFIX
from edge_agent.storage import load_document
from edge_agent.update import SlotRecord
from models.bundle.archive import SUFFIX
from models.contract.recording import read_records
from models.signal.arrays import F32

_BLOCK = 4096


class ReplayInputError(AgentError):
    """A file that cannot be replayed; the text says what was expected."""


@dataclass(slots=True)
class _Tally:
    windows: int = 0
    flagged: int = 0
    scored: int = 0
    worst: float = -math.inf
    first_alarm_s: float | None = None


class _Replay:
    """Slots at work on a recording; gathers what they say."""

    def __init__(self, config: Config, bundle: Path | None, slot: str | None) -> None:
        runtime = find_runtime(config.runtime.kind, config.runtime.threads)
        self._ids = iter(range(1, 1_000_000))
        self.slots = dict(self._load(config, bundle, slot, runtime))
        if not self.slots:
            raise ReplayInputError("replay: no slot has an active bundle; name one with --bundle FILE")
        self.tallies = {point.name: _Tally() for one in self.slots.values() for point in one.points}

    def _load(
        self, config: Config, path: Path | None, only: str | None, runtime: Runtime
    ) -> Iterator[tuple[str, Slot]]:
        if only is not None and only not in config.slots:
            raise ReplayInputError(f"replay: no point names slot {only!r}; known: {', '.join(config.slots)}")
        if path is not None:
            bundle = load_bundle_file(path, None)
            slot = only or bundle.manifest.slot
            points = config.points_of(slot)
            if not points:
                raise ReplayInputError(f"{path}: is for slot {slot!r}; the settings know {', '.join(config.slots)}")
            check_fit(bundle.manifest, slot, points)
            loaded = load_network(bundle, runtime)
            prove(bundle, loaded, runtime)
            one = self._slot(slot, points)
            one.install(loaded)
            yield slot, one
            return
        for slot in config.slots:
            folder = config.gateway.state_dir / "slots" / slot
            record = load_document(folder / "slot.json", SlotRecord) or SlotRecord()
            if record.active is None or only not in {None, slot}:
                continue
            bundle = load_bundle_file(folder / f"{record.active.sha256}{SUFFIX}", record.active.sha256)
            check_fit(bundle.manifest, slot, config.points_of(slot))
            calibration = folder / f"{record.active.sha256}{CALIBRATION_SUFFIX}"
            one = self._slot(slot, config.points_of(slot))
            one.install(load_network(bundle, runtime), calibration.read_bytes() if calibration.exists() else None)
            yield slot, one

    def _slot(self, slot: str, points: tuple[PointSettings, ...]) -> Slot:
        # A span of nothing: a row for each window, so that shares are exact.
        return Slot(slot, points, 0.0, lambda: f"alarm-{next(self._ids)}")

    def take(self, slot: Slot, at: int, samples: F32, time_s: float, *, gap: bool) -> Iterator[str]:
        """Samples of one point, which end at `time_s`."""
        slot.push(at, samples, time_s, gap=gap)
        yield from self.tell(slot.tick(time_s), time_s)

    def tell(self, outcome: Outcome, time_s: float) -> Iterator[str]:
        """Lines for what a tick gave."""
        if outcome.champion_failure is not None:
            raise ReplayInputError(f"replay: the bundle failed: {outcome.champion_failure}")
        for event in outcome.events:
            if event.draft.kind == "raised" and self.tallies[event.point.name].first_alarm_s is None:
                self.tallies[event.point.name].first_alarm_s = time_s
            yield _event_line(event, time_s)
        for row in outcome.rows:
            tally = self.tallies[f"{row.machine}/{row.point}"]
            tally.windows += row.windows
            tally.flagged += row.flagged
            if row.score_mean is not None and row.score_max is not None:
                tally.scored += row.windows
                tally.worst = max(tally.worst, row.score_max)

    def summary(self, time_s: float) -> Iterator[str]:
        """The last rows, then one line per point that had windows."""
        for slot in self.slots.values():
            yield from self.tell(slot.tick(math.inf), time_s)
        for name, tally in self.tallies.items():
            if tally.windows:
                share = f"{tally.flagged / tally.scored:.1%} over the limit" if tally.scored else "still calibrating"
                worst = f", worst score {tally.worst:.2f}" if tally.scored else ""
                first = f", first alarm at {tally.first_alarm_s:.1f} s" if tally.first_alarm_s is not None else ""
                yield f"{name}: {tally.windows} windows, {share}{worst}{first or ', no alarm'}"


def replay_file(config: Config, file: Path, bundle: Path | None, slot: str | None) -> Iterator[str]:
    """Replay a recording of frames, or samples of the slot's first point as .npz or .csv; yields lines for people.

    Raises: ReplayInputError, StorageError, BundleError, RuntimeLoadError, ContractError.
    """
    replay = _Replay(config, bundle, slot)
    if file.suffix in {".npz", ".csv"}:
        yield from _replay_samples(replay, file)
    else:
        yield from _replay_frames(replay, config, file)


def _replay_frames(replay: _Replay, config: Config, file: Path) -> Iterator[str]:
    intake = Intake(config.gateway.id, config.points)
    seen = [0] * len(config.points)
    latest_s = 0.0
    try:
        with file.open("rb") as stream:
            for topic, payload in read_records(stream, str(file)):
                arrival = intake.accept(topic, payload, latest_s)
                if arrival is None:
                    continue
                point = config.points[arrival.point]
                slot = replay.slots.get(point.slot)
                seen[arrival.point] += len(arrival.samples)
                time_s = seen[arrival.point] / point.rate_hz
                latest_s = max(latest_s, time_s)
                if slot is not None:
                    yield from replay.take(slot, slot.points.index(point), arrival.samples, time_s, gap=arrival.gap)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from error
    yield from replay.summary(latest_s)
    for reason, count in sorted(intake.counters.items()):
        yield f"frames {reason}: {count}"


def _replay_samples(replay: _Replay, file: Path) -> Iterator[str]:
    slot = next(iter(replay.slots.values()))
    point = slot.points[0]
    samples = _read_npz(file, point.axes) if file.suffix == ".npz" else _read_csv(file, point.axes)
    if not np.isfinite(samples).all():
        bad = int(np.argmin(np.isfinite(samples).all(axis=1)))
        raise ReplayInputError(f"{file}: sample {bad} is not finite")
    for start in range(0, len(samples), _BLOCK):
        part = samples[start : start + _BLOCK]
        yield from replay.take(slot, 0, part, (start + len(part)) / point.rate_hz, gap=start == 0)
    yield from replay.summary(len(samples) / point.rate_hz)


def _read_npz(file: Path, axes: tuple[str, ...]) -> F32:
    """Samples (n, axes): `data` (n, axes) as a capture has it, else one array (n,) per axis."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            if "data" in archive.files:
                columns = archive["data"]
            elif missing := [axis for axis in axes if axis not in archive.files]:
                raise ReplayInputError(f"{file}: expected arrays {', '.join(axes)}; {', '.join(missing)} is missing")
            else:
                columns = np.stack([archive[axis] for axis in axes], axis=1)
            samples: F32 = np.asarray(columns, np.float32)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ReplayInputError(f"{file}: cannot be read as .npz: {error}") from error
    if samples.ndim != 2 or samples.shape[1] != len(axes):
        raise ReplayInputError(f"{file}: expected (n, {len(axes)}) samples of {', '.join(axes)}, got {samples.shape}")
    return samples


def _read_csv(file: Path, axes: tuple[str, ...]) -> F32:
    """Samples (n, axes) of the columns that the header names."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            header = [name.strip().strip('"') for name in stream.readline().split(",")]
            missing = [axis for axis in axes if axis not in header]
            if missing:
                raise ReplayInputError(
                    f"{file}: expected columns {', '.join(axes)}; {', '.join(missing)} is missing from {header}"
                )
            columns = [header.index(axis) for axis in axes]
            samples: F32 = np.loadtxt(stream, np.float32, delimiter=",", usecols=columns, ndmin=2)
    except (OSError, ValueError) as error:
        raise ReplayInputError(f"{file}: cannot be read as .csv: {error}") from error
    return samples


def _event_line(event: SlotEvent, time_s: float) -> str:
    line = f"{time_s:10.1f} s  {event.point.name}  {event.draft.kind}: score {event.draft.score:.2f}"
    return f"{line}; {event.diagnosis.summary}" if event.diagnosis is not None else line
