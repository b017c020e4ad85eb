"""The quantisation ladder for real, and the two commands around it."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.data.clips import clip_windows
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.evaluate.network import clip_scores
from cloud_hub.runtime import TfliteModel
from cloud_hub.training.fit import float_network, import_tensorflow
from cloud_hub.training.ladder import ALL_RUNGS, INT8_RUNGS, climb, int8_rungs
from cloud_hub.training.outside import load_keras
from cloud_hub.training.quantising.convert import calibrated_float, to_int8
from cloud_hub.training.quantising.correct import corrected, equalised, rounding_tap
from cloud_hub.training.quantising.graph import open_graph
from cloud_hub.training.quantising.ranges import observe

pytestmark = pytest.mark.slow
FEATURES, RANK = 20, 4


def rows_of(count: int, seed: int) -> np.ndarray:
    mixing = np.random.default_rng(99).standard_normal((RANK, FEATURES))
    rng = np.random.default_rng(seed)
    noise = 1.5 * rng.standard_normal((count, FEATURES))
    return (rng.standard_normal((count, RANK)) @ mixing + noise).astype(np.float32)


def projecting(scale: float):
    """A two-layer network that projects on the rows' plane; its first hidden channel is `scale` times the others."""
    tf = import_tensorflow()
    rows = rows_of(2000, 1)
    basis = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:RANK]
    factor = np.ones(RANK, np.float32)
    factor[0] = scale
    inputs = tf.keras.Input((FEATURES,))
    hidden = tf.keras.layers.Dense(RANK)(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(FEATURES)(hidden))
    zeros = np.zeros(RANK, np.float32), np.zeros(FEATURES, np.float32)
    model.set_weights([basis.T * factor, zeros[0], basis / factor[:, None], zeros[1]])
    return model


def test_an_easy_network_takes_the_first_rung() -> None:
    done = climb(projecting(1.0), rows_of(3000, 2), None, seed=1)
    assert (done.rung, done.passed) == ("int8", True)
    assert [rung.name for rung in done.tried] == ["int8"]
    assert done.tried[0].bytes == len(done.model)
    assert TfliteModel(done.model).kind == "int8"


def test_an_outlier_channel_needs_a_later_rung() -> None:
    """The first rung spends its codes on one channel; equalisation before rounding gives them back."""
    model, rows = projecting(60.0), rows_of(3000, 2)
    done = climb(model, rows, None, seed=1)
    assert done.passed
    assert done.rung in INT8_RUNGS[1:]
    first = done.tried[0]
    assert (first.name, first.passed) == ("int8", False)
    assert "at most" in first.why_not
    fresh, faulty = rows_of(2000, 3), rows_of(2000, 4) + np.linspace(0, 2.0, FEATURES, dtype=np.float32)

    def auc(network) -> float:
        return roc_auc(*(np.square(x - network(x)).mean(axis=1, dtype=np.float64) for x in (fresh, faulty)))

    exact = auc(float_network(model))
    crude = to_int8(calibrated_float(model, rows[:500]))
    assert abs(exact - auc(TfliteModel(done.model).network())) <= 0.003
    assert abs(exact - auc(TfliteModel(crude).network())) > 0.003
    again = climb(model, rows, None, seed=1)
    assert again.model == done.model


def test_when_int8_cannot_do_it_int16_does() -> None:
    """Labels say that every int8 network is bad: what is left is the last rung, full int16 at both ends."""
    seen = []

    def check(network) -> float:
        x = rows_of(500, 5)
        seen.append(float(np.abs(network(x) - float_network(model)(x)).mean()))
        return 0.5 if len(seen) == 1 else 0.0

    model = projecting(1.0)
    done = climb(model, rows_of(3000, 2), None, seed=1, rungs=("int8", "int16x8"), check=check)
    assert (done.rung, done.passed) == ("int16x8", True)
    assert "loses 0.5000 of AUC on the labelled clips" in done.tried[0].why_not
    assert TfliteModel(done.model).kind == "int16x8"
    assert seen[1] < 0.5 * seen[0]
    without = climb(model, rows_of(600, 2), None, seed=1, rungs=("int8",), check=lambda _: 0.5)
    assert (without.rung, without.passed) == ("int8", False)


def test_a_network_that_is_not_dense_skips_the_rungs_that_need_it() -> None:
    tf = import_tensorflow()
    inputs = tf.keras.Input((FEATURES,))
    x = tf.keras.layers.Softmax()(tf.keras.layers.Dense(8)(inputs))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(FEATURES)(x))
    done = climb(model, rows_of(300, 2), None, 1, rungs=ALL_RUNGS, check=lambda _: 1.0)
    reasons = {rung.name: rung.why_not for rung in done.tried}
    assert reasons["int8-bias"] == "only for dense networks, this one has SOFTMAX"
    assert done.rung in {"int8", "int16x8"}


@pytest.mark.slow
def test_later_rungs_do_networks_side_by_side() -> None:
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(3)
    inputs = tf.keras.Input((FEATURES,))
    branches = [tf.keras.layers.Dense(FEATURES)(tf.keras.layers.Dense(8, "relu")(inputs)) for _ in range(2)]
    model = tf.keras.Model(inputs, tf.keras.layers.Concatenate()(branches))
    built = dict(int8_rungs(model, rows_of(400, 2), None, 1, weights=np.ones(2 * FEATURES)))
    assert tuple(built) == INT8_RUNGS
    x = rows_of(300, 5)
    exact = float_network(model)(x)
    for data in built.values():
        got = TfliteModel(data).network()(x)
        assert got.shape == exact.shape
        assert np.square(got - exact).mean() < 0.01 * np.square(exact).mean()


def test_simulation_is_what_the_runtime_computes() -> None:
    rows = rows_of(1000, 2)
    graph = open_graph(calibrated_float(projecting(30.0), rows[:500]))
    same = equalised(graph, observe(graph, rows), 0.5)
    exact = np.asarray(graph.run(rows, lambda _, t: t))
    np.testing.assert_allclose(np.asarray(same.run(rows, lambda _, t: t)), exact, atol=1e-4)
    done = corrected(same, rows, compensate=True)
    simulated = np.asarray(done.run(rows, rounding_tap(done)))
    run = TfliteModel(to_int8(done.dump())).network()(rows)
    step = (done.ranges[done.sink][1] - done.ranges[done.sink][0]) / 255
    assert np.abs(run - simulated).max() < 1.6 * step  # an odd half rounds the other way, once a layer
    assert np.mean(np.abs(run - simulated) > 0.5 * step) < 0.02
    assert abs((simulated - exact).mean()) < 0.1 * step


MELS, FRAMES = 4, 9  # windows of five frames: 20 inputs


def clips_of(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Clips whose windows lie near a plane: two tones that come and go over a level."""
    rng = np.random.default_rng(seed)
    tones = np.array([[1.0, 0.5, 0, 0], [0, 0, 0.5, 1.0]])
    x = rng.standard_normal((count, 1, 2)) @ tones * 3 + 1.5 * rng.standard_normal((count, FRAMES, MELS)) - 20
    x[:, :, 1] += shift * rng.uniform(0.5, 1.5, (count, 1))
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras's own, while it saves
        return make_files(tmp_path_factory)


def make_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tf = import_tensorflow()
    folder = tmp_path_factory.mktemp("ladder")
    windows = clip_windows(clips_of(200, 1)).reshape(-1, FEATURES)
    mean = windows.mean(0)
    basis = np.linalg.svd(windows - mean, full_matrices=False)[2][:2]
    inputs = tf.keras.Input((FEATURES,))
    x = tf.keras.layers.BatchNormalization()(tf.keras.layers.Dense(2)(inputs))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(FEATURES)(x))
    one = np.ones(2, np.float32)
    model.set_weights([basis.T, 0 * one, one, 0 * one, basis @ (0 * mean), one, basis, mean - mean @ basis.T @ basis])
    model.save(folder / "net.keras")
    np.savez(folder / "rep.npz", X=clips_of(500, 1))
    np.savez(folder / "rows.npz", X=windows)
    x = np.concatenate([clips_of(150, 2), clips_of(150, 3, shift=2.0)])
    np.savez(folder / "clips.npz", X=x, y=np.repeat([0, 1], 150))
    wide = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(inputs))
    wide.save(folder / "narrow.keras")
    coded = tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda t: 2 * t, output_shape=(FEATURES,))(inputs))
    coded.save(folder / "lambda.keras")
    both = tf.keras.Input((FEATURES,))
    tf.keras.Model([inputs, both], tf.keras.layers.Add()([inputs, both])).save(folder / "two.keras")
    tf.keras.Model(both, tf.keras.layers.Reshape((5, 4))(both)).save(folder / "image.keras")
    (folder / "text.h5").write_text("hello")
    (folder / "text.keras").write_text("hello")
    np.savez(folder / "few.npz", X=windows[:20])
    np.savez(folder / "same.npz", X=np.ones((100, FEATURES)))
    np.savez(folder / "width.npz", X=windows[:, :15])
    np.savez(folder / "mels.npz", X=np.zeros((9, 9, 3)))
    np.savez(folder / "flat.npz", X=windows.ravel())
    np.savez(folder / "other.npz", Y=windows)
    bad = windows.copy()
    bad[7, 3] = np.nan
    np.savez(folder / "nan.npz", X=bad)
    return folder


def hub(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud_hub", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_line_end_to_end(files: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "sub" / "net.tflite", tmp_path / "told.json"
    done = hub(
        "quantise", "--model", files / "net.keras", "--representative", files / "rep.npz", "--out", out,
        "--clips", files / "clips.npz", "--json", told,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(told.read_text())
    assert result["passed"] or "no rung is proven" in done.stderr
    assert result["bytes"] == out.stat().st_size
    assert f"{result['rung']}: " in done.stdout
    assert result["rung"] in {rung["name"] for rung in result["rungs"]}
    assert abs(result["auc_float"] - result["auc_quantised"]) <= 0.003
    scored = tmp_path / "scored.json"
    aucs = {}
    for model, kind in ((out, result["kind"]), (files / "net.keras", "float32")):
        done = hub("evaluate", "network", "--model", model, "--clips", files / "clips.npz", "--json", scored)
        assert done.returncode == 0, done.stderr
        row = json.loads(scored.read_text())
        assert (row["kind"], row["clips"], row["anomalous"], len(row["scores"])) == (kind, 300, 150, 300)
        assert row["auc"] == pytest.approx(roc_auc(np.array(row["scores"][:150]), np.array(row["scores"][150:])))
        assert 0.5 < row["pauc"] <= 1
        aucs[kind] = row["auc"]
    assert aucs["float32"] == pytest.approx(result["auc_float"], abs=1e-6)
    assert aucs[result["kind"]] == pytest.approx(result["auc_quantised"], abs=1e-6)
    assert 0.6 < aucs["float32"] < 0.999


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("none.keras", "no such file"),
        ("rep.npz", r"expected a Keras network, a file ending in .h5, .hdf5, .keras"),
        ("text.h5", "not a Keras network"),
        ("text.keras", "not a Keras network"),
        ("lambda.keras", "has a Lambda layer, which carries code; it is not run here"),
        ("two.keras", "expected one input and one output, it has 2 inputs and 1 outputs"),
        ("image.keras", r"image.keras, output: expected \(batch, features\), got \(None, 5, 4\)"),
    ],
)
def test_networks_that_will_not_do(files: Path, model: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        load_keras(files / model)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("few.npz", "expected at least 64 rows that stand for the data, got 20"),
        ("same.npz", "all 100 rows are the same"),
        ("width.npz", "the network has 20 inputs, the rows have 15"),
        ("mels.npz", "windows of 5 frames of 3 mels are 15 inputs, the network has 20"),
        ("flat.npz", r"expected numbers \(n, 20\) or \(clips, frames, mels\), got float32 \(20000,\)"),
        ("other.npz", "it has no X"),
        ("nan.npz", "1 rows hold values that are no numbers, first row 7"),
        ("text.h5", "not an npz file that can be read"),
    ],
)
def test_rows_that_will_not_do(files: Path, rows: str, text: str) -> None:
    from cloud_hub.training.outside import quantise_outside

    with pytest.raises(DataError, match=text):
        quantise_outside(load_keras(files / "net.keras"), "net", files / rows, None, 1, sixteen=True)


def test_wrong_usage_ends_in_one_line(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.tflite"
    done = hub("quantise", "--model", files / "narrow.keras", "--representative", files / "rows.npz", "--out", out)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "cloud-hub: narrow.keras: the score is the reconstruction error, so it needs as many outputs as inputs; it has "
        "20 inputs and 3 outputs"
    )
    assert not out.exists()
    done = hub("evaluate", "network", "--model", files / "rep.npz", "--clips", files / "clips.npz")
    assert done.returncode == 1
    assert "not a .tflite file that the runtime can run" in done.stderr


@pytest.mark.data
def test_the_benchmark_network_keeps_its_ranking(data_dir: Path) -> None:
    """The MLPerf Tiny network on clips that its own decoder makes up: the published int8 file ranks them differently."""
    folder = data_dir / "mlperf_tiny_ad" / "models"
    outside = load_keras(folder / "ad01.h5")
    assert (outside.inputs, outside.outputs) == (640, 640)
    rows = decoded_rows(outside, 2400, 1)
    done = climb(outside.keras_model, rows.reshape(-1, 6, 640), None, 1, rungs=ALL_RUNGS)
    assert done.passed
    fresh = decoded_rows(outside, 1800, 2).reshape(-1, 6, 640)
    faulty = fresh + 4 * np.exp(-0.5 * np.square((np.arange(640) % 128 - 50) / 8)).astype(np.float32)

    def scores(network) -> np.ndarray:
        both = np.concatenate([fresh, faulty]).reshape(-1, 640)
        return np.square(both - network(both)).mean(axis=1, dtype=np.float64).reshape(-1, 6).mean(axis=1)

    exact = scores(outside.network())
    published = scores(TfliteModel((folder / "ad01_int8.tflite").read_bytes()).network())
    ours = scores(TfliteModel(done.model).network())
    assert abs(roc_auc(exact[:300], exact[300:]) - roc_auc(ours[:300], ours[300:])) <= 0.003
    spread = [np.std(np.log(s) - np.log(exact)) for s in (ours, published)]
    assert spread[0] < 0.5 * spread[1]


def decoded_rows(outside, count: int, seed: int) -> np.ndarray:
    """Windows with the statistics that batch normalisation remembers of the training data: groups of six alike."""
    tf = import_tensorflow()
    rng = np.random.default_rng(seed)
    layers = outside.keras_model.layers
    at = next(i for i, layer in enumerate(layers) if layer.name == "activation_4")
    gamma, beta = (w.numpy() for w in layers[at - 1].weights[:2])
    state = np.repeat(rng.standard_normal((count // 6, 8)), 6, axis=0) + 0.3 * rng.standard_normal((count, 8))
    x = tf.constant(np.maximum(0, beta + gamma * state), tf.float32)
    for layer in layers[at + 1 :]:
        x = layer(x)
    return (np.asarray(x) + 3 * rng.standard_normal((count, 640))).astype(np.float32)


def test_clip_scores_are_means_of_windows() -> None:
    x = clips_of(40, 4)
    windows = clip_windows(x)
    expected = np.square(windows - 0.5 * windows).mean(axis=(1, 2))
    np.testing.assert_allclose(clip_scores(lambda rows: 0.5 * rows, x), expected, rtol=1e-5)
