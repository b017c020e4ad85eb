"""Training from clips of log-mel frames and scoring them, by the command line, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.data.clips import Clips, holds_clips, load_clips, pool_clips
from cloud_hub.errors import DataError
from cloud_hub.evaluate.clips import clip_features, fit_clip_baselines, log_mel_block
from cloud_hub.evaluate.metrics import partial_auc
from cloud_hub.runtime import Int8Model
from cloud_hub.training.clips import _without_copies, clip_input, golden_windows
from cloud_hub.training.density import fit_machines, machines_in
from cloud_hub.training.stress_clips import KINDS, stress_clips
from models.bundle.archive import read_bundle
from models.bundle.manifest import FeatureSpec, LogMel, Shape
from models.bundle.replay import replay_golden
from models.families import family_named
from models.signal.mel import MelPlan

FRAMES, MELS = 60, 128


def clips(k: int, seed: int, shift_db: float = 0.0, beat_db: float = 0.0) -> np.ndarray:
    """Two machines with spectra of their own, levels that wander together, and speckle: (k, FRAMES, MELS) decibels."""
    rng = np.random.default_rng(seed)
    spectra = np.random.default_rng(99).normal(0, 6, (2, 16)).repeat(8, axis=1) - 25
    level = rng.normal(0, 2, (k, 1, 1)) + rng.normal(0, 1, (k, 1, 16)).repeat(8, axis=2)
    x = spectra[rng.integers(2, size=k)][:, None] + level + rng.normal(0, 3, (k, FRAMES, MELS))
    x[:, :, 40:60] += shift_db + beat_db * np.sin(np.arange(FRAMES))[None, :, None]
    return x.astype(np.float32)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cloud_hub", *args], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_160_clips_become_a_bundle_that_beats_the_plain_distance(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=clips(160, 0))
    faulty = np.concatenate([clips(60, 2, shift_db=1.5), clips(60, 3, beat_db=2.0)])
    np.savez(tmp_path / "t.npz", X=np.concatenate([clips(120, 1), faulty]), y=np.repeat([0, 1], 120))
    out, result = tmp_path / "b.mwb", tmp_path / "r.json"
    done = run("train", "--family", "melspectrum", "--data", str(tmp_path / "x.npz"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    scored = run("evaluate", "bundle", "--model", str(out), "--clips", str(tmp_path / "t.npz"), "--json", str(result))
    assert scored.returncode == 0, scored.stderr
    told = json.loads(result.read_text())
    assert (told["clips"], told["anomalous"], len(told["scores"])) == (240, 120, 240)
    assert told["auc"] > max(row["auc"] for row in told["baselines"].values())
    assert told["pauc"] > 0.5  # better than chance
    bundle = read_bundle(out.read_bytes(), "b")
    assert bundle.manifest.input.window == 1024 + 59 * 512
    assert replay_golden(bundle, Int8Model(bundle.model).network()).max_difference <= 0.02
    wrong = tmp_path / "w.npz"
    np.savez(wrong, X=clips(20, 4)[:, :, :64], y=np.repeat([0, 1], 10))
    refused = run("evaluate", "bundle", "--model", str(out), "--clips", str(wrong))
    assert refused.returncode == 1
    assert "takes clips of 128 bands, got 64" in refused.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--family", "spectral"], "log-mel clips are for --family melspectrum, got spectral"),
        (["--family", "melspectrum", "--data", "other.csv"], "other.csv: expected log-mel clips"),
        (["--family", "melspectrum", "--faulty", "f.npz"], "score labelled ones by `evaluate bundle --clips`"),
    ],
)
def test_orders_that_clips_do_not_go_with(tmp_path: Path, args: list[str], text: str) -> None:
    np.savez(tmp_path / "x.npz", X=clips(4, 0))
    done = run("train", "--data", str(tmp_path / "x.npz"), "--out", str(tmp_path / "b.mwb"), *args)
    assert done.returncode == 1
    assert text in done.stderr


def test_golden_sound_has_the_clips_spectrum() -> None:
    x = clips(20, 5)
    source, spec = clip_input(FRAMES, MELS, "sound")
    windows = golden_windows(x, source, 1)
    assert windows.shape == (3, source.window, 1)
    got = MelPlan(source.window, source.rate_hz)(windows[:1, :, 0])[0].mean(axis=0)
    assert (
        np.abs(got - x.mean(axis=(0, 1)))[4:].mean() < 3.0
    )  # bands leak, and a mean of decibels is under the mean power
    assert log_mel_block(spec, "b").mels == MELS


def test_made_up_faults_change_every_clip_and_keep_its_shape() -> None:
    x = clips(2 * len(KINDS), 6)
    broken = stress_clips(x, np.random.default_rng(0))
    assert broken.shape == x.shape
    assert broken.dtype == np.float32
    assert (np.abs(broken - x).max(axis=(1, 2)) > 0.05).all()


def test_plain_baselines_survive_the_bundle_and_know_a_shift() -> None:
    plain = fit_clip_baselines(clips(200, 7))
    healthy, shifted = plain.mahalanobis(clips(100, 8)), plain.mahalanobis(clips(100, 9, shift_db=6.0))
    assert 0.8 < np.median(healthy) < 1.6
    assert np.median(shifted) > 1.2 * np.median(healthy)
    assert plain.mean_level(clips(10, 8)).shape == (10,)


def test_clips_have_the_features_of_the_family() -> None:
    _, spec = clip_input(FRAMES, 40, "sound")
    block = log_mel_block(spec, "b")
    assert [one.size for one in block.statistics] == [40, 10, 10, 12]
    assert clip_features(clips(3, 0)[:, :, :40], block, batch=2).shape == (3, 72)
    assert isinstance(family_named("melspectrum").features_for(clip_input(200, 128, "sound")[0]).blocks[0], LogMel)
    with pytest.raises(DataError, match=r"slot/1: expected a bundle of the melspectrum family, its features are Shape"):
        log_mel_block(FeatureSpec(blocks=[Shape()]), "slot/1")


def test_files_of_clips_are_known_by_their_header_and_pooled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=clips(2, 0))
    np.savez(tmp_path / "r.npz", acc=np.zeros((4, 3)))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    found = [holds_clips(tmp_path / name) for name in ("x.npz", "r.npz", "bad.npz", "none.npz")]
    assert found == [True, False, False, False]
    one, other = (Clips(clips(3, seed), None, f"{seed}.npz", f"{seed}") for seed in (0, 1))
    assert len(pool_clips([one, other]).x) == 6
    with pytest.raises(DataError, match=r"n.npz, X: expected clips of \(60, 128\) as in 0.npz, got \(60, 64\)"):
        pool_clips([one, Clips(clips(3, 1)[:, :, :64], None, "n.npz", "n")])


def test_partial_auc_is_half_for_chance_and_one_for_perfect() -> None:
    rng = np.random.default_rng(0)
    assert partial_auc(rng.normal(size=20_000), rng.normal(size=20_000)) == pytest.approx(0.5, abs=0.01)
    assert partial_auc(np.arange(10.0), np.arange(10.0, 20.0)) == 1.0
    # 1 of 20 healthy over half of the faulty: TPR 0.5 at FPR 0, 1 from FPR 0.05; McClish on area 0.5 * 0.05 + 0.05.
    healthy = np.concatenate([np.zeros(19), [5.0]])
    area = 0.5 * 0.05 + 1.0 * 0.05
    want = 0.5 * (1 + (area - 0.005) / 0.095)
    assert partial_auc(healthy, np.array([4.0, 6.0])) == pytest.approx(want, abs=1e-9)


def test_copies_are_left_out_and_alike_clips_are_kept() -> None:
    x = clips(10, 1)
    alike = x + np.float32(0.001)
    found, copies = _without_copies(Clips(np.concatenate([x, alike, x[:4]]), None, "x.npz", "d"))
    assert (len(found.x), copies) == (20, 4)
    np.testing.assert_array_equal(found.x[:10], x)  # in the order in which they came
    same, none = _without_copies(Clips(x, None, "x.npz", "d"))
    assert none == 0
    assert same.x is x


def test_machines_with_spreads_of_their_own_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(0, 1.0, (200, 6)), rng.normal(0, 0.1, (200, 6)) + 8.0
    z = rng.permutation(np.concatenate([wide, narrow]))
    assert machines_in(z, 0.02, 4) >= 2
    assert machines_in(wide, 0.02, 4) == 1
    (low, of_low), (high, of_high) = sorted(fit_machines(z, 0.02, 2), key=lambda one: one[0].mean())
    off = np.full((1, 6), 0.7)  # usual for the wide machine, far out for the narrow one
    near = [float(np.square(off @ root).mean()) for root in (of_low, of_high)]
    assert near[1] > 2 * near[0]
    assert high.mean() - low.mean() == pytest.approx(8.0, abs=0.5)


def ragged() -> np.ndarray:
    out = np.empty(2, object)
    out[0], out[1] = clips(1, 0)[0], clips(1, 0)[0, :50]
    return out


def spoiled(value: float) -> np.ndarray:
    x = clips(9, 0).astype(np.float64)
    x[2:9, 3, 5] = value
    return x


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (spoiled(np.nan), r"7 of 9 clips hold NaN, infinity or values beyond float32: clips 2, 3, 4, 5, 6, \.\.\."),
        (spoiled(-np.inf), "7 of 9 clips hold NaN, infinity or values beyond float32"),
        (spoiled(1e300), "7 of 9 clips hold NaN, infinity or values beyond float32"),
        (ragged(), "X: expected one array of numbers, got an array of objects, as clips of different lengths make it"),
        (clips(2, 0) + 1j, r"expected numbers \(clips, frames, mels\), got complex"),
    ],
)
def test_clips_that_cannot_be_used_are_refused_in_words(tmp_path: Path, x: np.ndarray, text: str) -> None:
    np.savez(tmp_path / "x.npz", X=x)
    with pytest.raises(DataError, match=text):
        load_clips(tmp_path / "x.npz", labels=False)


def test_double_precision_reads_as_single(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", X=clips(3, 0).astype(np.float64))
    read = load_clips(tmp_path / "x.npz", labels=False).x
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, clips(3, 0))
