"""Checks that every family must pass, so that a new one needs no tests of its own to be held to them."""

import numpy as np
import pytest

from models.bundle.manifest import FEATURE_KINDS, InputSpec
from models.errors import BundleSpecError
from models.families import Family, families, family_named
from models.signal.features import FeatureExtractor

RATES_HZ = {"process": 1.0, "remaining_life": 1.0}
USUAL_HZ = 25_600.0


def test_both_families_are_found() -> None:
    assert {"spectral", "process"} <= families().keys()


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BundleSpecError, match=r"expected one of .*spectral.*, got 'specral'"):
        family_named("specral")


@pytest.mark.parametrize("family", families().values(), ids=lambda f: f.name)
def test_defaults_fit_together(family: Family) -> None:
    rate_hz = RATES_HZ.get(family.name, USUAL_HZ)
    window, hop = family.window_for(rate_hz)
    quantity, units = next(iter(family.quantities.items()))
    source = InputSpec(quantity=quantity, units=units[0], axes=["a", "b"], rate_hz=rate_hz, window=window, hop=hop)
    spec = family.features_for(source)
    assert all(type(block).__struct_config__.tag in FEATURE_KINDS for block in spec.blocks)
    windows = np.random.default_rng(0).standard_normal((40, window, 2)).astype(np.float32)
    features = FeatureExtractor(spec, source)(windows)
    assert np.isfinite(features).all()
    score = family.fit_baseline(windows)
    np.testing.assert_allclose(score(windows).mean(), 1.0, atol=0.7)
    worse = score(windows + 5 * np.sin(np.arange(window))[None, :, None] + 5)
    assert worse.mean() > 1.5 * score(windows).mean()
    assert family.decision.n <= family.decision.m
    assert family.decision.clear_level < family.decision.alarm_level
