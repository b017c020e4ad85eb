"""Both TFLite runtimes, each in its own environment, on the same golden vectors of a really trained bundle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.bundle.archive import read_bundle
from tests.simulators.lives import write_lives

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TFLITE = ROOT / ".venv-tflite" / "bin" / "python"
RATE_HZ = 8192.0


@pytest.fixture(scope="module", params=["spectral", "remaining_life"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    out = folder / "b.mwb"
    if request.param == "remaining_life":
        write_lives(folder / "lives.csv")
        command = [sys.executable, "-m", "cloud_hub", "train", "--family", request.param, "--out", str(out)]
        subprocess.run([*command, "--data", str(folder / "lives.csv")], check=True, capture_output=True)
        return out
    rng = np.random.default_rng(5)
    t = np.arange(int(16 * RATE_HZ)) / RATE_HZ
    x = rng.standard_normal((len(t), 2)) + np.sin(2 * np.pi * 24.6 * t)[:, None]
    np.savez(folder / "d.npz", data=x.astype(np.float32), rate_hz=RATE_HZ, axes=["a", "b"], units="g")
    command = [sys.executable, "-m", "cloud_hub", "train", "--data", str(folder / "d.npz"), "--out", str(out)]
    subprocess.run([*command, "--accept", "noise: only the runtimes matter"], check=True, capture_output=True)
    return out


def check(python: Path | str, kind: str, bundle: Path) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", "tests.integration.runtime_check", str(bundle), kind]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_both_runtimes_replay_the_same_golden_vectors(bundle: Path) -> None:
    assert TFLITE.exists(), "run `make test`: it makes the environment of tflite-runtime"
    litert = check(sys.executable, "litert", bundle)
    tflite = check(TFLITE, "tflite-runtime", bundle)
    golden = read_bundle(bundle.read_bytes(), "b")
    assert str(litert["runtime"]).startswith("litert ")
    assert str(tflite["runtime"]).startswith("tflite-runtime 2.14")
    assert str(tflite["numpy"]).startswith("1.")
    for result in (litert, tflite):
        assert result["heavy"] == []
        np.testing.assert_allclose(result["raw"], golden.golden.scores, rtol=golden.manifest.golden_tolerance)
    # Sums in another order end up to two steps of int8 apart: with the eight regressors 1.1 %, of cycles left.
    np.testing.assert_allclose(tflite["raw"], litert["raw"], rtol=golden.manifest.golden_tolerance)
