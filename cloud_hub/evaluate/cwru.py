"""Bearing recordings named and laid out like those of the CWRU Bearing Data Center: detection and fault kind.

Trained on healthy data alone with the product's own training, scored by the int8 network through the gateway's own
`Monitor`. Each sensor (DE, FE) is a point of its own with its own limit, as it would be on a machine; a recording
alarms when either point does, and a window's score is the larger of the two. Every file goes through the same
filter to one rate, so that neither 12 nor 48 kHz can be told. The healthy record's load and speed are not those of the
others: for training and calibration the healthy data is played a little faster and slower, and its bands are raised and
lowered a little, so that the limit leaves room for what another load does to a healthy machine. Fault files and their
labels choose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.load import Options, load
from cloud_hub.data.recording import Recording
from cloud_hub.data.resample import carried_to_hz, resample
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.runtime import Int8Model
from cloud_hub.training.train import Order, Say, Trained, train
from models.families import family_named
from models.signal.arrays import F32, F64
from models.signal.calibrate import classical_limit
from models.signal.diagnose import PointFacts, diagnose, learn_healthy
from models.signal.monitor import Monitor, Result
from models.signal.windows import cut_windows

RATE_HZ = 10_000.0
"""Bands end at 4.5 kHz: under what the anti-alias filter of a 12 kHz recording leaves alone (5.1 kHz)."""
SENSORS = ("DE", "FE")
ORDERS = {
    "DE": {"BPFI": 5.415, "BPFO": 3.585, "BSF": 4.714, "FTF": 0.398},  # 6205-2RS, CWRU Bearing Data Center
    "FE": {"BPFI": 4.947, "BPFO": 3.053, "BSF": 3.987, "FTF": 0.382},  # 6203-2RS
}
_NAME = re.compile(
    r"load(?P<load>\d+)_(?:normal_\w+?|(?P<end>DE|FE)(?P<khz>\d+)k_(?P<kind>IR|B|OR\d*)_(?P<mil>\d+)mil\w*?)\.npz"
)
_LABEL = {"I": "BPFI", "B": "BSF", "O": "BPFO"}
_WINDOW_S, _HOP_SHARE = 0.1, 4
_TRAIN_SHARE = 0.7
_SPEEDS = (
    1.0,
    0.965,
    1.035,
    0.98,
    1.02,
    0.97,
    1.03,
    0.99,
    1.01,
)  # an induction motor slips by up to a few percent between no and full load
_GAIN_DB = 2.0  # standard deviation of a band's level between loads; 6 dB is a change worth an alarm
_KNOTS_PER_OCTAVE = (1, 12)  # levels of broad bands change with the load, and so do those of single lines
_DIAGNOSE_SAMPLES = 65_536  # as much as a gateway keeps


class CwruRow(msgspec.Struct, frozen=True, kw_only=True):
    """One recording, or the unseen part of a training recording. `first_alarm_s`: None when none was raised."""

    name: str
    load: int
    faulty: bool
    label: str | None
    windows: int
    flagged_share: float
    first_alarm_s: float | None
    score_median: float
    rms_flagged_share: float
    rms_alarmed: bool
    best_guess: str | None = None
    fault: str | None = None
    confidence: float | None = None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The same counts for plain RMS with the same rules for limit and decision."""

    macro_auroc: float | None
    alarmed: int
    false_alarms: int


class CwruResult(msgspec.Struct, frozen=True, kw_only=True):
    """`macro_auroc`: mean over physical bearings (end, kind, diameter) of the AUROC of their windows against all
    healthy ones. `fault_top1`: share of faulty recordings whose best guess is their label, of all, alarmed or not.
    `rate_pairs`: for bearings recorded at several rates, the median score at each rate in kHz: the leakage check.
    """

    macro_auroc: float | None
    alarmed: int
    faulty: int
    healthy: int
    false_alarms: int
    rms: Baseline
    fault_top1: float | None
    fault_named: int
    fault_named_right: int
    bearings: dict[str, float]
    rate_pairs: dict[str, dict[str, float]]
    gates: list[str]
    carried_to_hz: float
    rate_hz: float
    rows: list[CwruRow]


class _File(msgspec.Struct, frozen=True):
    name: str
    load: int
    end: str | None
    khz: int
    kind: str | None
    mil: str
    shaft_hz: float
    points: tuple[Recording, ...]

    @property
    def bearing(self) -> str:
        return f"{self.end} {self.kind} {self.mil} mil"


def evaluate_cwru(data: Path, healthy: Path | None, seed: int, say: Say) -> CwruResult:
    """Train on the normal files of `healthy` (default: of `data`), score everything in `data`.

    Raises: DataError: no such files, a name or a file that cannot be read, too little healthy data.
    """
    files = _read(data)
    normal = [f for f in (_read(healthy) if healthy is not None else files) if f.kind is None]
    if not normal:
        raise DataError(f"{healthy or data}: no healthy recordings (load*_normal_*.npz) to train on")
    seen = {f.points[0].sha256 for f in normal}
    trained, varied = _train(normal, seed, say)
    judge = _Judge(trained, varied, normal)
    window, rate_hz = trained.prepared.source.window, RATE_HZ
    held = [
        (msgspec.structs.replace(f, name=f"{f.name}, unseen part", points=tuple(_late(p, window) for p in f.points)))
        for f in normal
    ]
    judged = [
        (f, *judge.run(f)) for f in [*held, *(f for f in files if f.kind is not None or f.points[0].sha256 not in seen)]
    ]
    rows = [row for _, row, _, _ in judged]
    calm = [row for row in rows if not row.faulty]
    bad = [row for row in rows if row.faulty]
    ours = _by_bearing([(f, scores) for f, _, scores, _ in judged])
    rms = _by_bearing([(f, scores) for f, _, _, scores in judged])
    return CwruResult(
        macro_auroc=float(np.mean(list(ours.values()))) if ours else None,
        alarmed=sum(row.first_alarm_s is not None for row in bad),
        faulty=len(bad),
        healthy=len(calm),
        false_alarms=sum(row.first_alarm_s is not None for row in calm),
        rms=Baseline(
            macro_auroc=float(np.mean(list(rms.values()))) if rms else None,
            alarmed=sum(row.rms_alarmed for row in bad),
            false_alarms=sum(row.rms_alarmed for row in calm),
        ),
        fault_top1=float(np.mean([row.best_guess == row.label for row in bad])) if bad else None,
        fault_named=sum(row.fault is not None for row in bad),
        fault_named_right=sum(row.fault is not None and row.fault == row.label for row in bad),
        bearings=ours,
        rate_pairs=_rate_pairs([(f, row) for f, row, _, _ in judged]),
        gates=trained.gates,
        carried_to_hz=carried_to_hz(p.rate_hz for f in files for p in f.points),
        rate_hz=rate_hz,
        rows=rows,
    )


def _read(folder: Path) -> list[_File]:
    inside = folder / "cwru" if (folder / "cwru").is_dir() else folder
    paths = sorted(inside.glob("*.npz")) if inside.is_dir() else []
    if not paths:
        raise DataError(f"{folder}: no npz files here; expected names like load0_DE12k_IR_07mil.npz")
    return [_file(path) for path in paths]


def _file(path: Path) -> _File:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path}: expected a name like load0_DE12k_IR_07mil.npz or load0_normal_48k.npz, so that the label is known"
        )
    with np.load(path, allow_pickle=False) as archive:
        if "rpm_nominal" not in archive.files:
            raise DataError(f"{path}: no rpm_nominal; it has {', '.join(archive.files)}")
        rpm = float(archive["rpm_nominal"])
        sensors = tuple(sensor for sensor in SENSORS if sensor in archive.files)
    if not sensors or not rpm > 0:
        raise DataError(f"{path}: expected arrays DE or FE and a positive rpm_nominal, got {sensors} and {rpm:g}")
    read = load([str(path)], Options(sensors, None, "g", column_points=True))
    kind = match["kind"]
    return _File(
        path.stem, int(match["load"]), match["end"], int(match["khz"] or 0), kind, match["mil"] or "", rpm / 60,
        tuple(read),
    )  # fmt: skip


def _late(recording: Recording, window: int) -> Recording:
    """The part that training never saw, at the bundle's rate, one window away from what it saw."""
    late = resample(recording.part(_TRAIN_SHARE, 1.0), RATE_HZ)
    return replace(late, samples=late.samples[window:])


def _train(normal: list[_File], seed: int, say: Say) -> tuple[Trained, dict[str, list[Recording]]]:
    base = family_named("spectral")
    window = 2 ** round(np.log2(_WINDOW_S * RATE_HZ))
    family = replace(base, window_for=lambda _rate_hz: (window, window // _HOP_SHARE))
    rng = np.random.default_rng(seed)
    varied: dict[str, list[Recording]] = {}
    for file in normal:
        for recording in file.points:
            varied.setdefault(recording.point, [])
            early = recording.part(0.0, _TRAIN_SHARE)
            varied[recording.point] += [
                _other_load(resample(early, RATE_HZ, speed=speed), rng, raised=i > 0) for i, speed in enumerate(_SPEEDS)
            ]
    parts = [replace(r, name=f"{r.name} {i}") for one in varied.values() for i, r in enumerate(one)]
    order = Order(
        family=family,
        slot="motor-vibration",
        version="evaluation",
        title="motor bearings",
        quantity="acceleration",
        seed=seed,
        created_s=0,
        accept="an evaluation: gates are reported, not enforced",
    )
    return train(order, parts, [], say), varied


def _other_load(recording: Recording, rng: np.random.Generator, *, raised: bool) -> Recording:
    """The recording with its bands and its lines raised and lowered a little."""
    if not raised:
        return recording
    samples = recording.samples.astype(np.float64)
    hz = np.fft.rfftfreq(len(samples), 1 / recording.rate_hz)
    top = np.log2(recording.rate_hz / 2)
    gain_db = np.zeros(len(hz))
    for per_octave in _KNOTS_PER_OCTAVE:
        knots = np.arange(top - 8, top + 1, 1 / per_octave)
        gain_db += np.interp(np.log2(np.maximum(hz, 1.0)), knots, rng.normal(0.0, _GAIN_DB, len(knots)))
    shaped = np.fft.irfft(np.fft.rfft(samples, axis=0) * (10 ** (gain_db / 20))[:, None], len(samples), axis=0)
    return replace(recording, samples=shaped.astype(np.float32))


class _Judge:
    """The trained bundle with both points calibrated over the healthy data and its made-up loads; RMS likewise. What
    fault orders look like in a healthy signal is learnt from the healthy recordings as they are.
    """

    def __init__(self, trained: Trained, varied: dict[str, list[Recording]], normal: list[_File]) -> None:
        source = trained.prepared.source
        rows = {
            sensor: np.concatenate([cut_windows(r.samples, source.window, source.hop) for r in recordings])
            for sensor, recordings in varied.items()
        }
        self._sensors = list(rows)
        count = min(len(r) for r in rows.values())
        calibration = msgspec.structs.replace(trained.bundle.manifest.calibration, windows=count)
        self._manifest = msgspec.structs.replace(trained.bundle.manifest, calibration=calibration)
        self._network = Int8Model(trained.bundle.model).network()
        monitor = Monitor(self._manifest, self._network, self._sensors)
        self._rms = []
        fit = family_named("spectral").fit_baseline
        for i, sensor in enumerate(self._sensors):
            pick = rows[sensor][np.linspace(0, len(rows[sensor]) - 1, count).astype(int)]
            monitor.process(np.ascontiguousarray(pick), [i] * count)
            score = fit(pick)
            self._rms.append((score, classical_limit(score(pick), calibration)))
        for file in normal:
            for point in file.points:
                early = resample(point.part(0.0, _TRAIN_SHARE), RATE_HZ).samples[-_DIAGNOSE_SAMPLES:]
                facts = PointFacts(file.shaft_hz, ORDERS[point.point])
                learn_healthy(monitor, self._sensors.index(point.point), early, facts)
        self._saved = monitor.save()

    def run(self, file: _File) -> tuple[CwruRow, F64, F64]:
        """One recording through a freshly started gateway: its row, its window scores, those of RMS."""
        source, spec = self._manifest.input, self._manifest.decision
        points = {
            self._sensors.index(p.point): p if p.rate_hz == RATE_HZ else resample(p, RATE_HZ)
            for p in file.points
            if p.point in self._sensors
        }
        if not points:
            raise DataError(f"{file.name}: has none of the sensors of the healthy data ({', '.join(self._sensors)})")
        monitor = Monitor(self._manifest, self._network, self._sensors)
        monitor.restore(self._saved)
        results: dict[int, list[Result]] = {}
        classical: list[F64] = []
        for i, point in points.items():
            windows: F32 = np.ascontiguousarray(cut_windows(point.samples, source.window, source.hop))
            if not len(windows):
                raise DataError(f"{file.name}: shorter than one window of {source.window} samples")
            results[i] = monitor.process(windows, [i] * len(windows))
            score, limit = self._rms[i]
            classical.append(score(windows) / limit)
        scores = np.max([[r.score or 0.0 for r in rows] for rows in results.values()], axis=0)
        plain = np.max(classical, axis=0)
        raised = [k for rows in results.values() for k, r in enumerate(rows) if r.change == "raised"]
        row = CwruRow(
            name=file.name,
            load=file.load,
            faulty=file.kind is not None,
            label=_LABEL[file.kind[0]] if file.kind else None,
            windows=len(scores),
            flagged_share=float((scores > 1).mean()),
            first_alarm_s=(min(raised) * source.hop + source.window) / source.rate_hz if raised else None,
            score_median=float(np.median(scores)),
            rms_flagged_share=float((plain > 1).mean()),
            rms_alarmed=any(_n_of_m(c > 1, spec.n, spec.m) for c in classical),
        )
        if file.end is not None:
            row = self._explain(file, points, results, monitor, row)
        return row, scores, plain

    def _explain(
        self,
        file: _File,
        points: dict[int, Recording],
        results: dict[int, list[Result]],
        monitor: Monitor,
        row: CwruRow,
    ) -> CwruRow:
        """The fault kind, from the sensor at the end that the name tells, where the bearing of these orders is; from
        the other one when there is none.
        """
        end = next((i for i in points if self._sensors[i] == file.end), next(iter(points)))
        facts = PointFacts(file.shaft_hz, ORDERS[file.end or "DE"])
        stretch = points[end].samples[-_DIAGNOSE_SAMPLES:]
        found = diagnose(stretch, results[end][-1], monitor, facts)
        best = found.ranking[0] if found.ranking else None
        return msgspec.structs.replace(
            row, best_guess=best, fault=found.fault, confidence=found.orders[0].confidence if found.orders else None
        )


def _n_of_m(over: Sequence[bool] | np.ndarray, n: int, m: int) -> bool:
    counts = np.convolve(np.asarray(over, np.int64), np.ones(m, np.int64))
    return bool((counts >= n).any())


def _by_bearing(scored: list[tuple[_File, F64]]) -> dict[str, float]:
    """AUROC of each physical bearing's windows, over all its recordings, against all healthy windows."""
    healthy = [scores for file, scores in scored if file.kind is None]
    bearings: dict[str, list[F64]] = {}
    for file, scores in scored:
        if file.kind is not None:
            bearings.setdefault(file.bearing, []).append(scores)
    if not healthy:
        return {}
    return {name: roc_auc(np.concatenate(healthy), np.concatenate(parts)) for name, parts in bearings.items()}


def _rate_pairs(rows: list[tuple[_File, CwruRow]]) -> dict[str, dict[str, float]]:
    pairs: dict[str, dict[str, float]] = {}
    for file, row in rows:
        if file.kind is not None:
            pairs.setdefault(f"load {file.load} {file.bearing}", {})[str(file.khz)] = row.score_median
    return {name: medians for name, medians in pairs.items() if len(medians) > 1}
