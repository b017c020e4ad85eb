"""What the hub tells this gateway: wants and commands, verified before anything is done, each carried out once.

A want is retained and so is the metadata that proves it; they come in any order, and again at each reconnection. Each
pair of (metadata, want) is looked at once. Nothing that fails to verify changes anything here.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_agent.errors import CommandError, TrustError
from edge_agent.storage import Document, load_document, save_document
from edge_agent.surroundings import Trust, reason_of
from edge_agent.worker import Worker
from models.contract.messages import MAX_ENVELOPE_BYTES, MAX_METADATA_BYTES, CommandBody, WantBody
from models.errors import MillwrightError

log = logging.getLogger(__name__)

REMEMBERED_COMMANDS = 256
MAX_WAITING_COMMANDS = 32
_PASSING = {"worker_failed": 60.0, "metadata_expired": 3600.0}


class OrdersRecord(Document, frozen=True, kw_only=True):
    """What is stored: the want that was last accepted, the commands that were carried out, and the latest time that the
    hub has vouched for (a gateway's clock may have been lost since).
    """

    want: WantBody | None = None
    want_digest: str = ""
    commands: list[str] = msgspec.field(default_factory=list)
    known_time_s: float = 0.0


class Orders:
    """Args: follow: what to do with an accepted want. obey: with a command. refuse: report (reason, detail)."""

    def __init__(
        self,
        path: Path,
        gateway: str,
        trust: Trust,
        worker: Worker,
        *,
        follow: Callable[[WantBody, bool], None],
        obey: Callable[[CommandBody], None],
        refuse: Callable[[str, str], None],
    ) -> None:
        self._path = path
        self._gateway = gateway
        self._trust = trust
        self._worker = worker
        self._follow = follow
        self._obey = obey
        self._refuse = refuse
        self._want: bytes | None = None
        self._looked_at: tuple[str, str] | None = None
        self._refused_s, self._pause_s = 0.0, math.inf
        self._want_under_way = False
        self._commands_under_way = 0
        self._waiting: deque[bytes] = deque()
        self.metadata: bytes | None = None
        self.counters: Counter[str] = Counter()
        self.record = load_document(path, OrdersRecord) or OrdersRecord()

    @property
    def want_seq(self) -> int:
        """Of the want that was last accepted."""
        return self.record.want.seq if self.record.want is not None else 0

    def trusted_time(self, utc_s: float) -> float:
        """The time to judge expiry by: never before what the hub has vouched for."""
        return max(utc_s, self.record.known_time_s)

    def take_metadata(self, payload: bytes) -> bool:
        """Retained metadata came. True: it is not what we had."""
        if not 0 < len(payload) <= MAX_METADATA_BYTES:
            self._count("metadata_format", f"metadata: expected 1 to {MAX_METADATA_BYTES} bytes, got {len(payload)}")
            return False
        if payload == self.metadata:
            return False
        self.metadata = payload
        return True

    def take_want(self, payload: bytes) -> None:
        """A want came."""
        if not 0 < len(payload) <= MAX_ENVELOPE_BYTES:
            self._count("want_format", f"want: expected 1 to {MAX_ENVELOPE_BYTES} bytes, got {len(payload)}")
            return
        self._want = payload

    def take_command(self, payload: bytes) -> None:
        """A command came."""
        if not 0 < len(payload) <= MAX_ENVELOPE_BYTES:
            self._count("command_format", f"command: expected 1 to {MAX_ENVELOPE_BYTES} bytes, got {len(payload)}")
        elif len(self._waiting) + self._commands_under_way >= MAX_WAITING_COMMANDS:
            self._count("command_flood", f"more than {MAX_WAITING_COMMANDS} commands wait to be verified")
        else:
            self._waiting.append(payload)

    def _count(self, reason: str, text: str) -> None:
        self.counters[f"refused.{reason}"] += 1
        log.warning("refused: %s", text)
        self._refuse(reason, text)

    def poll(self, utc_s: float) -> None:
        """Verify what can be verified now that metadata is there."""
        if self.metadata is None:
            return
        self._poll_want(self.metadata, utc_s)
        while self._waiting:
            self._verify_command(self.metadata, self._waiting.popleft(), utc_s)

    def _poll_want(self, metadata: bytes, utc_s: float) -> None:
        want = self._want
        if want is None or self._want_under_way:
            return
        look = (_digest(metadata), _digest(want))
        # A clock that was set meanwhile, in whichever direction, is a reason to ask again.
        if look == self._looked_at and (math.isinf(self._pause_s) or 0 <= utc_s - self._refused_s < self._pause_s):
            return
        self._looked_at, self._pause_s = look, math.inf
        if self.record.want is not None and look[1] == self.record.want_digest:
            self._follow(self.record.want, False)
            self._verify_metadata(metadata, want, utc_s)
            return
        trust, gateway, last_seq, now_s = self._trust, self._gateway, self.want_seq, self.trusted_time(utc_s)

        def done(answer: WantBody | MillwrightError) -> None:
            self._want_under_way = False
            self._want_verified(answer, look[1], utc_s)

        self._want_under_way = True  # one at a time: they may come faster than they can be verified
        self._worker.submit("verify want", lambda: trust.verify_want(metadata, want, gateway, last_seq, now_s), done)

    def _verify_metadata(self, metadata: bytes, want: bytes, utc_s: float) -> None:
        """New metadata under a want that was accepted before: so that new root keys, and what cannot be trusted, are
        known now and not at the next want. The want itself was judged when it came, and may have expired since.
        """
        trust, gateway, last_seq, now_s = self._trust, self._gateway, self.want_seq, self.trusted_time(utc_s)

        def done(answer: WantBody | MillwrightError) -> None:
            self._want_under_way = False
            if isinstance(answer, MillwrightError) and reason_of(answer).startswith("metadata_"):
                self._count(reason_of(answer), str(answer))

        self._want_under_way = True
        self._worker.submit(
            "verify metadata", lambda: trust.verify_want(metadata, want, gateway, last_seq, now_s), done
        )

    def _want_verified(self, answer: WantBody | MillwrightError, digest: str, utc_s: float) -> None:
        if isinstance(answer, MillwrightError):
            self._count(reason_of(answer), str(answer))
            if reason_of(answer) in _PASSING:  # not the want's fault: ask again, without waiting for new metadata
                self._refused_s, self._pause_s = utc_s, _PASSING[reason_of(answer)]
            return
        if answer.seq < self.want_seq:  # another one was accepted while this one was being verified
            self._count("want_replayed", f"want: expected a sequence number over {self.want_seq}, got {answer.seq}")
            return
        self._store(want=answer, want_digest=digest, known_time_s=self.trusted_time(answer.issued_s))
        log.info("want %d accepted", answer.seq)
        self._follow(answer, True)

    def take_package(
        self, metadata: bytes, envelope: bytes, utc_s: float, done: Callable[[WantBody | MillwrightError], None]
    ) -> None:
        """Metadata and a want that came by hand. Where newer metadata are known already, those decide."""
        trust, gateway, last_seq, now_s = self._trust, self._gateway, self.want_seq, self.trusted_time(utc_s)
        ours = self.metadata

        def job() -> tuple[WantBody, bytes]:
            try:
                return trust.verify_want(metadata, envelope, gateway, last_seq, now_s), metadata
            except TrustError as error:
                if ours is None or error.reason not in {"metadata_rollback", "metadata_expired"}:
                    raise
            return trust.verify_want(ours, envelope, gateway, last_seq, now_s), ours

        def verified(answer: tuple[WantBody, bytes] | MillwrightError) -> None:
            if isinstance(answer, MillwrightError):
                self._count(reason_of(answer), str(answer))
                done(answer)
                return
            body, self.metadata = answer
            self._want_verified(body, _digest(envelope), utc_s)
            done(body)

        self._worker.submit("verify package", job, verified)

    def _store(self, **changes: object) -> None:
        record = msgspec.structs.replace(self.record, **changes)
        save_document(self._path, record)
        self.record = record

    def _verify_command(self, metadata: bytes, payload: bytes, utc_s: float) -> None:
        trust, gateway, now_s = self._trust, self._gateway, self.trusted_time(utc_s)
        self._commands_under_way += 1
        self._worker.submit(
            "verify command",
            lambda: trust.verify_command(metadata, payload, gateway, now_s),
            self._command_verified,
        )

    def _command_verified(self, answer: CommandBody | MillwrightError) -> None:
        self._commands_under_way -= 1
        if isinstance(answer, MillwrightError):
            self._count(reason_of(answer), str(answer))
            return
        if answer.id in self.record.commands:
            self.counters["commands.repeated"] += 1
            return
        # Stored before it is carried out: at most once, since a capture asked for twice costs more than one lost.
        self._store(commands=[*self.record.commands, answer.id][-REMEMBERED_COMMANDS:])
        self.counters["commands.obeyed"] += 1
        try:
            self._obey(answer)
        except CommandError as error:
            self._count(error.reason, str(error))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
