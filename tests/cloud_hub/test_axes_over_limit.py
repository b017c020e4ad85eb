"""Which axes held-out healthy windows are over the limit by."""

import numpy as np

from cloud_hub.training.measure import axes_over_limit
from cloud_hub.training.prepare import PointData
from models.bundle.manifest import (
    Budgets,
    CalibrationSpec,
    DecisionSpec,
    FeatureSpec,
    InputSpec,
    Levels,
    Manifest,
    NetworkSpec,
    Normalisation,
    Provenance,
    ResidualScore,
    Tensor,
)  # fmt: skip

AXES = ["oil", "hall", "flow"]


def manifest() -> Manifest:
    tensor = Tensor(size=6, scale=1.0, zero_point=0)
    return Manifest(
        slot="s", version="1", family="process", title="t",
        input=InputSpec(quantity="process", units="mixed", axes=AXES, rate_hz=1.0, window=16, hop=1),
        features=FeatureSpec(detrend="none", blocks=[Levels(span=16, floors=[0.1] * 3)]),
        normalisation=Normalisation(mean=[0.0] * 6, scale=[1.0] * 6),
        network=NetworkSpec(input=tensor, output=tensor),
        score=ResidualScore(weights=[1.0] * 6),
        calibration=CalibrationSpec(windows=64, z=5.0, min_spread=0.1, shift_weight=0.0),
        decision=DecisionSpec(n=4, m=6),
        budgets=Budgets(window_us=1e4, memory_kb=1e3),
        golden_tolerance=0.02,
        provenance=Provenance(
            created_s=0, data={}, windows_train=1, windows_validation=1, code="c", libraries={}, seed=1
        ),
    )  # fmt: skip


def windows(seed: int, offsets: tuple[float, float, float] = (0.0, 0.0, 0.0), count: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((count, 16, 3))
    moved: np.ndarray = (noise + np.asarray(offsets)).astype(np.float32)
    return moved


def over(later: np.ndarray) -> dict[str, float]:
    earlier = windows(1)
    point = PointData("p", earlier, earlier, later)
    return axes_over_limit(manifest(), np.zeros_like, [point], [later])


def test_the_axis_that_wandered_is_named_first_and_shares_add_up_to_one() -> None:
    found = over(windows(2, (3.0, 20.0, 0.0)))
    assert next(iter(found)) == "hall"
    assert found["hall"] > 0.9
    assert abs(sum(found.values()) - 1.0) < 1e-3


def test_windows_under_the_limit_blame_nobody() -> None:
    assert over(windows(3)) == {}
