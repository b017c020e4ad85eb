import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import SignalError
from models.signal.calibrate import limit_of
from models.signal.healthy_orders import HealthyOrder
from models.signal.monitor import Monitor, Result
from tests.models.builders import blows, healthy_windows, manifest, no_network

MANIFEST = manifest()
WARMUP = MANIFEST.calibration.windows


def monitor(points: int = 1) -> Monitor:
    return Monitor(MANIFEST, no_network, [f"p{i}" for i in range(points)])


def run(m: Monitor, windows: np.ndarray, point: int = 0) -> list[Result]:
    return m.process(windows, [point] * len(windows))


def test_unknown_is_not_healthy() -> None:
    m = monitor()
    results = run(m, healthy_windows(WARMUP))
    assert {r.verdict for r in results} == {"warming_up"}
    assert {r.score for r in results} == {None}
    assert m.warmup_left(0) == 0
    assert run(m, healthy_windows(1, seed=5))[0].score is not None


def test_healthy_stays_silent_and_a_fault_is_raised_then_cleared() -> None:
    m = monitor()
    run(m, healthy_windows(WARMUP))
    healthy = run(m, healthy_windows(300, seed=2))
    assert not [r for r in healthy if r.change]
    faulty = run(m, healthy_windows(20, seed=3) + blows(20, 90.0, 0.8))
    assert [r.change for r in faulty if r.change] == ["raised"]
    assert faulty[-1].verdict == "alarm"
    assert faulty[-1].score > 1.0
    assert [r.change for r in run(m, healthy_windows(20, seed=4)) if r.change] == ["cleared"]


def test_each_point_learns_its_own_level() -> None:
    m = monitor(2)
    run(m, healthy_windows(WARMUP, level=1.0), 0)
    run(m, healthy_windows(WARMUP, seed=1, level=8.0), 1)
    loud = healthy_windows(20, seed=2, level=8.0)
    assert all(r.verdict == "ok" for r in run(m, loud, 1))
    assert run(m, loud, 0)[-1].verdict == "alarm"


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=15, deadline=None)
def test_batching_changes_nothing(seed: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    windows = healthy_windows((WARMUP + 10) * points, seed=seed % 1000)
    owners = rng.permutation(np.repeat(np.arange(points), WARMUP + 10)).tolist()
    together, apart = monitor(points), monitor(points)
    a = together.process(windows, owners)
    b = [apart.process(w[None], [o])[0] for w, o in zip(windows, owners, strict=True)]
    # Together, a point that finishes its warm-up within the batch goes live in the next one.
    for x, y in zip(a, b, strict=True):
        if x.score is not None and y.score is not None:
            assert x.score == pytest.approx(y.score, rel=1e-4)
    for point in range(points):
        np.testing.assert_allclose(together.baseline(point).level, apart.baseline(point).level, atol=0.1)


def test_contributions_add_up_to_the_score() -> None:
    m = monitor()
    run(m, healthy_windows(WARMUP))
    result = run(m, healthy_windows(1, seed=8))[0]
    assert float(result.contributions.sum()) == pytest.approx(result.raw**2, rel=1e-4)


def test_calibration_survives_a_restart() -> None:
    before = monitor(2)
    run(before, healthy_windows(WARMUP), 0)
    after = monitor(2)
    after.restore(before.save())
    window = healthy_windows(1, seed=9)
    assert run(after, window)[0].score == run(before, window)[0].score
    assert after.warmup_left(1) == WARMUP


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x00" * 40])
def test_damaged_calibration_is_refused_and_changes_nothing(damage: bytes) -> None:
    m = monitor()
    with pytest.raises(SignalError, match="saved calibration"):
        m.restore(damage)
    assert m.warmup_left(0) == WARMUP


def test_calibration_of_another_bundle_is_refused() -> None:
    from models.bundle.manifest import FeatureSpec, Shape

    m = monitor()
    run(m, healthy_windows(WARMUP))
    small = manifest(features=FeatureSpec(blocks=[Shape()]))
    with pytest.raises(SignalError, match="gives 3 features, its normalisation has 27"):
        Monitor(small, no_network, ["p0"])


def test_recalibration_starts_over() -> None:
    m = monitor()
    run(m, healthy_windows(WARMUP))
    m.recalibrate(0)
    assert m.verdict(0) == "warming_up"
    assert m.warmup_left(0) == WARMUP


def test_limit_is_where_the_formula_puts_it() -> None:
    raw = np.exp(np.random.default_rng(0).normal(1.0, 0.2, 4000))
    assert np.log(limit_of(raw, MANIFEST.calibration)) == pytest.approx(1.0 + 4.0 * 0.2, abs=0.03)


def test_limit_is_not_moved_far_by_a_few_bad_windows_nor_below_the_least_spread() -> None:
    steady = np.full(64, 2.0)
    assert np.log(limit_of(steady, MANIFEST.calibration) / 2.0) == pytest.approx(4.0 * 0.08)


@pytest.mark.parametrize("raw", [np.ones(7), np.array([1.0] * 9 + [np.nan])])
def test_limit_needs_enough_finite_scores(raw: np.ndarray) -> None:
    with pytest.raises(SignalError, match="at least 8 finite healthy scores"):
        limit_of(raw, MANIFEST.calibration)


def _calibrated_with(found: list[HealthyOrder]) -> Monitor:
    m = monitor()
    run(m, healthy_windows(MANIFEST.calibration.windows, seed=1))
    for each in found:
        m.learn_orders(0, {"BPFO": each})
    return m


def test_healthy_orders_are_averaged_survive_a_restart_and_are_forgotten_with_the_calibration() -> None:
    before = _calibrated_with([HealthyOrder([3.0], [0.3]), HealthyOrder([1.0], [0.2]), HealthyOrder([2.0], [0.1])])
    after = monitor()
    after.restore(before.save())
    kept = after.healthy_orders(0)["BPFO"]
    assert kept.standing == pytest.approx([2.0])
    assert kept.depth == pytest.approx([0.2])
    assert kept.stretches == 3
    after.recalibrate(0)
    assert after.healthy_orders(0) == {}


def test_what_an_earlier_version_saved_still_loads() -> None:
    saved = msgspec.msgpack.decode(_calibrated_with([]).save())
    for point in saved["points"].values():
        del point["orders"]
    m = monitor()
    m.restore(msgspec.msgpack.encode(saved))
    assert m.verdict(0) == "ok"
    assert m.healthy_orders(0) == {}


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (HealthyOrder([0.0, 0.0], [0.1, 0.1]), "healthy BPFO: expected 1 axes, got 2 standings and 2 depths"),
        (HealthyOrder([0.0], [float("inf")]), "expected finite standings and depths of 0 or more"),
        (HealthyOrder([float("nan")], [0.1]), "expected finite standings and depths of 0 or more"),
        (HealthyOrder([0.0], [0.1], 0), "expected finite standings and depths of 0 or more"),
    ],
)
def test_healthy_orders_that_cannot_be_are_refused(order: HealthyOrder, text: str) -> None:
    with pytest.raises(SignalError, match=text):
        monitor().learn_orders(0, {"BPFO": order})
    saved = msgspec.msgpack.decode(_calibrated_with([]).save())
    for point in saved["points"].values():
        point["orders"] = {"BPFO": msgspec.to_builtins(order)}
    m = monitor()
    with pytest.raises(SignalError, match="saved calibration of .*" + text):
        m.restore(msgspec.msgpack.encode(saved))
    assert m.verdict(0) == "warming_up"
