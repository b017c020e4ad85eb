"""Gateways without a body: they read real wants and say what real gateways say, through the contract's codec.

Each one goes through the phases of the agent's update machine, one a tick, and scores windows from a seeded histogram.
What is wrong with it is its `kind`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np

from cloud_hub.errors import LinkError
from cloud_hub.ingest.parse import parse
from cloud_hub.store.writer import Received
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import (
    SCORE_BINS,
    Ack,
    AgentState,
    Behaviour,
    Envelope,
    SlotState,
    WantBody,
    WantedBundle,
    decode,
    encode,
)

Kind = Literal["good", "refuse", "replay", "roll_back", "flood", "shifted", "slow", "silent", "absent"]
SLOT = "pump-vibration"
OLD, NEW, OTHER = "aa" * 32, "bb" * 32, "cc" * 32
_FLOOD_SHIFT, _SHIFT = 14, 6  # bins


class _Counter:
    """What one bundle did."""

    def __init__(self, sha256: str, since_s: float, window_us: float) -> None:
        self.sha256, self.since_s, self.window_us = sha256, since_s, window_us
        self.scores = np.zeros(SCORE_BINS, np.int64)
        self.windows = self.flagged = self.alarms = 0

    def add(self, scores: np.ndarray, alarms: int) -> None:
        self.scores += scores
        self.windows += int(scores.sum())
        self.flagged += int(scores[44:].sum())
        self.alarms += alarms

    def behaviour(self) -> Behaviour:
        return Behaviour(
            sha256=self.sha256,
            since_s=self.since_s,
            windows=self.windows,
            flagged=self.flagged,
            alarms=self.alarms,
            scores=self.scores.tolist(),
            window_us=self.window_us,
            memory_kb=420.0,
        )


class SimGateway:
    """One gateway. `wants`: every want that it has got, in order."""

    def __init__(self, name: str, kind: Kind = "good", active: str | None = OLD, per_tick: int = 60) -> None:
        self.name, self.kind, self.per_tick = name, kind, per_tick
        self.active, self.candidate, self.hold = active, None, False
        self.phase = "confirmed" if active else "idle"
        self.want_seq = 0
        self.wants: list[WantBody] = []
        self.champion = _Counter(active, 0.0, 120.0) if active else None
        self.shadow: _Counter | None = None
        self.error: str | None = None
        self.quiet = kind == "absent"
        self._rng = np.random.default_rng(int.from_bytes(name.encode()[-6:], "big"))

    def want(self, payload: bytes, now_s: float) -> list[Ack]:
        """Take a want as the agent does: its own name, a number that grows, not expired."""
        if self.quiet:
            return []
        envelope = decode(Envelope, payload, self.name)
        body = decode(WantBody, bytes(envelope.signed), self.name)
        assert body.gateway == self.name
        assert body.expires_s > now_s
        if body.seq <= self.want_seq:
            return []
        self.wants.append(body)
        self.want_seq = body.seq
        wanted = next((b for b in body.bundles if b.slot == SLOT), None)
        return self._follow(wanted, now_s)

    def _follow(self, wanted: WantedBundle | None, now_s: float) -> list[Ack]:
        if wanted is None or wanted.sha256 == self.active:
            self.candidate = self.shadow = None
            self.phase = "confirmed" if self.active else "idle"
            return [self._ack(now_s)]
        self.hold = wanted.hold
        if wanted.sha256 != self.candidate or self.phase in {"refused", "rolled_back"}:
            self.candidate, self.shadow, self.phase, self.error = wanted.sha256, None, "seen", None
            return [self._ack(now_s)]
        return []

    def _ack(self, now_s: float, reason: str | None = None) -> Ack:
        sha256 = self.candidate or self.active
        return Ack(
            gateway=self.name,
            seq=self.want_seq,
            slot=SLOT,
            phase=self.phase,
            time_s=now_s,
            sha256=sha256,
            reason=reason,
        )

    def tick(self, now_s: float) -> list[Ack | AgentState]:
        """Go one phase further, score some windows, report."""
        before, acks = self.phase, []
        if not self.quiet:
            self._step(now_s)
        if self.quiet:
            return []
        if self.phase != before:
            reason = {"refused": "replay" if self.kind == "replay" else "budget", "rolled_back": "failed"}
            acks.append(self._ack(now_s, reason.get(self.phase)))
            if self.phase == "rolled_back":
                self.candidate = None
        self._score()
        return [*acks, self.state(now_s)]

    def _step(self, now_s: float) -> None:
        match self.phase:
            case "seen":
                self.phase = "fetching"
                self.quiet = self.kind == "silent" and self.candidate == NEW
            case "fetching" if self.kind in {"refuse", "replay"} and self.candidate == NEW:
                self.phase = "refused"
            case "fetching":
                self.phase = "shadow" if self.active else "active"
                if self.active:
                    self._begin_shadow(now_s)
                else:
                    self._activate(now_s)
            case "shadow" if not self.hold:
                self.phase = "active"
                self._activate(now_s)
            case "active" if self.kind == "roll_back" and self.active == NEW:
                self.phase, self.candidate, self.active = "rolled_back", NEW, OLD
                self.champion = _Counter(OLD, now_s, 120.0)
            case "active":
                self.phase = "confirmed"
            case _:
                pass

    def _begin_shadow(self, now_s: float) -> None:
        self.champion = _Counter(self.active, now_s, 120.0)
        self.shadow = _Counter(self.candidate, now_s, 900.0 if self.kind == "slow" else 130.0)

    def _activate(self, now_s: float) -> None:
        self.active, self.candidate = self.candidate, None
        self.champion = _Counter(self.active, now_s, 900.0 if self.kind == "slow" else 130.0)
        self.shadow = None

    def _score(self) -> None:
        n = self.per_tick
        bins = np.clip(self._rng.normal(34.0, 2.5, n), 0, SCORE_BINS - 1).astype(np.int64)
        for counter in (self.champion, self.shadow):
            if counter is None or n == 0:
                continue
            bad = counter.sha256 == NEW
            shift = _FLOOD_SHIFT if bad and self.kind == "flood" else _SHIFT if bad and self.kind == "shifted" else 0
            scores = np.bincount(np.minimum(bins + shift, SCORE_BINS - 1), minlength=SCORE_BINS)
            counter.add(scores, n // 10 if shift == _FLOOD_SHIFT else 0)

    def state(self, now_s: float) -> AgentState:
        """What it reports."""
        slot = SlotState(
            slot=SLOT,
            phase=self.phase,  # type: ignore[arg-type]
            active_sha256=self.active,
            active_version="1" if self.active else None,
            candidate_sha256=self.candidate,
            error=self.error,
            champion=self.champion.behaviour() if self.champion else None,
            candidate=self.shadow.behaviour() if self.shadow else None,
        )
        return AgentState(
            gateway=self.name,
            boot_id="00000000000000aa",
            online=True,
            time_s=now_s,
            want_seq=self.want_seq,
            slots=[slot],
        )


class SimFleet:
    """Gateways and the broker between: retained wants, and everything that comes up, as checked messages."""

    def __init__(self, gateways: Iterable[SimGateway]) -> None:
        self.gateways = {g.name: g for g in gateways}
        self.retained: dict[str, bytes] = {}
        self.published = 0
        self.payload_bytes = 0
        self.listening = True
        self.fail = False
        self.now_s = 0.0
        self._up: list[Received] = []

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        assert retain
        for topic, payload in messages:
            if self.fail:
                raise LinkError("broker: gone")
            self.retained[topic] = payload
            self.published += 1
            self.payload_bytes += len(payload)
            address = topics.address_of(topic)
            assert isinstance(address, topics.Want)
            for ack in self.gateways[address.gateway].want(payload, self.now_s):
                self._send_up(ack)

    def come_back(self, name: str) -> None:
        """A gateway that was away connects: the broker gives it what it retains."""
        gateway = self.gateways[name]
        gateway.quiet = False
        payload = self.retained.get(topics.topic_of(topics.Want(GatewayId(name))))
        if payload is not None:
            for ack in gateway.want(payload, self.now_s):
                self._send_up(ack)

    def _send_up(self, message: Ack | AgentState) -> None:
        kind = topics.State if isinstance(message, AgentState) else topics.Ack
        topic = topics.topic_of(kind(GatewayId(message.gateway)))
        parsed = parse(topic, encode(message))
        assert parsed is not None
        self._up.append(Received(parsed, False, topic, 0))

    def tick(self, now_s: float) -> None:
        """Every gateway goes one step further."""
        self.now_s = now_s
        for gateway in self.gateways.values():
            for message in gateway.tick(now_s):
                self._send_up(message)

    def take_up(self) -> list[Received]:
        """What has come up since the last time."""
        up, self._up = self._up, []
        return up


class PlainSigner:
    """Puts a want into an envelope without a real signature, deterministically."""

    def sign_want(self, body: WantBody) -> bytes:
        return msgspec.json.encode(
            {"signed": msgspec.Raw(encode(body)), "signatures": [{"keyid": "00" * 32, "sig": "00" * 64}]}
        )
