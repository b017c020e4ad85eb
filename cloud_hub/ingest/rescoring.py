"""Computes the raw score of evidence again, with the same bundle, in a thread of its own: ingest never waits for it.

What is still to be done is read from the database, so nothing is forgotten when the hub stops in between.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from cloud_hub.errors import StoreUnavailableError
from cloud_hub.store.database import Database
from cloud_hub.store.rescores import PendingEvidence, pending_evidence, store_rescore
from models.contract.messages import Evidence
from models.errors import MillwrightError

Rescore = Callable[[str, Evidence], float]
"""(digest of the bundle, evidence) -> raw score. Raises MillwrightError when it cannot be computed."""

_log = logging.getLogger(__name__)
_BATCH = 50
_RETRY_S = 5.0
_SAME = 1e-3  # relative: float32 sums in another order, and kernels of another runtime


class RescoreWorker:
    """The thread. `wake` tells it that new evidence has been stored."""

    def __init__(self, database: Database, rescore: Rescore, now_s: Callable[[], float]) -> None:
        self._database = database
        self._rescore = rescore
        self._now_s = now_s
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rescore", daemon=True)

    def start(self) -> None:
        """Begin, with what was left over from the last run."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """There is new evidence."""
        self._work.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop after the window in hand."""
        self._stop.set()
        self._work.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work.wait()
            self._work.clear()
            try:
                while not self._stop.is_set() and self._do_some():
                    pass
            except StoreUnavailableError as error:
                _log.warning("re-scoring waits: %s", error)
                self._stop.wait(_RETRY_S)
                self._work.set()

    def _do_some(self) -> bool:
        """Score the oldest evidence that is still to be done; whether there may be more."""
        with self._database.read() as session:
            pending = pending_evidence(session, _BATCH)
        for item in pending:
            if self._stop.is_set():
                return False
            raw, problem = self._score(item)
            with self._database.write() as session:
                store_rescore(session, item.event, self._now_s(), raw, problem)
        return len(pending) == _BATCH

    def _score(self, item: PendingEvidence) -> tuple[float | None, str | None]:
        try:
            raw = self._rescore(item.bundle_sha256, item.evidence)
        except MillwrightError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - one odd window must not end the re-scoring of all others
            _log.exception("evidence of event %d: re-scoring failed", item.event)
            return None, f"{type(error).__name__}: {error}"
        if not math.isfinite(raw):
            return None, f"expected a finite score, got {raw}"
        if abs(raw - item.evidence.raw_score) > _SAME * abs(item.evidence.raw_score):
            _log.warning("evidence of event %d: hub scores %r, agent %r", item.event, raw, item.evidence.raw_score)
        return raw, None
