"""Clips of log-mel frames that stand in for recordings of toy cars: healthy ones to train on, labelled ones to score.

Nothing is chosen on their labels: they only say whether what was chosen on healthy clips holds elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.signal.arrays import F32, F64
from models.signal.mel import MelPlan

MELS = 128
_RATE_HZ = 16_000.0


@dataclass(frozen=True, slots=True)
class StandIn:
    """`healthy`: (k, frames, 128) to train on. `x`, `y`: labelled clips, 1 where there is a fault."""

    name: str
    healthy: F32
    x: F32
    y: F64


def machines(count: int, frames: int, seed: int, *, ids: int = 4, wander_db: float = 1.0, faults: int = 60) -> StandIn:
    """Several machines: spectra with tones of their own, levels that wander together, a beat, speckle.

    Faults are subtle: tones that move by a fraction of a band, a broadband tilt, a beat that is deeper.
    """
    rng = np.random.default_rng(seed)
    bands = np.arange(MELS)
    tones = [[(rng.uniform(5, 120), rng.uniform(6, 18)) for _ in range(6)] for _ in range(ids)]
    bases = [-35 - 0.12 * bands * rng.uniform(0.5, 1.5) + 3 * np.sin(bands / rng.uniform(6, 20)) for _ in range(ids)]
    turns = rng.uniform(0.05, 0.4, ids)
    loadings = rng.normal(0, 1, (3, MELS)).cumsum(axis=1) / np.sqrt(MELS)

    def clip(faulty: bool) -> F64:
        at = int(rng.integers(ids))
        kind = int(rng.integers(3)) if faulty else -1
        move = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.2) if kind == 0 else 0.0
        speed = rng.normal(0, 0.3)
        level = bases[at].copy()
        for centre, height in tones[at]:
            level += (height + rng.normal(0, 0.5)) * np.exp(-0.5 * np.square((bands - centre - speed - move) / 1.2))
        level += wander_db * (rng.normal(0, 1, 3) @ loadings + rng.normal(0, 0.5))
        if kind == 1:
            level += rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 3.0) * (bands / MELS - 0.5)
        depth = 1.0 + (rng.uniform(0.8, 2.0) if kind == 2 else 0.0)
        beat = depth * np.sin(2 * np.pi * turns[at] * np.arange(frames) + rng.uniform(0, 6.28))
        made: F64 = level + beat[:, None] * (bands > 40) + rng.normal(0, 4.5, (frames, MELS))
        return made

    healthy = np.stack([clip(False) for _ in range(count)])
    x = np.stack([clip(i % 2 == 1) for i in range(2 * faults)])
    y = (np.arange(2 * faults) % 2).astype(np.float64)
    return StandIn(f"{ids} machines, {count} clips", healthy.astype(np.float32), x.astype(np.float32), y)


def recordings(folder: Path, source: str, count: int, frames: int, seed: int) -> StandIn:
    """Clips cut at random places from real vibration, as if it were sound at 16 kHz; cuts overlap, so clips are alike.

    `source`: "cwru" (normal records against small ball and outer-race faults, each with noise) or "femto" (a bearing
    early in its life, against the same near its end).
    """
    rng = np.random.default_rng(seed)
    if source == "cwru":
        good = [np.load(f)["DE"] for f in sorted((folder / "cwru").glob("*normal_48k*.npz"))]
        bad = [np.load(f)["DE"] for f in sorted((folder / "cwru").glob("*DE48k_B_07*.npz"))]
        bad += [np.load(f)["DE"] for f in sorted((folder / "cwru").glob("*DE48k_OR6_07*.npz"))]
    else:
        runs = [np.load(f)["acc"] for f in sorted((folder / "femto").glob("*.npz"))]
        good = [run[: len(run) // 5, :, 0].reshape(-1) for run in runs]
        bad = [run[-len(run) // 20 :, :, 0].reshape(-1) for run in runs]
    plan = MelPlan(1024 + (frames - 1) * 512, _RATE_HZ)
    size = 1024 + (frames - 1) * 512

    def cut(series: list[F32], many: int) -> F32:
        pieces = []
        for _ in range(many):
            one = np.asarray(series[int(rng.integers(len(series)))], np.float32).ravel()
            one = np.resize(one, max(len(one), size + 1))
            start = int(rng.integers(len(one) - size))
            pieces.append(one[start : start + size] + rng.normal(0, 0.05, size))  # ambient noise hides plain faults
        return plan(np.asarray(pieces, np.float32))

    y = np.repeat([0.0, 1.0], 40)
    return StandIn(f"{source}, {count} clips", cut(good, count), np.concatenate([cut(good, 40), cut(bad, 40)]), y)


def decoded(decoder: object, count: int, frames: int, seed: int, *, noise_db: float = 2.0) -> StandIn:
    """Clips that the decoder of an autoencoder of 5 x 128 frames makes from random codes of several machines.

    `decoder`: a function of codes (k, 8) to (k, 640). Faulty clips have codes a little off, or a moved band.
    """
    rng = np.random.default_rng(seed)
    centres = np.abs(rng.normal(0, 6, (4, 8)))
    run = -(-frames // 5)

    def clips(many: int, off: float) -> F32:
        owner = rng.integers(4, size=many)
        codes = centres[owner] + rng.normal(0, 0.7, (many, 8)) + off * rng.normal(0, 1, (many, 8))
        moving = np.maximum(codes[:, None] + rng.normal(0, 0.5, (many, run, 8)), 0.0)
        windows = np.asarray(decoder(moving.reshape(-1, 8).astype(np.float32)))  # type: ignore[operator]
        made = windows.reshape(many, run * 5, MELS)[:, :frames]
        tilt = off * rng.normal(0, 0.5, (many, 1, 1)) * np.linspace(-1, 1, MELS)
        return np.asarray(made + tilt + rng.normal(0, noise_db, made.shape), np.float32)

    y = np.repeat([0.0, 1.0], 60)
    labelled = np.concatenate([clips(60, 0.0), clips(60, 1.2)])
    return StandIn(f"decoder-made, {count} clips", clips(count, 0.0), labelled, y)
