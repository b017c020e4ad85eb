"""One slow series through the gateway's code: a bundle from its beginning, alarms over the rest."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.runtime import Int8Model
from models.bundle.archive import Bundle, read_bundle
from models.bundle.replay import replay_golden
from models.errors import SignalError
from models.families import Family
from models.signal.arrays import F32, Bools
from models.signal.monitor import Monitor
from models.signal.windows import cut_windows


@dataclass(frozen=True, slots=True)
class Alarm:
    """Rows [start, end) during which an alarm stood."""

    start: int
    end: int


def bundle_of(recordings: list[Recording], family: Family, quantity: str) -> tuple[Bundle, F32]:
    """A bundle with the family's Gaussian head from recordings of one point, and the windows to calibrate it on.

    Nothing is held out, so there is nothing to choose by and no gate: for evaluations whose design is fixed before.
    """
    from cloud_hub.training.heads import fit_head
    from cloud_hub.training.ladder import int8_rungs
    from cloud_hub.training.measure import calibrated_on
    from cloud_hub.training.prepare import prepare
    from cloud_hub.training.train import Order, manifest_for, pack

    name = recordings[0].point
    order = Order(family=family, slot=family.name, version="1", title=name, quantity=quantity, seed=1, created_s=0)
    prepared = prepare(recordings, family, quantity, held_out=0.0)
    head = fit_head("mahalanobis", prepared, family, order.seed)
    if head is None:
        raise SignalError(f"{name}: no head was fitted")
    weights = np.ones(len(prepared.normalisation.mean))
    clip = prepared.normalisation.clip
    _, model = next(int8_rungs(head.keras_model, prepared.z_train, clip, order.seed, weights=weights))
    int8 = Int8Model(model)
    history = prepared.points[0].history
    manifest = manifest_for(order, prepared, head, int8.spec, recordings)
    spec = msgspec.structs.replace(manifest.calibration, windows=max(manifest.calibration.windows, len(history)))
    manifest = calibrated_on(msgspec.structs.replace(manifest, calibration=spec), len(history))
    note = msgspec.json.encode({"trained_on": [recording.name for recording in recordings][:100]})
    data = pack(manifest, model, int8.network(), history, note, f"# {order.title}\n")
    bundle = read_bundle(data, name)
    replay_golden(bundle, int8.network())
    return bundle, np.ascontiguousarray(history)


def spans_of(standing: Bools) -> list[Alarm]:
    """The runs of rows in which an alarm stood."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], standing.astype(np.int8), [0]])))
    return [Alarm(start, end) for start, end in edges.reshape(-1, 2).tolist()]


def run_series(recording: Recording, trained_on: int, bundle: Bundle, history: F32) -> tuple[list[Alarm], Bools]:
    """Calibrate on the windows of the first rows, then run the rest.

    Returns: the alarms, and for every row whether one stood; windows end at rows from `trained_on` on.
    """
    source = bundle.manifest.input
    monitor = Monitor(bundle.manifest, Int8Model(bundle.model).network(), [recording.point])
    monitor.process(history, [0] * len(history))
    begin = trained_on - source.window + 1
    windows = np.ascontiguousarray(cut_windows(recording.samples[begin:], source.window, source.hop))
    standing = np.zeros(len(recording.samples), bool)
    for i, result in enumerate(monitor.process(windows, [0] * len(windows))):
        if result.score is None:
            raise SignalError(f"{recording.name}: not calibrated by {len(history)} windows")
        row = trained_on + i * source.hop
        standing[row : row + source.hop] = result.verdict == "alarm"
    return spans_of(standing), standing
