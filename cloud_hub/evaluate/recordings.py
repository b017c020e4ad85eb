"""A bundle against recordings: what a gateway would have said, with the classical baseline beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.runtime import Int8Model
from models.bundle.archive import Bundle
from models.families import family_named
from models.signal.arrays import F32, F64
from models.signal.calibrate import classical_limit
from models.signal.monitor import Monitor
from models.signal.windows import cut_windows


class RecordingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One recording. `flagged_share`: of windows over the limit. `first_alarm_s`: from the recording's start to the end
    of the window that raised the alarm, None when none was.
    """

    name: str
    point: str
    faulty: bool
    windows: int
    flagged_share: float
    first_alarm_s: float | None
    score_median: float
    baseline_flagged_share: float


class RecordingsResult(msgspec.Struct, frozen=True, kw_only=True):
    """The table, and AUCs over all windows (None when one kind is missing)."""

    bundle: str
    baseline_name: str
    rows: list[RecordingRow]
    auc_int8: float | None
    auc_baseline: float | None
    alarmed: int
    faulty: int
    false_alarms: int


def evaluate_recordings(
    bundle: Bundle, calibration: list[Recording], healthy: list[Recording], faulty: list[Recording]
) -> RecordingsResult:
    """Calibrate each point on its calibration recording, then run every recording by itself.

    A recording belongs to the point of its name; one whose point was not calibrated uses the first point's calibration
    when there is only one.

    Raises: DataError: a recording that does not fit the bundle, or has no calibration.
    """
    monitors = _Calibrated(bundle, calibration)
    rows: list[RecordingRow] = []
    scores: tuple[list[F64], list[F64]] = ([], [])
    base: tuple[list[F64], list[F64]] = ([], [])
    for recording, is_faulty in [*((r, False) for r in healthy), *((r, True) for r in faulty)]:
        row, ours, classical = monitors.run(recording, is_faulty)
        rows.append(row)
        scores[is_faulty].append(ours)
        base[is_faulty].append(classical)
    both = bool(healthy and faulty)
    return RecordingsResult(
        bundle=f"{bundle.manifest.slot}/{bundle.manifest.version}",
        baseline_name=monitors.baseline_name,
        rows=rows,
        auc_int8=roc_auc(np.concatenate(scores[0]), np.concatenate(scores[1])) if both else None,
        auc_baseline=roc_auc(np.concatenate(base[0]), np.concatenate(base[1])) if both else None,
        alarmed=sum(row.faulty and row.first_alarm_s is not None for row in rows),
        faulty=len(faulty),
        false_alarms=sum(not row.faulty and row.first_alarm_s is not None for row in rows),
    )


class _Calibrated:
    """One saved calibration per point, for the network and for the baseline."""

    def __init__(self, bundle: Bundle, calibration: list[Recording]) -> None:
        self._manifest = bundle.manifest
        self._network = Int8Model(bundle.model).network()
        family = family_named(bundle.manifest.family)
        self.baseline_name = family.baseline_name
        self._saved: dict[str, bytes] = {}
        self._baselines = {}
        for recording in calibration:
            windows = self._windows(recording)
            needed = self._manifest.calibration.windows
            if len(windows) < needed:
                raise DataError(
                    f"{recording.name}: calibration needs {needed} windows, the recording has {len(windows)}"
                )
            monitor = Monitor(self._manifest, self._network, [""])
            monitor.process(windows[:needed], [0] * needed)
            self._saved[recording.point] = monitor.save()
            score = family.fit_baseline(windows[:needed])
            self._baselines[recording.point] = (
                score,
                classical_limit(score(windows[:needed]), self._manifest.calibration),
            )

    def run(self, recording: Recording, faulty: bool) -> tuple[RecordingRow, F64, F64]:
        """One recording: its row, its scores, its baseline's scores."""
        point = recording.point if recording.point in self._saved else self._only_point(recording)
        windows = self._windows(recording)
        if not len(windows):
            raise DataError(f"{recording.name}: shorter than one window of {self._manifest.input.window} samples")
        monitor = Monitor(self._manifest, self._network, [""])
        monitor.restore(self._saved[point])
        results = monitor.process(windows, [0] * len(windows))
        scores = np.array([result.score for result in results], np.float64)
        raised = next((i for i, result in enumerate(results) if result.change == "raised"), None)
        source = self._manifest.input
        score, limit = self._baselines[point]
        classical = score(windows) / limit
        row = RecordingRow(
            name=recording.name,
            point=point,
            faulty=faulty,
            windows=len(windows),
            flagged_share=float((scores > 1).mean()),
            first_alarm_s=None if raised is None else (raised * source.hop + source.window) / source.rate_hz,
            score_median=float(np.median(scores)),
            baseline_flagged_share=float((classical > 1).mean()),
        )
        return row, scores, classical

    def _only_point(self, recording: Recording) -> str:
        if len(self._saved) != 1:
            raise DataError(
                f"{recording.name}: point {recording.point!r} was not calibrated; got {sorted(self._saved)}"
            )
        return next(iter(self._saved))

    def _windows(self, recording: Recording) -> F32:
        source = self._manifest.input
        _fits(recording, source.rate_hz, source.axes, source.units)
        return np.ascontiguousarray(cut_windows(recording.samples, source.window, source.hop))


def _fits(recording: Recording, rate_hz: float, axes: Sequence[str], units: str) -> None:
    if abs(recording.rate_hz - rate_hz) > 0.005 * rate_hz:
        raise DataError(f"{recording.name}: {recording.rate_hz:g} Hz, but the bundle listens at {rate_hz:g} Hz")
    if len(recording.axes) != len(axes) or recording.units != units:
        raise DataError(
            f"{recording.name}: axes {', '.join(recording.axes)} in {recording.units}, but the bundle listens to "
            f"{', '.join(axes)} in {units}"
        )
