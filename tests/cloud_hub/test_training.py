"""Training for real: TensorFlow, int8, gates, golden vectors, report."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud_hub.data.load import Options, load
from cloud_hub.errors import DataError, GateError
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.evaluate.recordings import evaluate_recordings
from cloud_hub.runtime import Int8Model
from cloud_hub.training.checks import Leak, poisson_rate
from cloud_hub.training.measure import Evaluation, Quality, auc_doubt
from cloud_hub.training.pick_rows import Steadiness
from cloud_hub.training.train import Order, Trained, gates, train
from models.bundle.archive import read_bundle
from models.bundle.replay import replay_golden
from models.errors import BundleReplayError, SignalError
from models.families import family_named

pytestmark = pytest.mark.slow
RATE_HZ = 8192.0


def vibration(seconds: float, seed: int, blow: float = 0.0) -> np.ndarray:
    """Noise, shaft lines, and blows at 88 Hz that ring at 2700 Hz: (n, 2)."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    x = rng.standard_normal((n, 2)) * 0.5
    x += np.sin(2 * np.pi * 24.6 * t + rng.uniform(0, 6))[:, None]
    strikes = np.zeros(n)
    strikes[(np.arange(0, n - 1, RATE_HZ / 88.0)).astype(int)] = blow
    ring = np.exp(-800 * t[:300]) * np.sin(2 * np.pi * 2700 * t[:300])
    return (x + np.convolve(strikes, ring)[:n, None]).astype(np.float32)


def save(path: Path, data: np.ndarray) -> str:
    np.savez(path, data=data, rate_hz=RATE_HZ, axes=["radial", "axial"], units="m/s2", machine=path.stem, point="p")
    return str(path)


def order(**changes: object) -> Order:
    made = {
        "family": family_named("spectral"), "slot": "vibration", "version": "1", "title": "t",
        "quantity": "acceleration", "seed": 1, "created_s": 0,
    }  # fmt: skip
    return Order(**(made | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    folder = tmp_path_factory.mktemp("training")
    healthy = [save(folder / f"m{i}.npz", vibration(20, i) * (1 + i)) for i in range(2)]
    save(folder / "faulty.npz", vibration(5, 9, blow=2.5))
    said: list[str] = []
    result = train(order(), load(healthy, Options()), [], lambda what, share: said.append(f"{share:.2f} {what}"))
    assert said[-1] == "1.00 done"
    return result, folder


def test_int8_is_as_good_as_float_and_better_than_rms(trained: tuple[Trained, Path]) -> None:
    auc = trained[0].evaluation.auc
    assert auc.real - auc.int8 <= 0.005
    assert auc.int8 > auc.baseline
    assert trained[0].evaluation.false_alarms == 0
    assert trained[0].evaluation.int8_correlation > 0.99


def test_the_network_is_full_int8(trained: tuple[Trained, Path]) -> None:
    model = Int8Model(trained[0].bundle.model)
    assert model.spec == trained[0].bundle.manifest.network
    details = model._interpreter.get_tensor_details()
    floats = [d["name"] for d in details if d["dtype"] is np.float32]
    assert floats == []


def test_the_bundle_reads_back_and_replays(trained: tuple[Trained, Path]) -> None:
    bundle = read_bundle(trained[0].data, "b")
    assert bundle.manifest == trained[0].bundle.manifest
    report = replay_golden(bundle, Int8Model(bundle.model).network())
    assert report.max_difference < 1e-6
    assert "What it cannot say" in bundle.card
    assert json.loads(bundle.sbom)["bomFormat"] == "CycloneDX"
    assert msgspec.json.decode(bundle.evaluation, type=Evaluation).auc == trained[0].evaluation.auc


def test_another_network_fails_the_replay(trained: tuple[Trained, Path]) -> None:
    bundle = trained[0].bundle
    with pytest.raises(BundleReplayError, match=r"a golden score differs by .*%, at most 2.00% is allowed"):
        replay_golden(bundle, lambda x: 0.5 * x)


def test_the_same_order_gives_the_same_network(trained: tuple[Trained, Path]) -> None:
    result, folder = trained
    again = train(order(), load([str(folder / f"m{i}.npz") for i in range(2)], Options()), [], lambda *_: None)
    assert again.bundle.model == result.bundle.model
    assert again.bundle.sha256 == result.bundle.sha256


def test_it_sees_a_fault_that_it_was_never_shown(trained: tuple[Trained, Path]) -> None:
    result, folder = trained
    calibration = load([str(folder / "m0.npz")], Options())
    healthy = [calibration[0].part(0.6, 1.0)]
    faulty = load([str(folder / "faulty.npz")], Options())
    found = evaluate_recordings(result.bundle, calibration, healthy, faulty)
    assert (found.alarmed, found.faulty, found.false_alarms) == (1, 1, 0)
    assert found.auc_int8 == 1.0
    row = found.rows[1]
    assert row.first_alarm_s is not None
    assert row.first_alarm_s < 3.0
    assert row.flagged_share > 0.9


def evaluation(**changes: object) -> Evaluation:
    fields = {
        "faults": "synthetic", "auc": Quality(real=0.95, int8=0.95, baseline=0.8), "baseline_name": "RMS",
        "windows_healthy": 10, "windows_faulty": 10, "false_alarms": 0, "healthy_over_limit": 0.0,
        "faulty_over_limit": 1.0, "int8_correlation": 1.0, "scores_healthy": [], "scores_faulty": [],
        "float_healthy": [], "float_faulty": [], "baseline_healthy": [], "baseline_faulty": [],
    }  # fmt: skip
    return Evaluation(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, None),
        ({"auc": Quality(real=0.95, int8=0.94, baseline=0.8)}, "int8 loses 0.0100 of AUC"),
        ({"auc": Quality(real=0.95, int8=0.95, baseline=0.97)}, "under that of plain RMS, 0.9700"),
        ({"baselines": {"Mahalanobis": 0.96}}, "under that of the plain Mahalanobis distance, 0.9600"),
        ({"baselines": {"Mahalanobis": 0.96}, "doubts": {"Mahalanobis": 0.004}}, "under that of the plain Mahalanobis"),
        (
            {"baselines": {"Mahalanobis": 0.96}, "doubts": {"Mahalanobis": 0.006}},
            None,
        ),  # few windows: a matter of chance
        ({"false_alarm_rate": poisson_rate(2, 3600.0)}, "2 false alarms in 1 h of held-out healthy data"),
        (
            {"false_alarm_rate": poisson_rate(2, 3600.0), "over_limit_axes": {"oil": 0.7, "hall": 0.25, "flow": 0.05}},
            "by oil 70%, hall 25%, flow 5%; train on a longer record",
        ),
        ({"false_alarm_rate": poisson_rate(2, 30 * 86_400.0)}, None),
        ({"steadiness": Steadiness(seeds=[1, 2], auc=[0.6, 0.95])}, "spreads by 0.175 over seeds"),
        ({"steadiness": Steadiness(seeds=[1, 2], auc=[0.8, 0.95])}, None),  # 10 windows tell no more
        (
            {"steadiness": Steadiness(seeds=[1, 2], auc=[0.8, 0.95]), "windows_healthy": 1000},
            "spreads by 0.075 over seeds, at most 0.040",
        ),
        ({"leaks": [Leak(check="rate", finding="an empty top", serious=True)]}, "rate: an empty top"),
        ({"leaks": [Leak(check="rate", finding="nothing")]}, None),
    ],
)
def test_gates(changes: dict[str, object], text: str | None) -> None:
    failed = gates(evaluation(**changes))
    assert [text in f for f in failed] == ([True] if text else [])


def test_how_much_better_a_score_may_look_by_chance() -> None:
    rng = np.random.default_rng(0)

    def scores(windows: int) -> list[np.ndarray]:
        return [rng.normal(0.0, 1.0, windows), rng.normal(1.0, 1.0, windows)]

    few, many = (auc_doubt(scores(n), scores(n)) for n in (100, 10_000))
    assert few == pytest.approx(10 * many, rel=0.2)
    same = scores(100)
    assert auc_doubt(same, same) == 0.0
    assert auc_doubt(scores(100), scores(99)) == 0.0


def test_a_model_that_fails_a_gate_ships_only_with_a_reason(
    trained: tuple[Trained, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = load([str(trained[1] / "m0.npz")], Options())
    monkeypatch.setattr("cloud_hub.training.train.gates", lambda _: ["it is worse"])
    with pytest.raises(GateError, match=r"it is worse.*--accept REASON"):
        train(order(), recordings, [], lambda *_: None)
    accepted = train(order(accept="a trial"), recordings, [], lambda *_: None)
    assert accepted.bundle.manifest.provenance.accepted == "a trial"
    assert accepted.gates == ["it is worse"]


@pytest.mark.parametrize(
    ("data", "changes", "text"),
    [
        (vibration(2.5, 0), {}, r"windows to train on and \d+ to hold out; expected at least 24"),
        (vibration(10, 0), {"quantity": "temperature"}, "family spectral knows acceleration"),
        (vibration(10, 0), {"quantity": "velocity"}, r"velocity should be in mm/s or m/s, got 'm/s2'"),
    ],
)
def test_data_that_will_not_do(tmp_path: Path, data: np.ndarray, changes: dict[str, object], text: str) -> None:
    with pytest.raises(DataError, match=text):
        train(order(**changes), load([save(tmp_path / "x.npz", data)], Options()), [], lambda *_: None)


def test_the_process_family_learns_slow_signals(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(6000.0)
    load_share = 0.7 + 0.1 * np.sin(t / 97) + 0.05 * np.sin(t / 31)
    healthy = np.stack([40 + 20 * load_share, 3 * load_share, 32 * load_share], 1) + rng.normal(0, 0.1, (6000, 3))
    np.savez(tmp_path / "p.npz", temperature=healthy[:, 0], current=healthy[:, 1], flow=healthy[:, 2], fs_hz=1)
    recordings = load([str(tmp_path / "p.npz")], Options(units="mixed"))
    result = train(
        order(family=family_named("process"), quantity="process", slot="process", accept="linear: PCA is at home"),
        recordings,
        [],
        lambda *_: None,
    )
    assert result.evaluation.auc.real - result.evaluation.auc.int8 <= 0.005
    assert result.evaluation.auc.int8 > 0.7


def test_roc_auc_is_the_share_of_pairs_in_order() -> None:
    healthy, faulty = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    pairs = [(f > h) + 0.5 * (f == h) for h in healthy for f in faulty]
    assert roc_auc(healthy, faulty) == pytest.approx(np.mean(pairs))
    with pytest.raises(SignalError, match="got 0 healthy and 2 faulty"):
        roc_auc(np.array([]), faulty)


def test_command_line_writes_bundle_report_and_summary(tmp_path: Path) -> None:
    data = save(tmp_path / "m.npz", vibration(15, 3))
    out, summary = tmp_path / "sub" / "b.mwb", tmp_path / "s.json"
    command = [sys.executable, "-m", "cloud_hub", "train", "--data", data, "--out", str(out), "--json", str(summary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(summary.read_text())
    bundle = read_bundle(out.read_bytes(), "b")
    assert told["sha256"] == bundle.sha256
    assert told["bundle_bytes"] == out.stat().st_size
    page = out.with_suffix(".html").read_text()
    assert page.count("<svg") == 3  # the head that ships is fitted in closed form: no loss curve
    assert "fitted in closed form" in page
    for check in ("Mahalanobis", "trained anew with 5 seeds", "95 % interval", "leak by rate", "quantised by"):
        assert check in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)  # nothing from elsewhere
    for name in bundle.manifest.provenance.data:
        assert name in page
    bad = subprocess.run(
        [*command[:4], "--data", "nowhere.csv", "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert bad.stderr.strip().splitlines()[-1] == "cloud-hub: nowhere.csv: no such file"
