"""Evidence is scored again at the hub, with the bundle that had scored it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloud_hub.ingest.rescoring import RescoreWorker
from cloud_hub.store import history_queries
from cloud_hub.store.database import Database
from models.contract.messages import Evidence
from models.errors import BundleDigestError
from tests.cloud_hub.ingest_kit import NOW_S, Bench, eventually
from tests.simulators.hub import SHA, event


@pytest.fixture
def rescored(database: Database) -> Iterator[Callable[..., RescoreWorker]]:
    workers = []

    def start(rescore: Callable[[str, Evidence], float]) -> RescoreWorker:
        workers.append(RescoreWorker(database, rescore, lambda: NOW_S))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


def summary(bench: Bench, alarm: str = "gw-1.a1") -> Any:
    with bench.database.read() as session:
        return history_queries.get_evidence(session, alarm).summary


def test_evidence_is_scored_again_with_its_own_bundle(bench: Bench, rescored: Callable[..., RescoreWorker]) -> None:
    calls: list[tuple[str, int]] = []

    def rescore(bundle: str, evidence: Evidence) -> float:
        calls.append((bundle, len(evidence.window)))
        return evidence.raw_score

    bench.take(event(1, evidence=True), event(2, "updated"))
    assert summary(bench).rescored_raw is None
    worker = rescored(rescore)
    eventually(lambda: summary(bench).rescored_raw == 7.25)
    bench.take(event(3, evidence=True, alarm="a2"))
    worker.wake()
    eventually(lambda: summary(bench, "gw-1.a2").rescored_raw == 7.25)
    assert calls == [(SHA, 256 * 2 * 4)] * 2


def test_evidence_that_cannot_be_scored_says_why_and_is_not_tried_for_ever(
    bench: Bench, rescored: Callable[..., RescoreWorker]
) -> None:
    calls: list[str] = []

    def rescore(bundle: str, _: Evidence) -> float:
        calls.append(bundle)
        if len(calls) == 1:
            raise BundleDigestError("bundle abab: expected another digest")
        if len(calls) == 2:
            raise ZeroDivisionError("odd window")
        return float("nan")

    bench.take(*(event(i, evidence=True, alarm=f"a{i}") for i in (1, 2, 3)))
    worker = rescored(rescore)
    eventually(lambda: summary(bench, "gw-1.a3").rescore_error)
    assert summary(bench, "gw-1.a3").rescore_error == "expected a finite score, got nan"
    assert summary(bench).rescore_error == "bundle abab: expected another digest"
    assert summary(bench, "gw-1.a2").rescore_error == "ZeroDivisionError: odd window"
    assert summary(bench).rescored_raw is None
    worker.wake()
    worker.stop()
    assert len(calls) == 3
