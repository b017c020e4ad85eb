"""The SKAB outlier task: a water-circulation test bed, 34 labelled experiments (Katser & Kozitsin 2020, SKAB v0.9).

Protocol: each file by itself; fit on rows 0 to 399 without their labels, say 0 or 1 for every later row, pool true and
false positives and negatives over all files. No point-adjustment. Here every file gets an int8 bundle of the `process`
family trained on its 400 rows, and what is scored is what the gateway's code says, window by window: `alarm` is 1.
Neither row number, elapsed time nor the length of a file enters anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.evaluate.series import bundle_of
from cloud_hub.runtime import Int8Model
from models.errors import SignalError
from models.families import family_named
from models.signal.arrays import F32, F64, Bools, Ints
from models.signal.monitor import Monitor
from models.signal.windows import cut_windows

TRAINING_ROWS = 400
RATE_HZ = 1.0
_FOLDERS = ("valve1", "valve2", "other")
_PREDICTIONS = "published_predictions_test_part.csv"
_NOT_SIGNALS = ("datetime", "anomaly", "changepoint")
_GAP_S = 60.0  # no window spans more: the machine may have been anywhere meanwhile
_RESAMPLINGS = 2000
_WHERE = "SKAB v0.9, github.com/waico/SKAB"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One algorithm. `far`, `mar` in percent: false and missed shares of normal and anomalous rows."""

    name: str
    f1: float
    far: float
    mar: float


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """95 % of resamplings of the files."""

    f1: tuple[float, float]
    far: tuple[float, float]
    mar: tuple[float, float]


class OurRow(Row, frozen=True, kw_only=True):
    """Our row. `auc_*`: threshold-free, of the calibrated score; mean over files, and over all rows at once.

    `without_hysteresis`: every window over the limit counts, without n of m, peak or re-arming.
    """

    auc_mean: float
    auc_pooled: float
    interval: Interval
    without_hysteresis: Row
    model_bytes: int
    bundle_bytes: int


class FileRow(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its own measures and AUC."""

    name: str
    rows: int
    f1: float
    far: float
    mar: float
    auc: float


class SkabResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the command prints."""

    points: int
    anomalous: int
    ours: OurRow
    published: list[Row]
    files: list[FileRow]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One labelled file. `samples`: (n, axes). `stretches`: half-open row ranges without a gap in them."""

    name: str
    axes: tuple[str, ...]
    samples: F32
    anomaly: Bools
    stretches: list[tuple[int, int]]


def evaluate_skab(folder: Path, say: Callable[[str, float], None]) -> SkabResult:
    """Run the whole task on a folder that is, or holds, SKAB's `data`.

    Raises: DataError: it is not there, or broken.
    """
    folder = folder / "skab" if (folder / "skab").is_dir() else folder
    experiments = list(_experiments(folder))
    truth, said, plain, scores, sizes = [], [], [], [], []
    for at, experiment in enumerate(experiments):
        say(experiment.name, at / len(experiments))
        verdicts, score, size = run_experiment(experiment)
        truth.append(experiment.anomaly[TRAINING_ROWS:])
        said.append(verdicts)
        plain.append(score > 1.0)
        scores.append(score)
        sizes.append(size)
    say("done", 1.0)
    ours = measures("Millwright, int8", said, truth)
    files = [
        _file_row(e.name, verdicts, labels, score)
        for e, verdicts, labels, score in zip(experiments, said, truth, scores, strict=True)
    ]
    every_score, every_label = np.concatenate(scores), np.concatenate(truth)
    return SkabResult(
        points=len(every_label),
        anomalous=int(every_label.sum()),
        ours=OurRow(
            name=ours.name,
            f1=ours.f1,
            far=ours.far,
            mar=ours.mar,
            auc_mean=float(np.mean([row.auc for row in files])),
            auc_pooled=roc_auc(every_score[~every_label], every_score[every_label]),
            interval=_bootstrap(said, truth),
            without_hysteresis=measures("Millwright, windows over the limit", plain, truth),
            model_bytes=max(model for model, _ in sizes),
            bundle_bytes=max(bundle for _, bundle in sizes),
        ),
        published=published(folder / _PREDICTIONS),
        files=files,
    )


def run_experiment(experiment: Experiment) -> tuple[Bools, F64, tuple[int, int]]:
    """Train on the first rows, then say what a gateway would say.

    Returns: for every later row whether the point was in alarm, and its score; bytes of network and of bundle. A row on
    which no window ends (just after a gap) has what the last one had.
    """
    bundle, history = bundle_of(training_part(experiment), family_named("process"), "process")
    network = Int8Model(bundle.model).network()
    source = bundle.manifest.input
    monitor = Monitor(bundle.manifest, network, [experiment.name])
    monitor.process(history, [0] * len(history))
    rows = len(experiment.samples) - TRAINING_ROWS
    alarm, score = np.zeros(rows, bool), np.full(rows, np.nan)
    last = (False, 0.0)
    at = 0
    for start, end in experiment.stretches:
        begin = max(start, TRAINING_ROWS - source.window + 1)
        windows = cut_windows(experiment.samples[begin:end], source.window, source.hop)
        for i, result in enumerate(monitor.process(np.ascontiguousarray(windows), [0] * len(windows))):
            if result.score is None:
                raise SignalError(f"{experiment.name}: not calibrated by {len(history)} windows")
            row = begin + source.window - 1 + i - TRAINING_ROWS
            alarm[at:row], score[at:row] = last
            last = (result.verdict == "alarm", result.score)
            alarm[row], score[row] = last
            at = row + 1
    alarm[at:], score[at:] = last
    return alarm, score, (len(bundle.model), bundle.length)


def training_part(experiment: Experiment) -> list[Recording]:
    """The first rows, a recording for each stretch without a gap."""
    return [
        Recording(
            f"{experiment.name}:{start}-{end}",
            experiment.name,
            experiment.samples[start : min(end, TRAINING_ROWS)],
            RATE_HZ,
            experiment.axes,
            "mixed",
            "0" * 64,
        )
        for start, end in experiment.stretches
        if start < TRAINING_ROWS
    ]


# --------------------------------------------------------------------------------------------------------- measures


def measures(name: str, said: Sequence[Bools], truth: Sequence[Bools]) -> Row:
    """F1 = TP / (TP + (FP + FN) / 2), FAR = FP / (FP + TN), MAR = FN / (FN + TP), pooled over all files."""
    p, y = np.concatenate(said), np.concatenate(truth)
    tp, fp = int((p & y).sum()), int((p & ~y).sum())
    fn, tn = int((~p & y).sum()), int((~p & ~y).sum())
    return Row(
        name=name,
        f1=tp / max(1e-12, tp + (fp + fn) / 2),
        far=100.0 * fp / max(1, fp + tn),
        mar=100.0 * fn / max(1, fn + tp),
    )


def _file_row(name: str, said: Bools, truth: Bools, score: F64) -> FileRow:
    row = measures(name, [said], [truth])
    auc = roc_auc(score[~truth], score[truth])
    return FileRow(name=name, rows=len(truth), f1=row.f1, far=row.far, mar=row.mar, auc=auc)


def _bootstrap(said: Sequence[Bools], truth: Sequence[Bools]) -> Interval:
    """Files are drawn with replacement: rows of one file are not independent of each other."""
    rng = np.random.default_rng(1)
    counts = np.array(
        [[(p & y).sum(), (p & ~y).sum(), (~p & y).sum(), (~p & ~y).sum()] for p, y in zip(said, truth, strict=True)]
    )
    drawn = counts[rng.integers(len(counts), size=(_RESAMPLINGS, len(counts)))].sum(axis=1).astype(float)
    tp, fp, fn, tn = drawn.T
    found = (tp / (tp + (fp + fn) / 2), 100 * fp / (fp + tn), 100 * fn / (fn + tp))
    f1, far, mar = ((float(np.quantile(x, 0.025)), float(np.quantile(x, 0.975))) for x in found)
    return Interval(f1=f1, far=far, mar=mar)


def published(path: Path) -> list[Row]:
    """The published rows, scored anew from the algorithms' own predictions: they prove this scorer right."""
    columns = _columns(path)
    truth = columns.pop("anomaly").astype(bool)
    skipped = {"file", "row", "changepoint"}
    return [measures(name, [values.astype(bool)], [truth]) for name, values in columns.items() if name not in skipped]


# ------------------------------------------------------------------------------------------------------------ files


def _experiments(folder: Path) -> Iterator[Experiment]:
    files = [path for name in _FOLDERS for path in sorted((folder / name).glob("*.csv"), key=lambda p: int(p.stem))]
    if not files:
        raise DataError(f"{folder}: expected folders {', '.join(_FOLDERS)} with the CSV files of {_WHERE}")
    for path in files:
        yield read_experiment(path)


def read_experiment(path: Path) -> Experiment:
    """Read one labelled file. Raises: DataError: columns are missing, or it is too short."""
    columns = _columns(path)
    missing = [name for name in ("datetime", "anomaly") if name not in columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(columns)}")
    axes = tuple(name for name in columns if name not in _NOT_SIGNALS)
    samples = np.stack([columns[name] for name in axes], axis=1).astype(np.float32)
    if len(samples) <= TRAINING_ROWS or not np.isfinite(samples).all():
        raise DataError(f"{path}: expected over {TRAINING_ROWS} rows of numbers, got {len(samples)}")
    seconds: Ints = columns["datetime"].astype("datetime64[s]").astype(np.int64)
    cuts = np.flatnonzero(np.diff(seconds) > _GAP_S) + 1
    edges = [0, *cuts.tolist(), len(samples)]
    anomaly = columns["anomaly"].astype(bool)
    name = f"{path.parent.name}/{path.name}"
    return Experiment(name, axes, samples, anomaly, list(pairwise(edges)))


def _columns(path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    import pyarrow as pa
    from pyarrow import csv

    if not path.is_file():
        raise DataError(f"{path}: no such file; it is part of {_WHERE}")
    with path.open("rb") as file:
        first = file.readline(65_536)
    try:
        options = csv.ParseOptions(delimiter=";" if b";" in first else ",")
        table = csv.read_csv(path, parse_options=options)
        return {name: table[name].to_numpy() for name in table.column_names}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from error
