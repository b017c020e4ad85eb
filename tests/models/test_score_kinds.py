"""The kinds of score against their definition, written out plainly."""

import msgspec
import numpy as np
import pytest

from models.bundle.manifest import (
    Levels,
    Manifest,
    RemainingLifeScore,
    ResidualScore,
    ScoreGroup,
    StackedScore,
    Tensor,
    decode_manifest,
    encode_manifest,
)
from models.errors import BundleFormatError
from models.signal.arrays import F32
from models.signal.features import FeatureExtractor
from models.signal.monitor import Monitor
from models.signal.score import Scorer
from tests.models import builders

MANIFEST = builders.manifest()
FEATURES = len(MANIFEST.normalisation.mean)
RNG = np.random.default_rng(1)
Z = RNG.normal(0, 2, (40, FEATURES)).astype(np.float32)


def manifest(score: object, outputs: int = FEATURES) -> Manifest:
    """The builders' manifest with identity normalisation, so that features are z."""
    return msgspec.structs.replace(
        MANIFEST,
        score=score,
        normalisation=msgspec.structs.replace(
            MANIFEST.normalisation, mean=[0.0] * FEATURES, scale=[1.0] * FEATURES, clip=3.0
        ),
        network=msgspec.structs.replace(
            MANIFEST.network,
            input=Tensor(size=FEATURES, scale=0.1, zero_point=0),
            output=Tensor(size=outputs, scale=0.1, zero_point=0),
        ),
    )


def members(*shares: float) -> object:
    return lambda x: np.concatenate([np.float32(share) * x for share in shares], axis=1)


def test_stacked_members_join_by_mean_or_nearest() -> None:
    weights = RNG.uniform(0.5, 2.0, 2 * FEATURES)
    x = np.clip(Z, -3, 3)
    parts = [weights[:FEATURES] * (Z - 0.5 * x) ** 2, weights[FEATURES:] * (Z - 0.9 * x) ** 2]
    mean = np.sqrt(sum(p.sum(axis=1) for p in parts) / weights.sum())
    sums = (weights[:FEATURES].sum(), weights[FEATURES:].sum())
    nearest = np.sqrt(np.min([p.sum(axis=1) / s for p, s in zip(parts, sums, strict=True)], axis=0))
    for join, wanted in (("mean", mean), ("nearest", nearest)):
        score = StackedScore(members=2, join=join, weights=weights.tolist())
        scored = Scorer(manifest(score, 2 * FEATURES), members(0.5, 0.9)).score(Z)
        np.testing.assert_allclose(scored.raw, wanted, rtol=1e-5)
        np.testing.assert_allclose(scored.contributions.sum(axis=1), scored.raw**2, rtol=1e-4)


def test_the_worst_group_counts_and_is_the_one_that_is_blamed() -> None:
    first, second = list(range(0, FEATURES, 2)), list(range(1, FEATURES, 2))
    groups = [ScoreGroup(name="a", features=first, scale=1.5), ScoreGroup(name="b", features=second, scale=0.5)]
    score = StackedScore(groups=groups, weights=[1.0] * FEATURES)
    scored = Scorer(manifest(score), members(0.5)).score(Z)
    residual = (Z - 0.5 * np.clip(Z, -3, 3)) ** 2
    each = np.stack([np.sqrt(residual[:, f].mean(axis=1)) / s for f, s in ((first, 1.5), (second, 0.5))])
    np.testing.assert_allclose(scored.raw, each.max(axis=0), rtol=1e-5)
    blamed = each.argmax(axis=0)
    for row, group in enumerate(blamed):
        assert scored.contributions[row, (first, second)[1 - group]].sum() == 0.0


def test_one_member_without_groups_is_the_plain_residual() -> None:
    weights = RNG.uniform(0.5, 2.0, FEATURES).tolist()
    plain = Scorer(manifest(ResidualScore(weights=weights)), members(0.7)).score(Z)
    stacked = Scorer(manifest(StackedScore(weights=weights)), members(0.7)).score(Z)
    np.testing.assert_allclose(stacked.raw, plain.raw, rtol=1e-6)


def test_remaining_life_is_one_at_its_horizon_and_asks_for_no_calibration() -> None:
    m = manifest(RemainingLifeScore(horizon=30.0), 1)
    network = lambda x: np.linspace(60.0, -5.0, len(x), dtype=np.float32)[:, None]  # noqa: E731
    scorer = Scorer(m, network)
    raw = scorer.score(np.zeros((14, FEATURES), np.float32)).raw
    assert raw[0] == pytest.approx(0.5)
    assert (np.diff(raw) >= 0).all()
    assert raw[-1] == pytest.approx(1000.0)
    monitor = Monitor(m, network, ["p"])
    assert monitor.warmup_left(0) == 1


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (StackedScore(members=2, weights=[1.0] * FEATURES), "2 times as many outputs"),
        (
            StackedScore(weights=[1.0] * FEATURES, groups=[ScoreGroup(name="a", features=[0, 0], scale=1.0)]),
            rf"expected each of {FEATURES} features in one group, got 2 places for 1 features",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(score: object, text: str) -> None:
    with pytest.raises(BundleFormatError, match=text):
        decode_manifest(encode_manifest(manifest(score)), "test")


def levels(rows: F32, **settings: object) -> F32:
    source = msgspec.structs.replace(
        MANIFEST.input, axes=["a", "b"], window=rows.shape[1], hop=1, rate_hz=1.0, quantity="process", units="mixed"
    )
    spec = msgspec.structs.replace(MANIFEST.features, detrend="none", blocks=[Levels(**settings)])
    return FeatureExtractor(spec, source)(rows)


def test_levels_of_the_last_samples() -> None:
    rows = RNG.normal(5.0, 2.0, (30, 64, 2)).astype(np.float32)
    got = levels(rows, span=16, floors=[0.5, 2.0], drifting=[1])
    late = rows[:, -16:]
    np.testing.assert_allclose(got[:, 0], late[:, :, 0].mean(axis=1), rtol=1e-5)
    change = late[:, :, 1].mean(axis=1) - rows[:, :-16, 1].mean(axis=1)
    np.testing.assert_allclose(got[:, 2], change, atol=1e-5)
    for column, axis, floor in ((1, 0, 0.5), (3, 1, 2.0)):
        np.testing.assert_allclose(
            got[:, column], np.log10(np.sqrt(late[:, :, axis].var(axis=1) + floor**2)), atol=1e-5
        )


def test_a_constant_signal_has_the_floor_and_not_minus_infinity() -> None:
    got = levels(np.full((3, 64, 2), 7.0, np.float32), span=16, floors=[0.1, 10.0])
    np.testing.assert_allclose(got[:, [1, 3]], [[-1.0, 1.0]] * 3, atol=1e-5)


def test_levels_are_the_same_whatever_the_batch() -> None:
    rows = RNG.normal(0, 1, (5000, 64, 2)).astype(np.float32)  # more rows than one block of the extractor holds
    whole = levels(rows, span=16, floors=[0.5, 2.0], drifting=[0])
    np.testing.assert_array_equal(whole[4999:], levels(rows[4999:], span=16, floors=[0.5, 2.0], drifting=[0]))
