"""Ways to score, fitted on one set of healthy features: a family names the ones to try, the best of them ships.

`mahalanobis`: a shrunken Gaussian. `mixture`: the nearest of several healthy states with one spread. `machines`: the
same, each state with its own spread. `autoencoder`: the family's own network. `ensemble`: Gaussian and autoencoder side
by side in one network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from cloud_hub.training.density import (
    FOLDS,
    Density,
    fit_density,
    fit_machines,
    left_out_distances,
    machines_in,
    mixture_gain,
    pick_shrinkage,
)
from cloud_hub.training.fit import Progress, fit, float_network, import_tensorflow
from cloud_hub.training.prepare import Prepared
from models.bundle.manifest import ResidualScore, ScoreGroup, ScoreSpec, StackedScore
from models.families import Family, Head, linear_members
from models.signal.arrays import F32, F64
from models.signal.calibrate import limit_of
from models.signal.score import Network

_UPPER = 0.9
_UPPER_Z = 1.2816  # of a normal distribution
_LEAST_SPREAD = 0.1
_Z = 3.0  # spreads of rows that were left out: they wander, so fewer than of a point's own rows
_LEAST_BLOCK = 8  # rows of which a spread can be taken
_MOST_MACHINES = 8
_STATES = (2, 3, 4, 6)
_LEAST_GAIN = 0.02  # of mean energy: a further state that saves less follows noise


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A head ready to be quantised. `losses`: per epoch, empty for heads in closed form. `least_limit`: the raw score
    that healthy rows reach which the head has not seen; a point that happens to be calibrated on rows like those of the
    training would else get a limit that the next healthy rows break. 0 where groups have scales of their own.
    """

    head: Head
    keras_model: Any
    network: Network
    score: ScoreSpec
    losses: dict[str, list[float]]
    least_limit: float = 0.0


def fit_head(
    head: Head, prepared: Prepared, family: Family, seed: int, progress: Progress | None = None
) -> FittedHead | None:
    """Fit one head; None: it has nothing to add here (a mixture of one state)."""
    match head:
        case "mahalanobis":
            return _gaussian(head, _density(prepared, 1, seed), prepared, family)
        case "mixture":
            states = _states(prepared, seed)
            return None if states == 1 else _gaussian(head, _density(prepared, states, seed), prepared, family)
        case "machines":
            return None if prepared.groups else _machines(prepared, family, seed)
        case "autoencoder":
            fitted = fit(prepared, family, seed, progress)
            weights = fitted.weights.round(6)
            groups = _scaled_groups(prepared, family, lambda z: _root_energy(z, fitted.network, weights, prepared))
            score: ScoreSpec = (
                StackedScore(weights=weights.tolist(), groups=groups)
                if groups
                else ResidualScore(weights=weights.tolist())
            )
            least = _least_limit(prepared, family, lambda z: _root_energy(z, fitted.network, weights, prepared))
            return FittedHead(head, fitted.keras_model, fitted.network, score, fitted.history, least)
        case "ensemble":
            parts = [fit_head(one, prepared, family, seed, progress) for one in ("mahalanobis", "autoencoder")]
            return join([part for part in parts if part is not None], prepared, family)


def join(parts: list[FittedHead], prepared: Prepared, family: Family) -> FittedHead:
    """Heads side by side in one network, each with the same mean energy on healthy rows."""
    tf = import_tensorflow()
    inputs = tf.keras.Input((prepared.z_train.shape[1],), name="features")
    # Layers of one name in two parts would collide: every part is called as a whole.
    whole = tf.keras.layers.Concatenate(name="members")([part.keras_model(inputs) for part in parts])
    model = tf.keras.Model(inputs, whole, name="ensemble")
    z = _clipped(prepared.z_train, prepared)
    weights = []
    for part in parts:
        own = np.asarray(getattr(part.score, "weights"), np.float64)  # noqa: B009 - neither kind is remaining life
        energy = float((np.square(z - part.network(z)) * own).mean())
        weights.append(own / max(energy, 1e-9))
    joined = np.concatenate(weights)
    joined = (joined / joined.mean()).round(6)
    network = float_network(model)
    score = StackedScore(
        members=len(parts),
        weights=joined.tolist(),
        groups=_scaled_groups(prepared, family, lambda z: _root_energy(z, network, joined, prepared)),
    )
    losses = next((part.losses for part in parts if part.losses), {})
    least = _least_limit(prepared, family, lambda z: _root_energy(z, network, joined, prepared))
    return FittedHead("ensemble", model, network, score, losses, least)


def _density(prepared: Prepared, states: int, seed: int) -> Density:
    z = prepared.z_train.astype(np.float64)
    groups = prepared.group_features()
    return fit_density(z, groups, pick_shrinkage(z, groups, prepared.guard), states, seed)


def _states(prepared: Prepared, seed: int) -> int:
    """As many healthy states as left-out rows say there are."""
    z = prepared.z_train.astype(np.float64)
    groups = prepared.group_features()
    shrinkage = pick_shrinkage(z, groups, prepared.guard)
    best, gain = 1, 0.0
    for states in _STATES:
        found = mixture_gain(z, groups, shrinkage, states, prepared.guard, seed)
        if found < gain + _LEAST_GAIN:
            break
        best, gain = states, found
    return best


def _machines(prepared: Prepared, family: Family, seed: int) -> FittedHead | None:
    tf = import_tensorflow()
    z = prepared.z_train.astype(np.float64)
    shrinkage = pick_shrinkage(z, prepared.group_features(), prepared.guard)
    states = machines_in(z, shrinkage, _MOST_MACHINES, seed)
    if states == 1:
        return None
    fitted = fit_machines(z, shrinkage, states, seed)
    features = z.shape[1]
    # One factor for all, so that no kernel I - A leaves the range of the others' in int8.
    common = max(float(np.median([np.abs(np.diag(root)).mean() for _, root in fitted])), 1e-9)
    kernels = [(np.eye(features) - root / common).astype(np.float32) for _, root in fitted]
    biases = [(centre @ root / common).astype(np.float32) for centre, root in fitted]
    model = linear_members(tf.keras, kernels, biases)
    network = float_network(model)
    score = StackedScore(members=len(fitted), join="nearest", weights=[1.0] * features * len(fitted))
    nearest = _root_energies(prepared.z_held_out, network, len(fitted), prepared).min(axis=1)
    return FittedHead("machines", model, network, score, {}, _least_of(nearest, family))


def _root_energies(z: F32, network: Network, members: int, prepared: Prepared) -> F64:
    """Root mean square residual against each member, (k, members)."""
    residual = z[:, None, :] - network(_clipped(z, prepared)).reshape(len(z), members, -1)
    energy: F64 = np.sqrt(np.square(residual).mean(axis=2, dtype=np.float64))
    return energy


def _gaussian(head: Head, density: Density, prepared: Prepared, family: Family) -> FittedHead:
    tf = import_tensorflow()
    features = len(density.root)
    kernel = (np.eye(features) - density.root).astype(np.float32)
    biases = [(centre @ density.root).astype(np.float32) for centre in density.centres]
    model = linear_members(tf.keras, [kernel] * len(biases), biases)
    z = prepared.z_train.astype(np.float64)
    shrinkage = pick_shrinkage(z, prepared.group_features(), prepared.guard)
    left_out = left_out_distances(z, prepared.group_features(), shrinkage, prepared.guard)
    groups: list[ScoreGroup] = []
    least = 0.0
    if prepared.groups:
        groups = _groups(prepared, scales_of(left_out, list(prepared.groups), family))
    else:
        least = _least_of(left_out[:, 0], family)
    ones = [1.0] * features * len(biases)
    score: ScoreSpec = (
        StackedScore(members=len(biases), join="nearest", groups=groups, weights=ones)
        if groups or len(biases) > 1
        else ResidualScore(weights=ones)
    )
    return FittedHead(head, model, float_network(model), score, {}, least)


# ----------------------------------------------------------------------------------------------------------- groups


def scales_of(healthy: F64, names: Sequence[str], family: Family) -> F64:
    """What counts as 1 for each group, from scores of healthy rows that the model has not seen, (k, groups).

    In the log of the score: median + z * spread, the spread that of the upper half, which is the side that alarms, and
    z by how far the group's kind wanders. Taken for each of a few blocks of time, the median over blocks: a disturbance
    in one of them then does not blind the group for ever.
    """
    scales = np.empty(healthy.shape[1])
    for group, name in enumerate(names):
        z = family.group_z.get(name, _Z)
        limits = []
        for block in np.array_split(np.log(np.maximum(healthy[:, group], 1e-12)), FOLDS):
            centre = float(np.median(block))
            spread = max((float(np.quantile(block, _UPPER)) - centre) / _UPPER_Z, _LEAST_SPREAD)
            limits.append(centre + z * spread)
        scales[group] = math.exp(float(np.median(limits)))
    return scales


def _scaled_groups(prepared: Prepared, family: Family, energy: Callable[[F32], F64]) -> list[ScoreGroup]:
    """Groups scaled on the held-out rows, for heads that are too slow to fit once per fold."""
    if not prepared.groups:
        return []
    rows = prepared.z_held_out if len(prepared.z_held_out) >= 8 else prepared.z_train
    return _groups(prepared, scales_of(energy(rows), list(prepared.groups), family))


def _least_limit(prepared: Prepared, family: Family, energy: Callable[[F32], F64]) -> float:
    """From the held-out rows, for heads that are too slow to fit once per fold."""
    return 0.0 if prepared.groups else _least_of(energy(prepared.z_held_out)[:, 0], family)


def _least_of(unseen: F64, family: Family) -> float:
    """The raw score that healthy rows reach which the head has not seen, from their scores (k,) in order of time.

    The median over blocks of time, as for groups: a machine that runs in, or a disturbance, in one of them does not
    raise the limit for ever. 0 where there are too few rows to say.
    """
    if len(unseen) < 8:
        return 0.0
    if len(unseen) < _LEAST_BLOCK * FOLDS:
        return limit_of(unseen, replace(family.calibration, z=_Z))
    return float(scales_of(unseen[:, None], ("all",), family)[0])


def _groups(prepared: Prepared, scales: F64) -> list[ScoreGroup]:
    return [
        ScoreGroup(name=name, features=features.tolist(), scale=float(scale))
        for name, features, scale in zip(prepared.groups or (), prepared.group_features(), scales, strict=True)
    ]


def _root_energy(z: F32, network: Network, weights: F64, prepared: Prepared) -> F64:
    """Weighted root mean square residual of each group over all members, (k, groups), as `StackedScore` has it."""
    rows, features = z.shape
    members = len(weights) // features
    residual = z[:, None, :] - network(_clipped(z, prepared)).reshape(rows, members, features)
    root = np.sqrt(weights.reshape(members, features))
    energy: list[F64] = []
    for group in prepared.group_features():
        part = residual[:, :, group] * root[:, group]
        level = np.square(root[:, group]).sum()
        energy.append(np.sqrt(np.square(part).sum(axis=(1, 2)) / level))
    return np.stack(energy, axis=1)


def _clipped(z: F32, prepared: Prepared) -> F32:
    clip = prepared.normalisation.clip
    clipped: F32 = np.clip(z, -clip, clip)
    return clipped
