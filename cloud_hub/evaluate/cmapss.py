"""NASA C-MAPSS FD001: cycles left of the 100 test units, as the int8 bundle says through the agent's pipeline.

Convention: the main RMSE is against the true remaining cycles as they stand in the RUL file (up to 145), uncapped;
`rmse_capped` against min(true, 125) with predictions capped alike, as papers after Heimes 2008 often do. The network is
trained on the training units alone; nothing is chosen by the test file.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.lives import read_lives, read_remaining
from cloud_hub.errors import DataError
from cloud_hub.evaluate.intervals import interval_of
from cloud_hub.runtime import Int8Model
from models.bundle.manifest import RemainingLifeScore
from models.families import family_named
from models.signal.arrays import F32, F64
from models.signal.monitor import Monitor
from models.signal.windows import cut_windows

FILES = ("train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt")
COVERAGE = 0.8
_USUAL_CAP = 125.0


class Published(msgspec.Struct, frozen=True):
    """A published RMSE; whether its test truth was capped differs from paper to paper."""

    name: str
    rmse: float


PUBLISHED = [
    Published("constant", 43.1),
    Published("ridge", 24.9),
    Published("deep LSTM (Zheng 2017)", 16.14),
    Published("LSTM", 14.93),
    Published("DCNN (Li 2018)", 12.61),
]


class CmapssResult(msgspec.Struct, frozen=True, kw_only=True):
    """`rmse`: int8, uncapped truth; `rmse_float`: the same of the float network; `rmse_capped`: see the module.
    `score`: PHM08, summed over the units. `interval`: the probability asked for; `coverage`: the share of test units
    whose true value is inside; `coverage_capped`: of min(true, the network's cap). `width`: mean width in cycles.
    `rmse_unseen`: RMSE on training units that the judged member had not seen. `padded`: test units shorter than a
    window.
    """

    bundle: str
    units: int
    padded: int
    rmse: float
    rmse_capped: float
    score: float
    rmse_float: float
    rmse_unseen: float
    interval: float
    coverage: float
    coverage_capped: float
    width: float
    ridge: float
    constant: float
    network_bytes: int
    rung: str
    published: list[Published]
    predicted: list[float]
    low: list[float]
    high: list[float]


def phm08(predicted: F64, true: F64) -> float:
    """The PHM08 challenge's score: sum of exp(-d / 13) - 1 for early, exp(d / 10) - 1 for late predictions.

    d = predicted - true. Lower is better. Source: Saxena et al. 2008.
    """
    d = predicted - true
    return float(np.sum(np.where(d < 0, np.exp(-d / 13.0), np.exp(d / 10.0)) - 1.0))


def evaluate_cmapss(folder: Path, seed: int = 1) -> CmapssResult:
    """Train on the training file, score the last windows of the test file.

    Raises: DataError: a file is missing or does not fit the others. GateError: the network fails a gate.
    """
    from cloud_hub.training.remaining_life import ridge, train_lives
    from cloud_hub.training.train import Order

    if not (folder / FILES[0]).is_file() and (folder / "cmapss").is_dir():
        folder = folder / "cmapss"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} missing: they are in NASA's C-MAPSS turbofan data set")
    lives = read_lives(folder / FILES[0])
    test = read_lives(folder / FILES[1])
    true = read_remaining(folder / FILES[2], len(test.units))
    family = family_named("remaining_life")
    order = Order(
        family=family, slot="turbofan", version="cmapss", title="turbofan", quantity="process", seed=seed, created_s=0
    )
    trained = train_lives(order, lives, lambda _what, _share: None)
    manifest = trained.bundle.manifest
    window = manifest.input.window
    last_two = np.concatenate([_last_windows(rows[:, trained.sensors], window, 2) for rows in test.units.values()])
    monitor = Monitor(manifest, Int8Model(trained.bundle.model).network(), [str(unit) for unit in test.units])
    results = monitor.process(last_two, np.repeat(np.arange(len(test.units)), 2).tolist())[1::2]
    if not isinstance(manifest.score, RemainingLifeScore):
        raise TypeError(f"score of family {family.name}: {manifest.score}")
    predicted = np.array([manifest.score.horizon / r.raw for r in results if r.raw is not None])
    normalise = manifest.normalisation
    z_test, z_train = (
        np.clip((f - np.array(normalise.mean)) / np.array(normalise.scale), -normalise.clip, normalise.clip).astype(
            np.float32
        )
        for f in (
            monitor.scorer.extract(last_two[1::2]),
            np.concatenate(
                [
                    monitor.scorer.extract(_last_windows(rows[:, trained.sensors], window, len(rows)))
                    for rows in lives.units.values()
                ]
            ),
        )
    )
    own = trained.evaluation
    left = np.concatenate([np.arange(_count(len(rows)))[::-1] for rows in lives.units.values()])
    capped = np.minimum(left, own.cap)
    beta = ridge(z_train, capped)
    low, high = interval_of(predicted, own.known(), COVERAGE)
    at_cap = np.minimum(true, own.cap)
    return CmapssResult(
        bundle=f"{manifest.slot}/{manifest.version}",
        units=len(true),
        padded=sum(len(rows) < window for rows in test.units.values()),
        rmse=_rmse(predicted, true),
        rmse_capped=_rmse(np.minimum(predicted, _USUAL_CAP), np.minimum(true, _USUAL_CAP)),
        score=phm08(predicted, true),
        rmse_float=_rmse(trained.float_network(z_test), true),
        rmse_unseen=own.rmse_unseen,
        interval=COVERAGE,
        coverage=float(np.mean((low <= true) & (true <= high))),
        coverage_capped=float(np.mean((low <= at_cap) & (at_cap <= high))),
        width=float(np.mean(high - low)),
        ridge=_rmse(z_test @ beta[:-1] + beta[-1], true),
        constant=_rmse(np.full(len(true), capped.mean()), true),
        network_bytes=len(trained.bundle.model),
        rung=own.rung,
        published=PUBLISHED,
        predicted=predicted.round(2).tolist(),
        low=low.round(2).tolist(),
        high=high.round(2).tolist(),
    )


def _count(cycles: int) -> int:
    from cloud_hub.training.remaining_life import YOUNGEST

    return cycles - YOUNGEST + 1


def _last_windows(samples: F32, window: int, count: int) -> F32:
    """The last windows of a unit, (count or fewer, window, sensors), filled up in front as in training."""
    from cloud_hub.training.remaining_life import YOUNGEST, padded

    if len(samples) < YOUNGEST + 1:
        raise DataError(f"a unit of {len(samples)} cycles: expected at least {YOUNGEST + 1}")
    return np.ascontiguousarray(cut_windows(padded(samples, window), window, 1)[-count:])


def _rmse(predicted: F64, true: F64) -> float:
    return float(np.sqrt(np.mean(np.square(predicted - true))))
