"""What happens to data as it ages: trends fold into buckets, and what is over its days goes.

Small transactions with a breath between them: nobody waits long, however much there is to do. Deletes in batches and
not by dropping partitions, because the days differ by point, SQLite has no partitions, and one scheme on both is tested
on both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from cloud_hub.settings import Settings
from cloud_hub.store import ageing
from cloud_hub.store import trend_buckets as buckets
from cloud_hub.store.database import Database

_log = logging.getLogger(__name__)
FOLD_ROWS = 5000
EXPIRE_POINTS = 50
EXPIRE_ROWS = 2000
_BREATH_S = 0.02
_ROUND_S = 45.0
_EXPIRE_EVERY_S = 3600.0


class Retention:
    """Call it about once a minute; a call does what is due, for up to 45 s. Threads do not share one."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now_s: Callable[[], float],
        *,
        stopped: Callable[[], bool] = lambda: False,
        round_s: float = _ROUND_S,
    ) -> None:
        self._database = database
        self._settings = settings
        self._now_s = now_s
        self._stopped = stopped
        self._round_s = round_s
        self._next_expiry_s = 0.0
        self._after: tuple[str, str] | None = None
        self.folded = 0
        self.deleted = 0

    def __call__(self) -> None:
        """Do what is due. Raises: StoreError: what was done so far stays done."""
        until = time.monotonic() + self._round_s
        self._fold(until)
        if self._now_s() >= self._next_expiry_s and self._expire(until):
            self._next_expiry_s = self._now_s() + _EXPIRE_EVERY_S

    def _over(self, until: float) -> bool:
        time.sleep(_BREATH_S)
        return self._stopped() or time.monotonic() > until

    def _fold(self, until: float) -> None:
        while True:
            with self._database.write() as session:
                rows = buckets.fold_rows(session, FOLD_ROWS)
            self.folded += rows
            if rows < FOLD_ROWS or self._over(until):
                return

    def _expire(self, until: float) -> bool:
        """Whether everything that is over its days is gone."""
        s = self._settings
        days = {0: s.keep_trends_days, 300: s.keep_trends_5min_days, 3600: s.keep_trends_hour_days}
        while True:
            now_s = self._now_s()
            with self._database.write(shared=True) as session:
                gone, last, more = buckets.expire_points(
                    session, self._after, EXPIRE_POINTS, days, now_s, EXPIRE_ROWS // 10
                )
            self.deleted += gone
            if not more:
                self._after = last
                if last is None:
                    break
            if self._over(until):
                return False
        return self._expire_tables(until)

    def _expire_tables(self, until: float) -> bool:
        s = self._settings
        steps: list[tuple[ageing.Expire, float]] = [
            (ageing.expire_health, s.keep_health_days),
            (ageing.expire_acks, s.keep_acks_days),
            (ageing.expire_evidence, min(s.keep_evidence_days, s.keep_events_days)),
            (ageing.expire_events, s.keep_events_days),
            (ageing.expire_seen, s.keep_seen_days),
        ]
        for expire, days in steps:
            while True:
                with self._database.write(shared=True) as session:
                    gone = expire(session, self._now_s() - 86_400 * days, EXPIRE_ROWS)
                self.deleted += gone
                if gone < EXPIRE_ROWS:
                    break
                if self._over(until):
                    return False
        if s.keep_captures_days:
            self._expire_captures(self._now_s() - 86_400 * s.keep_captures_days)
        return True

    def _expire_captures(self, before_s: float) -> None:
        """First the row, then the file: a file without a row is found by nobody, a row without a file is an error."""
        while not self._stopped():
            with self._database.write(shared=True) as session:
                ids = ageing.expire_captures(session, before_s, EXPIRE_POINTS)
            for capture in ids:
                path: Path = self._settings.captures_dir / f"{capture}.npz"
                path.unlink(missing_ok=True)
            self.deleted += len(ids)
            if len(ids) < EXPIRE_POINTS:
                return
