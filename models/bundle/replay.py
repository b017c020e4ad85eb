"""Replaying the golden vectors: does this bundle give here what it gave on the hub?

Run on the hub before publishing and on every gateway before a bundle may run. Raw windows go in, so that the feature
code, the quantisation and the runtime are all under test, not the network alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import BundleBudgetError, BundleReplayError
from models.signal.score import Network, Scorer

if TYPE_CHECKING:
    from models.bundle.archive import Bundle

_TIMED_RUNS = 9


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """`max_difference`: largest relative difference of a raw score. `window_us`: median time of one window alone."""

    max_difference: float
    window_us: float


def replay_golden(bundle: Bundle, network: Network, clock: Callable[[], float] = time.perf_counter) -> ReplayReport:
    """Replay a bundle's golden vectors through `network`.

    Raises: BundleReplayError: a feature or score differs by more than the manifest's tolerance (features: absolute and
            relative, scores: relative), or is not finite. BundleBudgetError: a window takes longer than the budget.
    """
    manifest, golden = bundle.manifest, bundle.golden
    where = f"bundle {manifest.slot}/{manifest.version}"
    scorer = Scorer(manifest, network)
    features = scorer.extract(golden.windows)
    tolerance = manifest.golden_tolerance
    if not np.allclose(features, golden.features, rtol=tolerance, atol=tolerance):
        apart = np.nan_to_num(np.abs(features - golden.features), nan=np.inf, posinf=np.inf).max(axis=0)
        worst = scorer.extract.names[int(np.argmax(apart))]
        how = "differs from the golden vectors" if np.isfinite(apart.max()) else "is not a finite number"
        raise BundleReplayError(f"{where}: feature {worst!r} {how}")
    raw = scorer.score(features).raw
    difference = float(np.max(np.abs(raw - golden.scores) / np.maximum(np.abs(golden.scores), 1e-9)))
    if not difference <= tolerance:
        raise BundleReplayError(
            f"{where}: a golden score differs by {difference:.2%}, at most {tolerance:.2%} is allowed"
        )
    times = []
    for i in range(_TIMED_RUNS):
        one = golden.windows[i % len(golden.windows)][None]
        began = clock()
        scorer.score(scorer.extract(one))
        times.append(clock() - began)
    window_us = float(np.median(times)) * 1e6
    if window_us > manifest.budgets.window_us:
        raise BundleBudgetError(
            f"{where}: a window takes {window_us:.0f} us here, its budget is {manifest.budgets.window_us:.0f} us"
        )
    return ReplayReport(difference, window_us)
