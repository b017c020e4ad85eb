"""From a verified file to a bundle that may run here: read, fitted to the points, loaded, replayed, within budget."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_agent.config import PointSettings
from edge_agent.errors import StorageError
from edge_agent.intake import RATE_TOLERANCE
from edge_agent.runtime import BATCH_SIZES, Runtime
from edge_agent.update import Installed
from edge_agent.watch import Loaded
from models.bundle.archive import Bundle, read_bundle
from models.bundle.manifest import Manifest
from models.bundle.replay import ReplayReport, replay_golden
from models.errors import BundleBudgetError, BundleDigestError, BundleMismatchError, MillwrightError
from models.signal.score import Network


def load_bundle_file(path: Path, sha256: str | None) -> Bundle:
    """Read a bundle file.

    Args:   sha256: what its digest must be; None for a file that somebody names by hand.
    Raises: StorageError: it cannot be read. BundleDigestError: another digest. BundleError: see `read_bundle`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    bundle = read_bundle(data, path.name)
    if sha256 is not None and bundle.sha256 != sha256:
        raise BundleDigestError(f"{path.name}: expected SHA-256 {sha256}, got {bundle.sha256}")
    return bundle


def check_fit(manifest: Manifest, slot: str, points: Sequence[PointSettings]) -> None:
    """Hold a bundle against the slot and the points that it would watch.

    Raises: BundleMismatchError: naming what differs, and for which point.
    """
    what = _name(manifest)
    if manifest.slot != slot:
        raise BundleMismatchError(f"{what}: is for slot {manifest.slot}, expected {slot}")
    source = manifest.input
    for point in points:
        for name, theirs, ours in (
            ("axes", list(source.axes), list(point.axes)),
            ("units", source.units, point.units),
            ("quantity", source.quantity, point.quantity),
        ):
            if theirs != ours:
                text = f"{what}, {name}: point {point.name} has {ours!r}, the bundle wants {theirs!r}"
                raise BundleMismatchError(text)
        if abs(source.rate_hz - point.rate_hz) > RATE_TOLERANCE * point.rate_hz:
            raise BundleMismatchError(
                f"{what}, rate_hz: point {point.name} has {point.rate_hz:g}, the bundle wants {source.rate_hz:g}"
            )


def load_network(bundle: Bundle, runtime: Runtime, memory_kb: float | None = None) -> Loaded:
    """Load a bundle's network. Raises: RuntimeLoadError: the runtime cannot, or it is not what the manifest says.

    Args: memory_kb: what it took when it was tried out, if that is known.
    """
    manifest = bundle.manifest
    return Loaded(bundle.sha256, manifest, runtime.load(bundle.model, manifest.network, _name(manifest)), memory_kb)


def load_installed(
    path: Path, active: Installed, slot: str, points: Sequence[PointSettings], runtime: Runtime
) -> Loaded:
    """Load a bundle that has run here before. Raises: MillwrightError: see `is_to_blame` for whose fault it is."""
    bundle = load_bundle_file(path, active.sha256)
    check_fit(bundle.manifest, slot, points)
    return load_network(bundle, runtime, active.memory_kb)


def is_to_blame(error: MillwrightError) -> bool:
    """Whether a bundle that ran here before is itself the cause when it does not load any more. It is not, and stays,
    when the settings of its points have changed, or when its file is there and cannot be read now: both can be mended.
    """
    if isinstance(error, StorageError):
        return isinstance(error.__cause__, FileNotFoundError)
    return not isinstance(error, BundleMismatchError)


def prove(bundle: Bundle, loaded: Loaded, runtime: Runtime) -> tuple[ReplayReport, float]:
    """Replay a bundle's golden vectors on this machine, and hold its costs against its budgets.

    Returns: the report, and the KB of memory that one more copy of the network takes.

    Raises: BundleReplayError, BundleBudgetError: it gives other scores here, or costs more than its manifest promises.
            SignalError: its parts do not fit each other.
    """
    report = replay_golden(bundle, loaded.network)
    manifest = bundle.manifest
    return report, _check_memory(lambda: runtime.load(bundle.model, manifest.network, _name(manifest)), manifest)


def _name(manifest: Manifest) -> str:
    return f"bundle {manifest.slot}/{manifest.version}"


def _check_memory(load: Callable[[], Network], manifest: Manifest) -> float:
    """Measure what one more copy of the network costs; the first one also paid for the runtime's own start. The smaller
    of two measurements counts, because the rest of the agent goes on working meanwhile.

    Raises: BundleBudgetError: it is over the budget.
    """
    kept, costs = [], []
    for _ in range(2):
        before = resident_bytes()
        network = load()
        network(np.zeros((BATCH_SIZES[-1], manifest.network.input.size), np.float32))
        costs.append(resident_bytes() - before)
        kept.append(network)  # else the second would only take the first one's place
    grown_kb = min(costs) / 1024
    if grown_kb > manifest.budgets.memory_kb:
        raise BundleBudgetError(
            f"{_name(manifest)}: the network takes {grown_kb:.0f} KB of memory here, "
            f"its budget is {manifest.budgets.memory_kb:.0f} KB"
        )
    return max(0.0, grown_kb)


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()  # 16 KB on some boards


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file, None when there is none. Raises: StorageError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
