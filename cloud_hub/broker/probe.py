"""What a broker does and does not do, found out by doing it.

Delivery needs little: MQTT 3.1.1, QoS 1, retained messages on exact topics, a last will. Everything else is an extra,
and a broker may grant it and then not do it (`$share` is granted as an ordinary topic by some), so nothing is taken
from a version number. Each question uses connections and topics of its own, and clears what it has retained.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from cloud_hub.broker.dialogue import BrokerAddress, Dialogue
from cloud_hub.broker.packets import Will
from cloud_hub.errors import LinkError, SettingsError
from models.contract.messages import CHUNK_BYTES

PREFIX = "mw/probe"
Need = Literal["delivery", "hub", "extra"]
_SIZES = tuple(2**power for power in range(16, 25))  # 64 KiB to 16 MiB
_QUEUED = 3_000
_TRIPS = 40
_REFUSED = 128


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `need`: what would miss it: `delivery` cannot work without, `hub` loses something that `detail` or
    the README names, `extra` is nothing that Millwright uses. `works` is None when it could not be asked.
    """

    name: str
    title: str
    need: Need
    works: bool | None
    detail: str = ""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """All answers about one broker."""

    broker: str
    findings: list[Finding]

    @property
    def lacking(self) -> list[Finding]:
        """What does not work."""
        return [one for one in self.findings if one.works is False]

    @property
    def delivers(self) -> bool:
        """Whether delivery can work over this broker."""
        return all(one.works for one in self.findings if one.need == "delivery")


@dataclass(frozen=True, slots=True)
class _Answer:
    works: bool | None
    detail: str = ""


class Prober:
    """Asks one broker. `patience_s`: how long a missing answer is waited for."""

    def __init__(self, address: BrokerAddress, *, patience_s: float = 3.0, prefix: str = PREFIX) -> None:
        self._address = address
        self._patience_s = patience_s
        self._base = f"{prefix}/{secrets.token_hex(4)}"

    def run(self, on_finding: Callable[[Finding], None] = lambda _: None, mark: Path | None = None) -> Probe:
        """Ask everything.

        Args:   mark: a file; the first probe leaves a retained message and writes its topic there, a later one, after
                a restart of the broker, looks for it.
        Raises: LinkError: nobody accepts us. SettingsError: `mark` is not such a file.
        """
        with self._dialogue("hello") as one:
            one.leave()
        findings = []
        for name, title, need, ask in _QUESTIONS:
            findings.append(self._finding(name, title, need, ask))
            on_finding(findings[-1])
        if mark is not None:
            findings.append(self._finding("restart", "retained messages outlive a restart", "hub", _restart(mark)))
            on_finding(findings[-1])
        return Probe(broker=f"{self._address.host}:{self._address.port}", findings=findings)

    def _finding(self, name: str, title: str, need: Need, ask: Callable[[Prober], _Answer]) -> Finding:
        try:
            answer = ask(self)
        except LinkError as error:
            answer = _Answer(False, str(error))
        return Finding(name=name, title=title, need=need, works=answer.works, detail=answer.detail)

    def _topic(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _dialogue(self, name: str, *, clean: bool = True, will: Will | None = None, level: int = 4) -> Dialogue:
        # At most 23 letters and digits: what every broker must take (MQTT 3.1.1, section 3.1.3.1).
        client_id = "mw" + sha256(f"{self._base}/{name}".encode()).hexdigest()[:16]
        return Dialogue(self._address, client_id, self._patience_s, clean=clean, will=will, level=level)

    # -------------------------------------------------------------------------------------------- what delivery needs

    def qos1(self) -> _Answer:
        """The time is that of one QoS 1 message and its PUBACK, the median of many."""
        times = []
        with self._dialogue("qos1") as one:
            for _ in range(_TRIPS):
                began = time.perf_counter()
                if not one.publish(self._topic("qos1"), b"x"):
                    return _Answer(False, "no PUBACK")
                times.append(time.perf_counter() - began)
        return _Answer(True, f"{statistics.median(times) * 1000:.2g} ms a round trip")

    def retained(self) -> _Answer:
        """A chunk of full size, read twice by somebody who comes later, in the topic's depth that chunks have."""
        topic, payload = self._topic("b/0123456789abcdef/7"), secrets.token_bytes(CHUNK_BYTES)
        with self._dialogue("retained") as one, self._kept(topic, payload):
            for attempt in ("first", "second"):
                one.subscribe(topic)
                came = one.take(topic)
                if came is None:
                    return _Answer(False, f"not delivered at the {attempt} subscription")
                if came.payload != payload or not came.retained:
                    what = f"{len(came.payload)} bytes" if came.payload != payload else "without its retain flag"
                    return _Answer(False, f"delivered as {what}")
                one.unsubscribe(topic)
        return _Answer(True)

    def four_at_once(self) -> _Answer:
        """Four retained messages asked for in one SUBSCRIBE."""
        topics = {self._topic(f"four/{i}"): bytes([i]) * CHUNK_BYTES for i in range(4)}
        with contextlib.ExitStack() as stack:
            for topic, payload in topics.items():
                stack.enter_context(self._kept(topic, payload))
            one = stack.enter_context(self._dialogue("four"))
            one.subscribe(*topics)
            got = one.take_many(topics)
            return _Answer(got == topics, "" if got == topics else f"{len(got)} of 4 came")

    def cleared(self) -> _Answer:
        """An empty payload removes what was retained."""
        topic = self._topic("cleared")
        with self._dialogue("cleared-w") as writer, self._dialogue("cleared-r") as reader:
            writer.publish(topic, b"x", retain=True)
            writer.publish(topic, b"", retain=True)
            reader.subscribe(topic)
            came = reader.take(topic, self._patience_s / 2)
            return _Answer(came is None, "" if came is None else "still delivered")

    def replaced(self) -> _Answer:
        """The newest retained message of a topic is the one that counts, and live subscribers see it at once."""
        topic = self._topic("replaced")
        with self._dialogue("replaced") as one, self._kept(topic, b"old"):
            one.subscribe(topic)
            first = one.take(topic)
            with self._kept(topic, b"new"), self._dialogue("replaced-late") as late:
                second = one.take(topic)
                late.subscribe(topic)
                third = late.take(topic)
        got = [came.payload.decode(errors="replace") if came is not None else None for came in (first, second, third)]
        return _Answer(got == ["old", "new", "new"], "" if got == ["old", "new", "new"] else f"came: {got}")

    def seven_slashes(self) -> _Answer:
        """Topics as deep as the contract ever goes."""
        topic = "/".join([*self._base.split("/"), "a", "b", "c", "d", "e"])[:200]
        with self._dialogue("deep") as one:
            one.subscribe(topic)
            one.publish(topic, b"x")
            return _Answer(one.take(topic) is not None, f"{topic.count('/')} slashes")

    def will(self) -> _Answer:
        """A connection that is cut: the will reaches who listens, and stays, retained, for who comes later."""
        topic = self._topic("will")
        with self._dialogue("will-r") as reader:
            reader.subscribe(topic)
            dying = self._dialogue("will-w", will=Will(topic, b"gone"))
            dying.cut()
            came = reader.take(topic)
            with self._dialogue("will-late") as late:
                late.subscribe(topic)
                stayed = late.take(topic)
            reader.publish(topic, b"", retain=True)
        if came is None:
            return _Answer(False, "not published")
        return _Answer(stayed is not None, "" if stayed is not None else "published, but not retained")

    # ------------------------------------------------------------------------------------------------ what the hub uses

    def wildcard_retained(self) -> _Answer:
        """The hub asks for all states with `+`, and wants those that were there before."""
        topic = self._topic("wild/one/st")
        with self._dialogue("wild") as one, self._kept(topic, b"x"):
            one.subscribe(self._topic("wild/+/+"))
            came = one.take(topic)
            live = one.publish(self._topic("wild/two/st"), b"y") and one.take(self._topic("wild/two/st")) is not None
        if came is None:
            return _Answer(False, f"only exact topics; live messages by wildcard: {'yes' if live else 'no'}")
        return _Answer(live, "" if live else "retained ones came, live ones did not")

    def session(self) -> _Answer:
        """A session that is kept gets what came while its client was away: commands wait."""
        return self._queue(1)

    def queue(self) -> _Answer:
        """How many wait. A broker acknowledges what it drops, so only the end of the line can tell."""
        return self._queue(_QUEUED)

    def _queue(self, count: int) -> _Answer:
        topic, name = self._topic(f"queue{count}"), f"queue{count}"
        with self._dialogue(name, clean=False) as one:
            one.subscribe(topic)
            one.leave()
        with self._dialogue(f"{name}-w") as writer:
            acknowledged = sum(writer.publish(topic, index.to_bytes(4, "big")) for index in range(count))
        with self._dialogue(name, clean=False) as one:
            came = one.count(count, self._patience_s)
            one.unsubscribe(topic)
        with self._dialogue(name) as one:
            one.leave()  # a clean session removes the kept one
        detail = f"{came:,} of {count:,} came, {acknowledged:,} had a PUBACK" if count > 1 else ""
        return _Answer(came == count, detail)

    def largest(self) -> _Answer:
        """The largest retained message that comes back whole. An alarm with its evidence may have 4 MiB."""
        good = 0
        for size in _SIZES:
            topic, payload = self._topic(f"large/{size}"), secrets.token_bytes(size)
            try:
                with self._dialogue(f"large{size}") as one, self._kept(topic, payload):
                    one.subscribe(topic)
                    came = one.take(topic)
            except LinkError:
                break
            if came is None or came.payload != payload:
                break
            good = size
        more = "" if good < _SIZES[-1] else " or more"
        return _Answer(good >= 4 * 2**20, f"{_size(good)}{more}")

    # --------------------------------------------------------------------------------------------------- extras

    def share(self) -> _Answer:
        """Two members of one group, many messages: each must come to exactly one of them, and both must get some."""
        topic = self._topic("share")
        with self._dialogue("share-a") as a, self._dialogue("share-b") as b, self._dialogue("share-w") as writer:
            granted = [one.subscribe(f"$share/probe/{topic}") for one in (a, b)]
            if any(answer is None or _REFUSED in answer for answer in granted):
                return _Answer(False, "refused")
            for _ in range(20):
                writer.publish(topic, b"x")
            counts = [one.count(20, self._patience_s / 4) for one in (a, b)]
        if counts == [0, 0]:
            return _Answer(False, "granted, then silent")
        return _Answer(sum(counts) == 20 and min(counts) > 0, f"{counts[0]} + {counts[1]} of 20")

    def mqtt5(self) -> _Answer:
        """A CONNECT of MQTT 5."""
        with self._dialogue("five", level=5):
            return _Answer(True)

    # --------------------------------------------------------------------------------------------------- helpers

    @contextlib.contextmanager
    def _kept(self, topic: str, payload: bytes) -> Iterator[None]:
        """A retained message, cleared afterwards."""
        name = sha256(topic.encode() + payload[:64]).hexdigest()[:12]
        with self._dialogue(f"{name}-set") as one:
            if not one.publish(topic, payload, retain=True):
                raise LinkError(f"{topic}: no PUBACK for {len(payload)} bytes")
        try:
            yield
        finally:
            with self._dialogue(f"{name}-clear") as one:
                one.publish(topic, b"", retain=True)


class _Mark(msgspec.Struct, frozen=True):
    topic: str
    payload: str


def _restart(mark: Path) -> Callable[[Prober], _Answer]:
    def ask(prober: Prober) -> _Answer:
        if not mark.exists():
            left = _Mark(prober._topic("mark"), secrets.token_hex(16))  # noqa: SLF001 - one of its questions
            with prober._dialogue("mark") as one:  # noqa: SLF001
                one.publish(left.topic, left.payload.encode(), retain=True)
            mark.write_bytes(msgspec.json.encode(left))
            return _Answer(None, f"left a mark; restart the broker, then probe again with {mark.name}")
        try:
            left = msgspec.json.decode(mark.read_bytes(), type=_Mark)
        except (msgspec.DecodeError, OSError) as error:
            raise SettingsError(f"{mark}: expected the mark of an earlier probe: {error}") from error
        with prober._dialogue("mark") as one:  # noqa: SLF001
            one.subscribe(left.topic)
            came = one.take(left.topic)
            one.publish(left.topic, b"", retain=True)
        mark.unlink()
        return _Answer(came is not None and came.payload == left.payload.encode())

    return ask


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB" if count else "under 64 KiB"


_QUESTIONS: tuple[tuple[str, str, Need, Callable[[Prober], _Answer]], ...] = (
    ("qos1", "QoS 1 is acknowledged", "delivery", Prober.qos1),
    ("retained", "a retained chunk of 32 KiB comes at each subscription", "delivery", Prober.retained),
    ("four", "four in one SUBSCRIBE", "delivery", Prober.four_at_once),
    ("replaced", "the newest retained message replaces the older", "delivery", Prober.replaced),
    ("cleared", "an empty payload clears", "delivery", Prober.cleared),
    ("deep", "topics of seven slashes", "delivery", Prober.seven_slashes),
    ("will", "last will, retained", "delivery", Prober.will),
    ("wildcard", "retained messages by wildcard", "hub", Prober.wildcard_retained),
    ("session", "a kept session gets what it missed", "hub", Prober.session),
    ("queue", f"{_QUEUED:,} messages wait in a kept session", "extra", Prober.queue),
    ("largest", "messages of 4 MiB", "hub", Prober.largest),
    ("share", "shared subscriptions", "extra", Prober.share),
    ("mqtt5", "MQTT 5", "extra", Prober.mqtt5),
)


def as_json(probe: Probe) -> str:
    """For a file."""
    return json.dumps(msgspec.to_builtins(probe) | {"delivers": probe.delivers}, indent=1) + "\n"
