"""Golden vectors that come out otherwise here: each is a reason to refuse, none a crash."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from models.bundle.archive import read_bundle
from models.bundle.replay import replay_golden
from models.errors import BundleReplayError
from models.signal.features import FeatureExtractor
from tests.edge_agent.kit import bundle_bytes, loaded


@pytest.mark.parametrize("broken", ["all", "one"])
def test_features_that_are_no_numbers_are_refused_with_the_name_of_one(broken: str) -> None:
    bundle = read_bundle(bundle_bytes(), "test")
    features = bundle.golden.features.copy()
    features[:, 1 if broken == "one" else slice(None)] = np.nan
    bundle = dataclasses.replace(bundle, golden=dataclasses.replace(bundle.golden, features=features))
    with pytest.raises(
        BundleReplayError, match=r"^bundle pump-vibration/1\.0\.0: feature '.+' is not a finite number$"
    ):
        replay_golden(bundle, loaded().network)


def test_a_feature_that_comes_out_otherwise_is_named() -> None:
    bundle = read_bundle(bundle_bytes(), "test")
    features = bundle.golden.features.copy()
    features[2, 3] += 1.0
    bundle = dataclasses.replace(bundle, golden=dataclasses.replace(bundle.golden, features=features))
    name = FeatureExtractor(bundle.manifest.features, bundle.manifest.input).names[3]
    with pytest.raises(BundleReplayError, match=rf"feature {re.escape(repr(name))} differs from the golden vectors$"):
        replay_golden(bundle, loaded().network)
