"""From recordings to what a network is trained on: windows, features, normalisation, a held-out part in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud_hub.data.recording import Recording, check_alike
from cloud_hub.errors import DataError
from models.bundle.manifest import FeatureSpec, InputSpec, Levels, Normalisation
from models.families import Family
from models.signal.arrays import F32, F64, Ints
from models.signal.features import FeatureExtractor, FeatureInfo
from models.signal.windows import cut_windows

HELD_OUT = 0.25
_TRAIN_HOP_DIVISOR = 2  # training windows overlap more than the gateway's: more of them from the same minutes
_MIN_WINDOWS = 24
_LEAST_RELATIVE = 1e-6
_WITH_UNITS = {"mean", "change", "slope", "deviation"}
_SCALE_FLOOR = 0.02  # of a feature's typical spread: a feature that never moved must not explode later


@dataclass(frozen=True, slots=True)
class PointData:
    """One point's healthy windows, (k, window, axes): the earlier part to train on, the later held out.

    `history`: the earlier part cut with the gateway's own hop, for calibration as a gateway does it.
    """

    point: str
    train: F32
    history: F32
    held_out: F32


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that training needs. `z_train`, `z_held_out`: normalised features (k, features), each point's own
    healthy mean taken out as calibration will do on the gateway.
    """

    source: InputSpec
    features: FeatureSpec
    names: tuple[str, ...]
    normalisation: Normalisation
    points: list[PointData]
    z_train: F32
    z_held_out: F32
    groups: dict[str, list[int]] | None
    """Features by the name of the group that they are scored with."""
    guard: int
    """How many rows of `z_train` share much with one of them, on either side."""

    def group_features(self) -> list[Ints]:
        """The features of each group; one of all features when there are no groups."""
        if not self.groups:
            return [np.arange(self.z_train.shape[1])]
        return [np.asarray(features, np.int64) for features in self.groups.values()]


def prepare(recordings: list[Recording], family: Family, quantity: str, held_out: float = HELD_OUT) -> Prepared:
    """Cut, compute, split and normalise.

    The last quarter of each recording (`held_out`, 0 for none) is held out, with a gap of one window before it, so that
    no sample is on both sides.

    Raises: DataError: recordings that do not go together, a unit unknown to the family, or too little data.
    """
    first = check_alike(recordings)
    allowed = family.quantities.get(quantity)
    if allowed is None:
        raise DataError(f"quantity: family {family.name} knows {', '.join(family.quantities)}, got {quantity!r}")
    if first.units not in allowed:
        raise DataError(f"{first.name}: {quantity} should be in {' or '.join(allowed)}, got {first.units!r}")
    window, hop = family.window_for(first.rate_hz)
    source = InputSpec(
        quantity=quantity, units=first.units, axes=list(first.axes), rate_hz=first.rate_hz, window=window, hop=hop
    )
    points = _split(recordings, window, hop, held_out)
    spec = family.fit_features(family.features_for(source), np.concatenate([point.train for point in points]))
    extract = FeatureExtractor(spec, source)
    rows = [extract(point.train) for point in points]
    means: list[F64] = [r.mean(axis=0, dtype=np.float64) for r in rows]
    mean = np.mean(means, axis=0)
    centred = np.concatenate([r - m for r, m in zip(rows, means, strict=True)])
    spread = centred.std(axis=0, dtype=np.float64)
    scale = np.maximum(spread, _scale_floors(extract.infos, spread, mean))
    later = np.concatenate([extract(p.held_out) - m for p, m in zip(points, means, strict=True)])
    by_axis = family.groups_for(source)
    groups = by_axis and {
        name: [j for j, info in enumerate(extract.infos) if info.axis in axes] for name, axes in by_axis.items()
    }
    return Prepared(
        source=source,
        features=spec,
        names=extract.names,
        normalisation=Normalisation(mean=mean.tolist(), scale=scale.tolist()),
        points=points,
        z_train=(centred / scale).astype(np.float32),
        z_held_out=(later / scale).astype(np.float32),
        groups=groups or None,
        guard=-(-_judged(spec, window) // max(1, hop // _TRAIN_HOP_DIVISOR)),
    )


def _scale_floors(infos: Sequence[FeatureInfo], spread: F64, mean: F64) -> F64:
    """Least scales: a feature that never moved must not explode later.

    Logarithms share a unit, so the usual spread of those of one kind tells what is little; a level in bar says nothing
    of one in degrees, and has only its own size to go by.
    """
    floors = np.maximum(_LEAST_RELATIVE * np.abs(mean), 1e-9)
    for kind in {info.kind for info in infos if info.kind not in _WITH_UNITS}:
        same = np.array([info.kind == kind for info in infos])
        floors[same] = _SCALE_FLOOR * max(float(np.median(spread[same])), 1e-9)
    return floors


def _judged(spec: FeatureSpec, window: int) -> int:
    """How many of a window's samples its features are mainly made of."""
    return min([window, *(block.span for block in spec.blocks if isinstance(block, Levels))])


def _split(recordings: list[Recording], window: int, hop: int, share: float) -> list[PointData]:
    by_point: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_point.setdefault(recording.point, []).append(recording)
    points = []
    train_hop = max(1, hop // _TRAIN_HOP_DIVISOR)
    for point, parts in by_point.items():
        train, history, held_out = [], [], []
        for part in parts:
            border = round(len(part.samples) * (1 - share))
            early, late = part.samples[:border], part.samples[border:]
            early = early[: max(0, len(early) - window)] if share and len(early) > 4 * window else early
            train.append(cut_windows(early, window, train_hop))
            history.append(cut_windows(early, window, hop))
            held_out.append(cut_windows(late, window, hop))
        data = PointData(point, np.concatenate(train), np.concatenate(history), np.concatenate(held_out))
        if len(data.train) < _MIN_WINDOWS or (share and len(data.held_out) < _MIN_WINDOWS // 4):
            needed = (_MIN_WINDOWS * train_hop + 2 * window) / (1 - share)
            got = sum(len(p.samples) for p in parts)
            raise DataError(
                f"point {point}: {got:,} samples give {len(data.train)} windows to train on and "
                f"{len(data.held_out)} to hold out; expected at least {_MIN_WINDOWS} and {_MIN_WINDOWS // 4}, that is "
                f"about {needed:,.0f} samples"
            )
        points.append(data)
    return points
