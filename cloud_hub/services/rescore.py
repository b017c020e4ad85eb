"""The raw score of an alarm's evidence once more, on the hub, with the same bundle: an agent's word is checked."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from cloud_hub.errors import NotFoundError
from cloud_hub.runtime import Int8Model
from models.bundle.archive import SUFFIX, read_bundle
from models.contract.messages import Evidence
from models.errors import BundleMismatchError
from models.signal.score import Scorer

_KEPT = 8


class Rescorer:
    """Computes raw scores; keeps the last few bundles ready."""

    def __init__(self, bundles_dir: Path) -> None:
        self._dir = bundles_dir
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()

    def __call__(self, sha256: str, evidence: Evidence) -> float:
        """The raw score of the evidence's window.

        Raises: NotFoundError: this hub does not have the bundle. BundleMismatchError: the evidence does not fit it.
        """
        scorer = self._scorer(sha256)
        source = scorer.manifest.input
        axes, features = len(source.axes), len(scorer.extract.names)
        want = {"window": source.window * axes * 4, "shift": features * 4}
        got = {"window": len(evidence.window), "shift": len(evidence.shift)}
        if got != want:
            raise BundleMismatchError(f"evidence for bundle {sha256[:12]}: expected {want} bytes, got {got}")
        window = np.frombuffer(evidence.window, "<f4").reshape(1, source.window, axes)
        shift = np.frombuffer(evidence.shift, "<f4")
        return float(scorer.score(scorer.extract(window), shift).raw[0])

    def _scorer(self, sha256: str) -> Scorer:
        if sha256 not in self._scorers:
            path = self._dir / f"{sha256}{SUFFIX}"
            try:
                data = path.read_bytes()
            except OSError as error:
                raise NotFoundError(f"bundle {sha256}: {path} cannot be read: {error}") from error
            bundle = read_bundle(data, str(path))
            self._scorers[sha256] = Scorer(bundle.manifest, Int8Model(bundle.model).network())
            if len(self._scorers) > _KEPT:
                self._scorers.popitem(last=False)
        self._scorers.move_to_end(sha256)
        return self._scorers[sha256]
