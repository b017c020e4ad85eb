"""Which of a family's heads ships, decided without any faulty recording, and how steady that choice is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.training.heads import FittedHead, fit_head
from cloud_hub.training.measure import scores_like_gateway
from cloud_hub.training.pick_rows import HeadRow, Steadiness
from cloud_hub.training.prepare import Prepared
from cloud_hub.training.stress import stress_windows
from models.bundle.manifest import Manifest
from models.families import Family, Head
from models.signal.arrays import F32
from models.signal.score import Network

CLEARLY_BETTER = 0.005  # of AUC: less does not pay for a network that is harder to explain
_ENOUGH_WINDOWS = 600  # held-out windows per point, for comparing heads


ManifestOf = Callable[[FittedHead], Manifest]


@dataclass(frozen=True, slots=True)
class Picked:
    """The head that ships, and all that were tried."""

    head: FittedHead
    rows: list[HeadRow]


def made_up(prepared: Prepared, family: Family, seed: int) -> list[F32]:
    """Windows with a made-up fault for each point, three times as many as are held out."""
    rng = np.random.default_rng(seed)
    return [
        stress_windows(np.concatenate([few(p.held_out)] * 3), prepared.source, slow=family.slow, rng=rng)
        for p in prepared.points
    ]


def few(windows: F32) -> F32:
    """At most `_ENOUGH_WINDOWS` of them, evenly spread."""
    if len(windows) <= _ENOUGH_WINDOWS:
        return windows
    some: F32 = windows[np.linspace(0, len(windows) - 1, _ENOUGH_WINDOWS).astype(int)]
    return some


def pick_head(
    prepared: Prepared, family: Family, seed: int, manifest_of: ManifestOf, say: Callable[[str, float], None]
) -> Picked:
    """Fit every head of the family, and take the first that none is clearly better than.

    Heads stand in order of preference: simplest first.
    """
    faulty = made_up(prepared, family, seed + 1)
    found: list[tuple[FittedHead, float]] = []
    for at, name in enumerate(family.heads):
        share = at / len(family.heads)
        say(f"fitting {name}", share)
        head = fit_head(name, prepared, family, seed, _progress(name, share, 1 / len(family.heads), say))
        if head is not None:
            found.append((head, pipeline_auc(manifest_of(head), head.network, prepared, faulty)))
    best = max(auc for _, auc in found)
    chosen = next(head for head, auc in found if auc >= best - CLEARLY_BETTER)
    rows = [HeadRow(head=head.head, auc=auc, shipped=head is chosen) for head, auc in found]
    return Picked(chosen, rows)


def steadiness(
    prepared: Prepared, family: Family, head: Head, seeds: Sequence[int], manifest_of: ManifestOf
) -> Steadiness:
    """Train and judge the same kind of head anew for every seed."""
    aucs = []
    for seed in seeds:
        fitted = fit_head(head, prepared, family, seed)
        if fitted is not None:
            aucs.append(
                pipeline_auc(manifest_of(fitted), fitted.network, prepared, made_up(prepared, family, seed + 1))
            )
    return Steadiness(seeds=list(seeds)[: len(aucs)], auc=aucs)


def pipeline_auc(manifest: Manifest, network: Network, prepared: Prepared, faulty: Sequence[F32]) -> float:
    """AUC through the gateway's code, held-out healthy windows against faulty ones of each point."""
    held_out = [few(p.held_out) for p in prepared.points]
    healthy, _ = scores_like_gateway(manifest, network, prepared.points, held_out)
    broken, _ = scores_like_gateway(manifest, network, prepared.points, faulty)
    return roc_auc(np.concatenate(healthy), np.concatenate(broken))


def _progress(
    name: str, start: float, width: float, say: Callable[[str, float], None]
) -> Callable[[int, int, float], None]:
    return lambda epoch, epochs, loss: say(
        f"fitting {name}, epoch {epoch}, held-out loss {loss:.4f}", start + width * epoch / epochs
    )
