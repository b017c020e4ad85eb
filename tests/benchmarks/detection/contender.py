"""One contender on one case, in a process of its own, so that its memory is its own.

`python -m tests.benchmarks.detection.contender fit|score NAME FOLDER` prints JSON. `fit` learns from the healthy rows
and leaves the model on disk; `score` loads it as a gateway would, and measures. The bundle is fitted already.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

BATCH = 64
_REPEATS = 7
_BUDGET_S = 4.0
_SEED = 1

Score = Callable[[np.ndarray], np.ndarray]
"""Features (k, features), not normalised, to scores (k,), higher is worse."""


def _resident_kb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


# ------------------------------------------------------------------------------------------------------------ fitting


def _pyod(name: str):
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest
    from pyod.models.knn import KNN

    return {"IForest": lambda: IForest(random_state=_SEED), "ECOD": ECOD, "KNN": KNN}[name]()


def fit(name: str, folder: Path) -> None:
    """Learn from the healthy rows, with the library's defaults."""
    train = np.load(folder / "features.npz")["train"].astype(np.float64)
    if name == "HalfSpaceTrees":
        from river import anomaly, preprocessing

        # Its defaults want 250 samples before the first score; where there are fewer, two windows of what there is.
        window = min(250, len(train) // 2)
        model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(window_size=window, seed=_SEED)
        for row in train.tolist():
            model.learn_one(dict(enumerate(row)))
    else:
        model = _pyod(name)
        model.fit(train)
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))


# ------------------------------------------------------------------------------------------------------------ scoring


def _load(name: str, folder: Path, mean: np.ndarray, scale: np.ndarray, history: np.ndarray) -> tuple[Score, int]:
    """The contender, ready to score, and its size on disk."""
    if name == "bundle":
        from cloud_hub.runtime import Int8Model
        from models.bundle.archive import read_bundle
        from models.signal.calibrate import calibrate
        from models.signal.score import Scorer

        data = (folder / "bundle.mwb").read_bytes()
        bundle = read_bundle(data, "bundle")
        scorer = Scorer(bundle.manifest, Int8Model(bundle.model).network())
        shift = calibrate(history[: bundle.manifest.calibration.windows], scorer).shift
        return lambda features: scorer.score(features.copy(), shift).raw, len(bundle.model)
    data = (folder / f"{name}.pickle").read_bytes()
    model = pickle.loads(data)  # noqa: S301 - written by this benchmark
    if name == "HalfSpaceTrees":
        return (
            lambda features: np.array(
                [model.score_one(dict(enumerate(row))) for row in ((features - mean) / scale).tolist()]
            ),
            len(data),
        )
    return lambda features: model.decision_function((features - mean) / scale), len(data)


def _us_per_window(score: Score, rows: np.ndarray, batch: int) -> float:
    """Median time of one window, scored in batches."""
    parts = [rows[i : i + batch] for i in range(0, len(rows) - batch + 1, batch)] or [rows]
    score(parts[0])
    times = []
    began = time.perf_counter()
    while len(times) < _REPEATS * len(parts) and (time.perf_counter() - began < _BUDGET_S or len(times) < _REPEATS):
        part = parts[len(times) % len(parts)]
        start = time.perf_counter()
        score(part)
        times.append((time.perf_counter() - start) / len(part))
    return float(np.median(times) * 1e6)


def _auc(healthy: np.ndarray, faulty: np.ndarray) -> float:
    from cloud_hub.evaluate.metrics import roc_auc

    return roc_auc(healthy.astype(np.float64), faulty.astype(np.float64))


def _scores(name: str, folder: Path, score: Score, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of all test windows; the bundle's as the gateway's own monitor gives them, from raw windows."""
    if name == "ECOD":
        # It ranks the rows of a call among each other and the training rows: a call full of faults makes them the rule.
        # On a gateway windows come one by one.
        return {key: np.concatenate([score(row[None]) for row in rows]) for key, rows in arrays.items()}
    if name != "bundle":
        return {key: score(rows) for key, rows in arrays.items()}
    from cloud_hub.runtime import Int8Model
    from models.bundle.archive import read_bundle
    from models.signal.monitor import Monitor

    bundle = read_bundle((folder / "bundle.mwb").read_bytes(), "bundle")
    with np.load(folder / "windows.npz") as archive:
        windows = {key: archive[key] for key in archive.files}
    monitor = Monitor(bundle.manifest, Int8Model(bundle.model).network(), [""])
    warm = windows.pop("history")[: bundle.manifest.calibration.windows]
    monitor.process(warm, [0] * len(warm))
    return {
        key: np.array([result.score for result in monitor.process(rows, [0] * len(rows))], np.float64)
        for key, rows in windows.items()
    }


def measure(name: str, folder: Path) -> dict[str, object]:
    """Memory first, before anything else is imported; then time, then quality."""
    with np.load(folder / "features.npz") as archive:
        arrays = {key: archive[key] for key in archive.files if key != "train"}
    mean, scale, history = arrays.pop("mean"), arrays.pop("scale"), arrays.pop("history")
    rows = np.concatenate(list(arrays.values()))
    before_kb = _resident_kb()
    score, size = _load(name, folder, mean, scale, history)
    score(rows[:BATCH])
    score(rows[:1])
    grown_kb = _resident_kb() - before_kb
    one, many = _us_per_window(score, rows, 1), _us_per_window(score, rows, BATCH)
    scores = _scores(name, folder, score, arrays)
    healthy = scores.pop("healthy")
    aucs = {key.removeprefix("faulty/"): _auc(healthy, faulty) for key, faulty in scores.items()}
    return {"auc": aucs, "us_1": one, "us_64": many, "grown_kb": grown_kb, "model_bytes": size}


def main() -> None:
    """Do what the command line says."""
    verb, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if verb == "fit":
        fit(name, folder)
    else:
        sys.stdout.write(json.dumps(measure(name, folder)))


if __name__ == "__main__":
    main()
