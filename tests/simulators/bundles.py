"""Small but whole bundles for tests: real structure, real digests, a network of bytes that nobody runs."""

from __future__ import annotations

import json

import numpy as np

from models.bundle.archive import CARD, EVALUATION, MODEL, SBOM, golden_members, pack_bundle
from models.bundle.manifest import (
    Budgets,
    CalibrationSpec,
    DecisionSpec,
    FeatureSpec,
    InputSpec,
    LogBands,
    Manifest,
    NetworkSpec,
    Normalisation,
    Provenance,
    ResidualScore,
    Tensor,
)

FEATURES = 8


def make_manifest(slot: str = "pump-vibration", version: str = "1.0.0", window: int = 64) -> Manifest:
    """A manifest for one axis, eight bands."""
    return Manifest(
        slot=slot,
        version=version,
        family="spectral",
        title="Vibration of a pump",
        input=InputSpec(quantity="acceleration", units="m/s2", axes=["x"], rate_hz=12_000.0, window=window, hop=window),
        features=FeatureSpec(blocks=[LogBands(bands=FEATURES, low_hz=100.0, high_hz=5000.0)]),
        normalisation=Normalisation(mean=[0.0] * FEATURES, scale=[1.0] * FEATURES),
        network=NetworkSpec(
            input=Tensor(size=FEATURES, scale=0.05, zero_point=0),
            output=Tensor(size=FEATURES, scale=0.05, zero_point=0),
        ),
        score=ResidualScore(weights=[1.0] * FEATURES),
        calibration=CalibrationSpec(windows=32, z=6.0, min_spread=0.01),
        decision=DecisionSpec(n=3, m=5),
        budgets=Budgets(window_us=1e6, memory_kb=4096.0),  # machines differ and are busy
        golden_tolerance=0.01,
        provenance=Provenance(
            created_s=1_700_000_000,
            data={"healthy.csv": "ab" * 32},
            windows_train=100,
            windows_validation=20,
            code="test",
            libraries={"numpy": "2"},
            seed=1,
        ),
    )


def make_members(model_bytes: int = 3000, window: int = 64, seed: int = 7) -> dict[str, bytes]:
    """Every member but the manifest. The model is incompressible, as a quantised one nearly is."""
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(4, window, 1)).astype(np.float32)
    features = rng.normal(size=(4, FEATURES)).astype(np.float32)
    scores = rng.uniform(0.1, 0.5, size=4)
    return {
        MODEL: rng.bytes(model_bytes),
        **golden_members(windows, features, scores),
        EVALUATION: json.dumps({"auc": {"float": 0.99, "int8": 0.99, "baseline": 0.9}}).encode(),
        CARD: "# Card\nFür Menschen.\n".encode(),
        SBOM: b'{"bomFormat": "CycloneDX"}',
    }


def make_bundle(slot: str = "pump-vibration", version: str = "1.0.0", model_bytes: int = 3000, seed: int = 7) -> bytes:
    """A packed bundle."""
    return pack_bundle(make_manifest(slot, version), make_members(model_bytes, seed=seed))
