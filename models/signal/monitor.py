"""One bundle watching many points: features and network once per batch, then calibration and decision per point.

This is the whole of what the agent does between windows and verdicts; the hub's evaluation runs the same class, so that
a figure measured there is what a gateway will say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from models.bundle.manifest import Manifest
from models.contract.messages import Verdict
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.calibrate import Baseline, calibrate
from models.signal.decide import Change, DecisionState, decide
from models.signal.score import Network, Scorer


@dataclass(frozen=True, slots=True)
class Result:
    """What one window gave. While a point warms up it has no score: not known yet is not zero.

    `point`: index into the monitor's points. `score`: 1.0 is the limit. `features`, `contributions`: (features,).
    """

    point: int
    verdict: Verdict
    score: float | None
    raw: float | None
    change: Change | None
    features: F32
    contributions: F32 | None


@dataclass(slots=True)
class _Point:
    baseline: Baseline | None = None
    warmup: list[F32] = field(default_factory=list)
    decision: DecisionState = field(default_factory=DecisionState)


class _SavedPoint(msgspec.Struct):
    limit: float
    shift: bytes
    level: bytes


class _Saved(msgspec.Struct):
    schema: int
    features: int
    points: dict[str, _SavedPoint]


class Monitor:
    """Watches points with one bundle. State grows only by the warm-up windows' features.

    Raises (when made): SignalError: the manifest's parts do not fit each other.
    """

    def __init__(self, manifest: Manifest, network: Network, points: Sequence[str]) -> None:
        self.manifest = manifest
        self.scorer = Scorer(manifest, network)
        self.points = tuple(points)
        self._warmup_windows = manifest.calibration.windows if self.scorer.calibrates else 1
        self._states = [_Point() for _ in points]

    def process(self, windows: F32, owners: Sequence[int]) -> list[Result]:
        """Take windows in, give results out, in the same order.

        Args: windows: (k, window, axes). owners: k indices of points; the windows of one point are in time order.
        """
        if len(owners) != len(windows):
            raise SignalError(f"windows: got {len(windows)} with {len(owners)} owners")
        if len(windows) == 0:
            return []
        features = self.scorer.extract(windows)
        results: dict[int, Result] = {}
        live = []
        for row, owner in enumerate(owners):
            state = self._states[owner]
            if state.baseline is None:
                results[row] = self._warm_up(owner, state, features[row])
            else:
                live.append(row)
        if live:
            self._score(live, owners, features, results)
        return [results[row] for row in range(len(windows))]

    def _score(self, live: list[int], owners: Sequence[int], features: F32, results: dict[int, Result]) -> None:
        baselines = {owner: self._baseline(owner) for owner in {owners[row] for row in live}}
        shifts = np.stack([baselines[owners[row]].shift for row in live])
        scored = self.scorer.score(features[live], shifts)
        limits: F64 = np.array([baselines[owners[row]].limit for row in live])
        for row, raw, score, contribution in zip(
            live, scored.raw.tolist(), (scored.raw / limits).tolist(), scored.contributions, strict=True
        ):
            state = self._states[owners[row]]
            state.decision, change = decide(state.decision, score, self.manifest.decision)
            results[row] = Result(owners[row], state.decision.verdict, score, raw, change, features[row], contribution)

    def _warm_up(self, owner: int, state: _Point, features: F32) -> Result:
        state.warmup.append(features.copy())
        if len(state.warmup) >= self._warmup_windows:
            state.baseline = calibrate(np.stack(state.warmup), self.scorer)
            state.warmup = []
        return Result(owner, "warming_up", None, None, None, features, None)

    def _baseline(self, point: int) -> Baseline:
        baseline = self._states[point].baseline
        if baseline is None:
            raise SignalError(f"point {self.points[point]}: not calibrated yet")
        return baseline

    def baseline(self, point: int) -> Baseline | None:
        """What is normal for a point, None while it warms up."""
        return self._states[point].baseline

    def verdict(self, point: int) -> Verdict:
        """The verdict as it stands."""
        state = self._states[point]
        return "warming_up" if state.baseline is None else state.decision.verdict

    def warmup_left(self, point: int) -> int:
        """How many more windows a point needs before it is calibrated."""
        state = self._states[point]
        return 0 if state.baseline is not None else self._warmup_windows - len(state.warmup)

    def recalibrate(self, point: int) -> None:
        """Forget a point's baseline and verdict; it warms up anew."""
        self._states[point] = _Point()

    def save(self) -> bytes:
        """The baselines, for the disk. Verdicts are not saved: after a restart the scores make them anew."""
        saved = {
            name: _SavedPoint(state.baseline.limit, state.baseline.shift.tobytes(), state.baseline.level.tobytes())
            for name, state in zip(self.points, self._states, strict=True)
            if state.baseline is not None
        }
        return msgspec.msgpack.encode(_Saved(1, len(self.scorer.mean), saved))

    def restore(self, data: bytes) -> None:
        """Take baselines back from the disk; points that are not in them warm up.

        Raises: SignalError: damaged, or saved for another bundle; the monitor is then unchanged.
        """
        try:
            saved = msgspec.msgpack.decode(data, type=_Saved)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SignalError(f"saved calibration: {error}") from error
        size = len(self.scorer.mean)
        restored = {}
        for name, point in saved.points.items():
            fits = saved.schema == 1 and saved.features == size and len(point.shift) == len(point.level) == 4 * size
            if not fits or not point.limit > 0:
                raise SignalError(f"saved calibration of {name}: expected {size} features, got {saved.features}")
            shift = np.frombuffer(point.shift, np.float32).copy()
            restored[name] = Baseline(shift, np.frombuffer(point.level, np.float32).copy(), point.limit)
        for name, state in zip(self.points, self._states, strict=True):
            if name in restored:
                state.baseline = restored[name]
                state.warmup = []
