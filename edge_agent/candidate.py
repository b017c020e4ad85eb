"""What takes long about a candidate, and so runs on the worker: is its file what was wanted, may it run here."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from edge_agent.install import check_fit, digest_of, load_bundle_file, load_network, prove
from edge_agent.runtime import Runtime
from edge_agent.slot import Slot
from edge_agent.surroundings import Trust
from edge_agent.watch import Loaded
from models.bundle.archive import SUFFIX
from models.contract.messages import WantedBundle
from models.errors import BundleMismatchError

log = logging.getLogger(__name__)


def verify_file(trust: Trust, metadata: bytes, wanted: WantedBundle, part: Path, *, mend: bool, utc_s: float) -> bool:
    """Make the gathered file the bundle, if it is what was wanted and signed for.

    Args:    mend: whether a wrong digest is to be mended rather than refused.
    Returns: False: the file is not what was wanted, and stays to be mended.
    Raises:  TrustError; StorageError.
    """
    destination = part.with_name(f"{wanted.sha256}{SUFFIX}")
    if not part.exists() and digest_of(destination) == wanted.sha256:
        return True  # verified and renamed just before the power went
    if mend and digest_of(part) != wanted.sha256:
        return False
    trust.verify_bundle(metadata, wanted, part, destination, utc_s)
    return True


def load_candidate(
    path: Path, wanted: WantedBundle, slot: Slot, runtime: Runtime, *, proven_kb: float | None, replay: bool
) -> Loaded:
    """Load a verified bundle; with `replay` only if it gives here what it gave on the hub, within its budgets.

    Args:   proven_kb: the memory that it took when it was replayed before.
    Raises: BundleError; StorageError; RuntimeLoadError; SignalError.
    """
    bundle = load_bundle_file(path, wanted.sha256)
    check_fit(bundle.manifest, slot.id, slot.points)
    if bundle.manifest.version != wanted.version:
        text = f"{path.name}: expected version {wanted.version}, got {bundle.manifest.version}"
        raise BundleMismatchError(text)
    loaded = load_network(bundle, runtime, proven_kb)
    if not replay:
        return loaded
    report, taken_kb = prove(bundle, loaded, runtime)
    difference, window_us = report.max_difference, report.window_us
    log.info("slot %s: scores differ by %.2g at most, %.0f us a window", slot.id, difference, window_us)
    return replace(loaded, memory_kb=taken_kb)
