"""Messages as gateways send them, a broker that is only a queue, and a client for the API without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx
import msgspec
import numpy as np
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_hub.accounts.permissions import Principal, command_line
from cloud_hub.errors import LinkError
from cloud_hub.transport import Incoming, IncomingQueue
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    CaptureChunk,
    Diagnosis,
    Driver,
    Evidence,
    Health,
    Message,
    OrderMatch,
    PointState,
    ReceiptBody,
    SlotState,
    TrendBatch,
    TrendRow,
    decode,
    encode,
)

BOOT = "00000000000000aa"
SHA = "ab" * 32
_ADDRESSES: dict[type, type] = {
    AgentState: topics.State,
    Ack: topics.Ack,
    AlarmEvent: topics.Event,
    TrendBatch: topics.Trend,
    CaptureChunk: topics.Capture,
}


def incoming(message: Message, *, retained: bool = False) -> Incoming:
    """A message under the topic of the gateway that it names."""
    address = _ADDRESSES[type(message)](GatewayId(message.gateway))  # type: ignore[attr-defined]
    return Incoming(topics.topic_of(address), encode(message), retained)


def state(gateway: str = "gw-1", **changes: Any) -> AgentState:
    """A gateway with one slot and one point on pump P-101."""
    fields: dict[str, Any] = {
        "gateway": gateway,
        "boot_id": BOOT,
        "online": True,
        "time_s": 1000.0,
        "agent_version": "0.1.0",
        "runtime": "litert",
        "want_seq": 3,
        "rss_mb": 61.5,
        "outbox_bytes": 1234,
        "slots": [SlotState(slot="pump-vibration", phase="active", active_sha256=SHA, active_version="1")],
        "points": [point()],
        "counters": {"frames": 10},
    }
    return AgentState(**fields | changes)


def point(name: str = "de", **changes: Any) -> PointState:
    """A healthy point of P-101."""
    fields: dict[str, Any] = {
        "machine": "P-101",
        "point": name,
        "slot": "pump-vibration",
        "verdict": "ok",
        "score": 0.4,
        "windows": 50,
        "last_window_s": 999.0,
    }
    return PointState(**fields | changes)


def event(seq: int = 1, kind: str = "raised", *, evidence: bool = False, **changes: Any) -> AlarmEvent:
    """An alarm event of P-101/de."""
    fields: dict[str, Any] = {
        "gateway": "gw-1",
        "boot_id": BOOT,
        "seq": seq,
        "alarm": "a1",
        "kind": kind,
        "verdict": "ok" if kind == "cleared" else "alarm",
        "machine": "P-101",
        "point": "de",
        "slot": "pump-vibration",
        "bundle_sha256": SHA,
        "bundle_version": "1",
        "time_s": 2000.0 + seq,
        "score": 1.5,
        "peak": 1.5 + seq / 100,
        "diagnosis": diagnosis(),
        "evidence": window() if evidence else None,
    }
    return AlarmEvent(**fields | changes)


def diagnosis(summary: str = "outer race: BPFO at 87.4 Hz stands 12 dB over the rest") -> Diagnosis:
    """A diagnosis with everything in it."""
    return Diagnosis(
        summary=summary,
        drivers=[Driver(axis="x", label="2.5-3.2 kHz", share=0.6, ratio=4.5)],
        fault="BPFO",
        orders=[
            OrderMatch(
                fault="BPFO", order=3.585, frequency_hz=87.4, harmonics=[87.4, 174.8], prominence=12.0, confidence=0.9
            )
        ],
        velocity_rms_mm_s=4.7,
        zone="C",
        zone_source="test",
        check_first="the drive-end bearing",
    )


def window(samples: int = 256, axes: int = 2, raw_score: float = 7.25) -> Evidence:
    """Evidence with a ramp as its window."""
    data = np.arange(samples * axes, dtype="<f4").reshape(samples, axes)
    return Evidence(
        rate_hz=12_000.0,
        axes=["x", "y", "z"][:axes],
        units="m/s2",
        samples=samples,
        window=data.tobytes(),
        shift=b"",
        raw_score=raw_score,
        raw_limit=3.0,
    )


def trends(seq: int = 1, rows: int = 2, *, health: bool = True, **changes: Any) -> TrendBatch:
    """A batch of trends of P-101/de, one row each 10 s."""
    made = [
        TrendRow(machine="P-101", point="de", time_s=3000.0 + 10 * (seq * rows + i), span_s=10.0, windows=20,
                 score_mean=0.4, score_max=0.6, rms=[1.0, 2.0], verdict="ok")
        for i in range(rows)
    ]  # fmt: skip
    vital = Health(time_s=3000.0 + seq, rss_mb=60.0, cpu_s=5.0, windows=100, window_us=40.0, outbox_bytes=0)
    fields: dict[str, Any] = {"gateway": "gw-1", "boot_id": BOOT, "seq": seq, "rows": made}
    return TrendBatch(**fields | {"health": vital if health else None} | changes)


def chunks(capture: str = "cap-1", total: int = 3, samples: int = 100, **changes: Any) -> list[CaptureChunk]:
    """All chunks of a capture of two axes whose samples count up; a gap before the last chunk."""
    made = []
    for i in range(total):
        data = np.arange(i * samples * 2, (i + 1) * samples * 2, dtype="<f4")
        fields: dict[str, Any] = {
            "gateway": "gw-1",
            "capture": capture,
            "machine": "P-101",
            "point": "de",
            "index": i,
            "total": total,
            "rate_hz": 12_000.0,
            "axes": ["x", "y"],
            "units": "m/s2",
            "time_s": 5000.0 + i,
            "data": data.tobytes(),
            "gap": i == total - 1,
        }
        made.append(CaptureChunk(**fields | changes))
    return made


def ack(seq: int = 3, phase: str = "fetched", **changes: Any) -> Ack:
    """A step towards a want."""
    fields: dict[str, Any] = {"gateway": "gw-1", "seq": seq, "slot": "pump-vibration", "phase": phase, "time_s": 1500.0}
    return Ack(**fields | changes)


def as_newer(message: Message) -> bytes:
    """The payload of the same message, as another major version would send it."""
    codec: Any = msgspec.msgpack if isinstance(message, (TrendBatch, CaptureChunk)) else msgspec.json
    return bytes(codec.encode(msgspec.to_builtins(message, builtin_types=(bytes,)) | {"schema": "2.0"}))


class QueueBroker:
    """What the ingest worker needs of a link. `published` keeps what was published; `down` makes that fail."""

    def __init__(self) -> None:
        self.incoming = IncomingQueue()
        self.published: list[tuple[str, bytes]] = []
        self.connected = True
        self.down = False

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        if self.down:
            raise LinkError("broker: not there, says the test")
        self.published.extend(messages)

    def receipts(self, gateway: str = "gw-1") -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        """All (boot, seq) and all (capture, index) that this gateway got receipts for."""
        topic = topics.topic_of(topics.Receipt(GatewayId(gateway)))
        bodies = [decode(ReceiptBody, payload, topic) for to, payload in self.published if to == topic]
        return {e for b in bodies for e in b.events}, {c for b in bodies for c in b.chunks}


class As:
    """An application as somebody who is recognised already sees it. Tests of accounts recognise people for real."""

    def __init__(self, app: ASGIApp, principal: Principal) -> None:
        self._app, self._principal = app, principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["principal"] = self._principal
        await self._app(scope, receive, send)


class ApiClient:
    """Calls an application without a socket. Faults become answers with status 500, as they would over HTTP."""

    def __init__(self, app: FastAPI, principal: Principal | None = None) -> None:
        self._app = As(app, principal or command_line("test"))

    def request(self, method: str, path: str, **parameters: Any) -> httpx.Response:
        """One request; parameters become the query."""
        return self._send(method, path, params=parameters)

    def change(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One request that changes something, with a JSON body."""
        return self._send(method, path, json=body, headers=headers)

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **parameters)

    def items(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.get(path, **parameters)
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
            if answer.json()["next"] is None:
                return found
            parameters["cursor"] = answer.json()["next"]
