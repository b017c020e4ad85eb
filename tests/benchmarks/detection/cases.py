"""What is compared on: healthy windows to learn from, unseen healthy and faulty windows to score.

Every case trains a bundle on its healthy part with the commands' own code; the contenders then get the very rows that
the bundle's network was trained on (`Prepared.z_train`) and the features of the same test windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cloud_hub.data.load import Options, load
from cloud_hub.data.recording import Recording
from cloud_hub.training.stress import stress_windows
from cloud_hub.training.train import Order, Trained, train
from models.families import Family, family_named
from models.signal.arrays import F32
from models.signal.features import FeatureExtractor
from models.signal.windows import cut_windows

_SEED = 1
_FEMTO_HZ = 25_600.0


@dataclass(frozen=True, slots=True)
class Case:
    """Windows are (k, window, axes). `faulty`: by name of the recording, or of the kind of fault."""

    name: str
    trained: Trained
    healthy: F32
    faulty: dict[str, F32]

    def save(self, folder: Path) -> None:
        """Write what a contender's process reads: features as the network sees them, raw windows for the bundle."""
        extract = FeatureExtractor(self.trained.prepared.features, self.trained.prepared.source)
        normalisation = self.trained.prepared.normalisation
        (point,) = self.trained.prepared.points
        windows = {"healthy": self.healthy, **{f"faulty/{name}": rows for name, rows in self.faulty.items()}}
        (folder / "bundle.mwb").write_bytes(self.trained.data)
        np.savez(
            folder / "features.npz",
            train=self.trained.prepared.z_train,
            history=extract(point.history),
            mean=np.asarray(normalisation.mean, np.float32),
            scale=np.asarray(normalisation.scale, np.float32),
            **{name: extract(rows) for name, rows in windows.items()},
        )
        np.savez(folder / "windows.npz", history=point.history, **windows)


def cases(data: Path) -> dict[str, Callable[[], list[Case]]]:
    """Ways to make the cases, by name of the data set, for the data sets that are in the folder."""
    known = {"cwru": _cwru, "skab": _skab, "femto": _femto}
    return {
        name: lambda make=make, name=name: make(data / name) for name, make in known.items() if (data / name).is_dir()
    }


def _order(family: Family, quantity: str) -> Order:
    return Order(
        family=family, slot="bench", version="1", title="benchmark", quantity=quantity, seed=_SEED, created_s=0,
        accept="made to be compared", seeds=1,
    )  # fmt: skip


def _windows(trained: Trained, recording: Recording) -> F32:
    """Windows to test on, a quarter of a window apart at least: closer ones tell nothing new."""
    source = trained.prepared.source
    return np.ascontiguousarray(cut_windows(recording.samples, source.window, max(source.hop, source.window // 4)))


def _made_up(name: str, trained: Trained, healthy: F32) -> Case:
    """A case of made-up faults on unseen healthy windows, three on each."""
    prepared = trained.prepared
    rng = np.random.default_rng(_SEED + 1)
    slow = family_named(trained.bundle.manifest.family).slow
    broken = stress_windows(np.concatenate([healthy] * 3), prepared.source, slow=slow, rng=rng)
    return Case(name, trained, healthy, {"made up": broken})


def _cwru(folder: Path) -> list[Case]:
    """Drive end at 48 kHz: the first 60 % of the healthy record against every fault, and against made-up faults."""
    options = Options(axes=("DE",), units="g")
    normal = folder / "load0_normal_48k_part1.npz"
    trained = train(
        _order(family_named("spectral"), "acceleration"), load([f"{normal}@0.0-0.6"], options), [], lambda *_: None
    )
    (unseen,) = load([f"{normal}@0.6-1.0"], options)
    healthy = _windows(trained, unseen)
    faults = {path.stem: load([str(path)], options)[0] for path in sorted(folder.glob("load0_DE48k_*.npz"))}
    faulty = {name: _windows(trained, recording) for name, recording in faults.items()}
    return [Case("CWRU, bearing faults", trained, healthy, faulty), _made_up("CWRU, made-up faults", trained, healthy)]


def _skab(folder: Path) -> list[Case]:
    """The healthy record's first three quarters against made-up faults on the last."""
    options = Options(units="mixed")
    record = folder / "anomaly-free" / "anomaly-free.csv"
    trained = train(
        _order(family_named("process"), "process"), load([f"{record}@0.0-0.75"], options), [], lambda *_: None
    )
    (unseen,) = load([f"{record}@0.75-1.0"], options)
    return [_made_up("SKAB, made-up faults", trained, _windows(trained, unseen))]


def _femto(folder: Path) -> list[Case]:
    """Two run-to-failure bearings: learn from the first quarter of life, tell the next tenth from the last."""
    # A burst is a window. Between the bursts that training joins to half-overlapping windows lie ten seconds.
    family = replace(family_named("spectral"), window_for=lambda _rate_hz: (2560, 2560))
    made = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            bursts = archive["acc"].astype(np.float32)
        n = len(bursts)
        early, healthy, late = bursts[: n // 4], bursts[n // 4 : n // 4 + n // 10], bursts[-(n // 10) :]
        samples = np.ascontiguousarray(early.reshape(-1, 2))
        recording = Recording(path.name, path.stem, samples, _FEMTO_HZ, ("horizontal", "vertical"), "g", "0" * 64)
        trained = train(_order(family, "acceleration"), [recording], [], lambda *_: None)
        made.append(Case(f"FEMTO {path.stem}, early or late", trained, healthy, {"late": late}))
    return made
