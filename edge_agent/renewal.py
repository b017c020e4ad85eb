"""Renewing the certificate while the agent runs: at two thirds of its life, spread by chance, over the broker.

The request is signed by the certificate in use, so it is not the broker's word alone that it is ours. Keys and
signatures are made by `identity_worker` in a process of its own. When nothing comes of it, it is tried again later; an
expired certificate ends the connection, never the watching of machines.
"""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.errors import EnrolmentError, StorageError
from edge_agent.identity import Identity, check_valid
from edge_agent.wire import Transport
from edge_agent.worker import Worker
from models.contract import topics
from models.contract.ids import GatewayId
from models.errors import MillwrightError

log = logging.getLogger(__name__)

LOOK_S = 5.0
RETRY_S = 600.0
ANSWER_S = 60.0
COMPLAIN_S = 3600.0
_WORKER_S = 60.0


class Renewal:
    """Call `poll` often, hand answers to `take`. `run`: starts the worker (what, stdin) -> stdout."""

    def __init__(
        self,
        identity: Identity,
        gateway: GatewayId,
        transport: Transport,
        worker: Worker,
        reconnect: Callable[[], None],
        *,
        rng: random.Random | None = None,
        run: Callable[[str, bytes], bytes] | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.reply_topic = topics.topic_of(topics.RenewReply(gateway))
        self._request_topic = topics.topic_of(topics.RenewRequest(gateway))
        self._identity = identity
        self._transport = transport
        self._worker = worker
        self._reconnect = reconnect
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._late = self._rng.random()
        self._run = run or (lambda what, data: run_worker(what, identity.folder, gateway, data))
        self._retry_s = retry_s
        self._look_s = self._try_s = self._complain_s = 0.0
        self._busy = False
        self._asked_s: float | None = None

    def poll(self, now_s: float, utc_s: float) -> None:
        """See whether it is time. Raises: StorageError."""
        if now_s < self._look_s:
            return
        self._look_s = now_s + LOOK_S
        facts = self._identity.facts()
        if facts is None:
            return
        self.counters["identity.days_left"] = max(0, int((facts.not_after_s - utc_s) / 86_400))
        try:
            check_valid(facts, utc_s)
        except EnrolmentError as error:
            self._complain(error, now_s)
            return
        if self._asked_s is not None and now_s - self._asked_s > ANSWER_S:
            self._failed(now_s, EnrolmentError("no_answer", "renewal: the hub did not answer"))
        due = utc_s >= facts.due_s(self._late) and now_s >= self._try_s
        if due and not self._busy and self._asked_s is None and self._transport.connected:
            self._busy = True
            self._worker.submit("certificate request", lambda: self._run("request", b""), self._ask(now_s))

    def _ask(self, now_s: float) -> Callable[[bytes | MillwrightError], None]:
        def done(request: bytes | MillwrightError) -> None:
            self._busy = False
            if isinstance(request, MillwrightError):
                self._failed(now_s, request)
            elif self._transport.publish(self._request_topic, request):
                self._asked_s = now_s

        return done

    def take(self, payload: bytes, now_s: float) -> None:
        """An answer came. One that was not asked for is passed over."""
        if self._asked_s is None or self._busy:
            self.counters["ignored.certificate_reply"] += 1
            return
        self._busy = True
        self._worker.submit("certificate", lambda: self._run("install", payload), self._installed(now_s))

    def _installed(self, now_s: float) -> Callable[[bytes | MillwrightError], None]:
        def done(answer: bytes | MillwrightError) -> None:
            self._busy = False
            if isinstance(answer, EnrolmentError) and answer.reason == "reply":
                self.counters["refused.certificate_reply"] += 1  # anybody's; the true one may still come
                log.warning("%s", answer)
            elif isinstance(answer, MillwrightError):
                self._failed(now_s, answer)
            else:
                self._asked_s = None
                self._late = self._rng.random()
                self.counters["identity.renewed"] += 1
                log.info("the certificate was renewed; connecting anew with it")
                self._reconnect()

        return done

    def _failed(self, now_s: float, error: MillwrightError) -> None:
        self._asked_s = None
        self._try_s = now_s + self._retry_s * self._rng.uniform(0.5, 1.0)
        self.counters[f"identity.failed.{getattr(error, 'reason', 'storage')}"] += 1
        log.warning("%s; again in %.0f s", error, self._try_s - now_s)

    def _complain(self, error: EnrolmentError, now_s: float) -> None:
        self.counters[f"identity.{error.reason}"] = 1
        if now_s >= self._complain_s:
            self._complain_s = now_s + COMPLAIN_S
            log.error("%s", error)


def run_worker(what: str, folder: Path, gateway: str, data: bytes) -> bytes:
    """One run of `identity_worker`. Raises: EnrolmentError: with the reason that it gave. StorageError."""
    packages = str(Path(__file__).resolve().parent.parent)
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_agent.identity_worker", what, str(folder), gateway],
            input=data, capture_output=True, timeout=_WORKER_S, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnrolmentError("worker_failed", f"identity worker: {error}") from error
    if done.returncode == 0:
        return done.stdout
    try:
        answer = msgspec.json.decode(done.stdout, type=dict[str, str])
    except msgspec.DecodeError as error:
        last = done.stderr.decode(errors="replace").strip()[-300:]
        raise EnrolmentError("worker_failed", f"identity worker: ended with {done.returncode}: {last}") from error
    if answer["reason"] == "storage":
        raise StorageError(answer["text"])
    raise EnrolmentError(answer["reason"], answer["text"])
