"""Attacks through a real Mosquitto on a real agent that runs a model. After each: nothing on the disk has changed, the
model still scores new windows, and the hub has got the reason.

Not compared: what the agent writes at all times whoever attacks it (`_ALWAYS`). An attack with a bundle needs a want
that is signed well: there the records that name it may change as well (`_RECORDS`), but no other file, and what is
active stays.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from cloud_hub.delivery.blocks import BlockService
from cloud_hub.ingest.parse import RejectionError, parse
from cloud_hub.settings import Settings
from cloud_hub.trust.keys import load_signer
from models.bundle.archive import pack_bundle, read_bundle
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import (
    CHUNK_BYTES,
    MAX_METADATA_BYTES,
    Ack,
    AgentState,
    AlarmEvent,
    ReportCommand,
    TrendBatch,
    WantedBundle,
    encode,
)
from models.errors import BundleError
from tests.edge_agent.kit import CALIBRATION, FLEET, GATEWAY, SLOT, Node, bundle_bytes, healthy, manifest
from tests.edge_agent.live import LiveSite, live_site
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.trust import DAY, Forger, sign_envelope

pytestmark = [*KINDS[0].marks, pytest.mark.slow]

_ALWAYS = ("status.json", "outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm")
_RECORDS = ("orders.json", f"slots/{SLOT}/slot.json", "time_floor", "signed_time.json")
METADATA = topics.topic_of(topics.Metadata(FLEET))
WANT = topics.topic_of(topics.Want(GATEWAY))
COMMAND = topics.topic_of(topics.Command(GATEWAY))
RECEIPT = topics.topic_of(topics.Receipt(GATEWAY))
ESCAPED = "/var/tmp/millwright-escaped"  # noqa: S108 - a path that must not come into being
JUNK = bytes(range(256)) * (5 * 2**20 // 256)


class Victim:
    """One gateway in full operation."""

    def __init__(self, site: LiveSite) -> None:
        self.site = site
        self.node = Node()
        self.obeyed = 0
        self.numbers = iter(range(1, 10_000))
        site.start()
        site.await_(AgentState, lambda state: state.online and state.time_s > 0)
        self.wanted = site.publish_bundle(bundle_bytes())
        self.old = site.fleet.repository.metadata_bundle()
        site.want(self.wanted)
        site.await_(Ack, lambda ack: ack.phase == "active")
        site.feed(CALIBRATION + 8, healthy, self.node, pace_s=0.08)  # a tick each: some more confirm it
        site.await_(Ack, lambda ack: ack.phase == "confirmed")
        site.publish_bundle(bundle_bytes("1.1.0"))  # so that there is something to roll back
        self.site.want(self.wanted)  # so that there is an older want to replay, whichever test comes first
        self.windows = self.report()

    @property
    def good(self) -> bytes:
        return self.site.fleet.repository.metadata_bundle()

    def report(self) -> int:
        """How many windows were scored, by the agent's word."""
        self.site.forget()
        self.provoke()
        state = self.site.await_(
            AgentState,
            lambda one: one.want_seq == self.site.seq and one.counters.get("commands.obeyed", 0) > self.obeyed,
        )
        self.obeyed = state.counters["commands.obeyed"]
        assert state.slots[0].active_sha256 == self.wanted.sha256
        return state.points[0].windows

    def provoke(self) -> None:
        """A genuine command: to verify it, the agent has to look at the metadata."""
        body = ReportCommand(gateway=GATEWAY, id=f"report-{next(self.numbers)}", expires_s=int(time.time()) + 600)
        self.site.order(body)

    def disk(self, *besides: str) -> dict[str, str]:
        root, digests = self.site.state_dir, {}
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_file() and name not in (*_ALWAYS, *besides) and not path.name.startswith("."):
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return digests

    def heal(self) -> None:
        """The hub publishes what is true again."""
        self.site.publish(METADATA, self.good, retain=True)
        self.site.want(self.wanted)

    def survives(self, attack: Callable[[], None], reason: str, *besides: str) -> Ack:
        before = self.disk(*besides)
        windows = self.windows
        self.site.forget()
        attack()
        ack = self.site.await_(Ack, lambda one: one.reason == reason)
        assert ack.phase == "refused"
        assert ack.detail
        self.site.feed(5, healthy, self.node)
        assert self.disk(*besides) == before
        self.heal()
        self.windows = self.report()
        assert self.windows >= windows + 5, "the model has stopped scoring"
        return ack

    def survives_metadata(self, message: bytes, reason: str) -> Ack:
        def attack() -> None:
            self.site.publish(METADATA, message, retain=True)
            if 0 < len(message) <= MAX_METADATA_BYTES:  # else it is refused unseen, and what was there counts
                self.provoke()

        return self.survives(attack, reason)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    folder = tmp_path_factory.mktemp("attacks")
    with running_broker("mosquitto", folder) as port, live_site(folder, port) as site:
        yield Victim(site)


def flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


# ------------------------------------------------------------------------------------------------- metadata


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        lambda good: good[:-9],
        lambda _: JUNK,
        lambda _: b"\0",
        lambda _: zlib.compress(bytes(200 * 2**20), 9)[:32_000],
        lambda _: zlib.compress(bytes(20 * 2**20), 9),
    ],
    ids=["flipped-bit", "truncated", "5-MB-of-junk", "one-byte", "bomb-cut", "bomb"],
)
def test_metadata_that_are_none(victim: Victim, change: Callable[[bytes], bytes]) -> None:
    victim.survives_metadata(change(victim.good), "metadata_format")


def test_told_at_once(victim: Victim) -> None:
    """No want and no command makes the agent look: new metadata are verified when they come."""
    victim.survives(lambda: victim.site.publish(METADATA, flipped(victim.good), retain=True), "metadata_format")


def test_rollback(victim: Victim) -> None:
    victim.survives_metadata(victim.old, "metadata_rollback")


def resigned(victim: Victim, change: Callable[[Metadata], None], role: str, *signers: CryptoSigner) -> Forger:
    forger = Forger(victim.good)
    metadata = forger.load(role)
    change(metadata)
    forger.put(role, metadata, *(signers or (victim.site.fleet.signer(role),)))
    return forger


def test_freeze(victim: Victim) -> None:
    """The hub's own timestamp, of a time that is over."""

    def age(metadata: Metadata) -> None:
        metadata.signed.version += 1
        metadata.signed.expires = datetime.fromtimestamp(int(time.time() - DAY), UTC)

    before = victim.disk()
    forged = resigned(victim, age, "timestamp").message()
    victim.survives_metadata(forged, "metadata_expired")
    assert set(before) == set(victim.disk())


def test_mix_and_match(victim: Victim) -> None:
    old, mixed = Forger(victim.old), Forger(victim.good)
    mixed.files[mixed.newest("targets")] = old.files[old.newest("targets")]
    # A gateway that has the targets does not look at them again; make it need the file.
    victim.site.fleet.add(bundle_bytes(f"1.2.{next(victim.numbers)}"))
    fresh = Forger(victim.good)
    fresh.files[fresh.newest("targets")] = old.files[old.newest("targets")]
    victim.survives_metadata(fresh.message(), "metadata_signature")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_wrong_key(victim: Victim, role: str) -> None:
    """The keys of the outer roles are stolen, so that every digest fits."""
    victim.site.fleet.add(bundle_bytes(f"1.3.{next(victim.numbers)}"))

    def newer(metadata: Metadata) -> None:
        metadata.signed.version += 1

    forger = resigned(victim, newer, role, CryptoSigner.generate_ed25519())
    signer = victim.site.fleet.signer
    if role == "targets":
        forger.align(snapshot=signer("snapshot"), timestamp=signer("timestamp"))
    elif role == "snapshot":
        forger.align(snapshot=None, timestamp=signer("timestamp"))
    victim.survives_metadata(forger.message(), "metadata_signature")


def test_wrong_key_for_the_root(victim: Victim) -> None:
    forger = Forger(victim.good)
    root = forger.load("root")
    root.signed.version += 1
    root.signatures.clear()
    root.sign(CryptoSigner.generate_ed25519())
    forger.files[f"{root.signed.version}.root.json"] = root.to_bytes()
    victim.survives_metadata(forger.message(), "metadata_signature")


def test_root_that_leaves_a_gap(victim: Victim) -> None:
    forger = Forger(victim.good)
    root = forger.load("root")
    root.signed.version += 2
    root.sign(load_signer(victim.site.folder / "safe" / "root-1.pem"))
    forger.files = {n: d for n, d in forger.files.items() if not n.endswith(".root.json")}
    forger.files[f"{root.signed.version}.root.json"] = root.to_bytes()
    victim.survives_metadata(forger.message(), "metadata_root_gap")


# ------------------------------------------------------------------------------------------- wants, commands


def genuine(victim: Victim, **changes: object) -> bytes:
    victim.site.seq += 1
    body = victim.site.fleet.want(victim.wanted, gateway=GATEWAY, seq=victim.site.seq)
    return encode(msgspec.structs.replace(body, **changes))


def test_want_with_a_flipped_bit(victim: Victim) -> None:
    envelope = sign_envelope(genuine(victim), victim.site.fleet.signer("director"))
    at = envelope.index(b'"seq":') + 6
    other = envelope[:at] + (b"9" if envelope[at : at + 1] != b"9" else b"8") + envelope[at + 1 :]
    victim.survives(lambda: victim.site.publish(WANT, other, retain=True), "want_signature")


@pytest.mark.parametrize("cut", [lambda e: e[:-3], lambda _: JUNK, lambda _: b"{}"], ids=["truncated", "junk", "empty"])
def test_want_that_is_none(victim: Victim, cut: Callable[[bytes], bytes]) -> None:
    envelope = sign_envelope(genuine(victim), victim.site.fleet.signer("director"))
    victim.survives(lambda: victim.site.publish(WANT, cut(envelope), retain=True), "want_format")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "stranger"])
def test_want_signed_by_another_role(victim: Victim, role: str) -> None:
    signer = CryptoSigner.generate_ed25519() if role == "stranger" else victim.site.fleet.signer(role)
    envelope = sign_envelope(genuine(victim), signer)
    victim.survives(lambda: victim.site.publish(WANT, envelope, retain=True), "want_signature")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seq": 1}, "want_replayed"),
        ({"gateway": "gw-2"}, "want_foreign"),
        ({"expires_s": 1_700_000_000}, "want_expired"),
        ({"issued_s": 10**11, "expires_s": 10**11}, "want_format"),
    ],
    ids=["replayed", "foreign", "expired", "clock-into-the-future"],
)
def test_want_that_is_not_for_here_and_now(victim: Victim, changes: dict[str, object], reason: str) -> None:
    envelope = sign_envelope(genuine(victim, **changes), victim.site.fleet.signer("director"))
    victim.survives(lambda: victim.site.publish(WANT, envelope, retain=True), reason)


@pytest.mark.parametrize("topic", [COMMAND, RECEIPT], ids=["command", "receipt"])
def test_junk_on_other_topics(victim: Victim, topic: str) -> None:
    what = "command" if topic == COMMAND else "receipt"
    victim.survives(lambda: victim.site.publish(topic, JUNK), f"{what}_format")


def test_command_for_another_gateway(victim: Victim) -> None:
    body = ReportCommand(gateway="gw-2", id="foreign", expires_s=int(time.time()) + 600)
    victim.survives(lambda: victim.site.order(body), "command_foreign")


# ----------------------------------------------------------------------------------------------- bundles


def published(victim: Victim, data: bytes, served: bytes | None = None, **fields: object) -> WantedBundle:
    """Signed for, and in chunks on the broker; `served` is what lies there instead."""
    sha256 = hashlib.sha256(data).hexdigest()
    version = read_version(data) or f"2.0.{next(victim.numbers)}"
    facts = msgspec.structs.replace(manifest(), version=version)
    target = victim.site.fleet.repository.add_bundle(facts, sha256, len(data), time.time())
    wanted = WantedBundle(slot=SLOT, target=target, sha256=sha256, length=len(data), version=version)
    lying = data if served is None else served
    for index, start in enumerate(range(0, len(lying), CHUNK_BYTES)):
        topic = topics.topic_of(topics.Chunk(sha256, index))
        victim.site.publish(topic, lying[start : start + CHUNK_BYTES], retain=True)
    victim.site.publish_metadata()
    return msgspec.structs.replace(wanted, **fields)


def read_version(data: bytes) -> str | None:
    try:
        return read_bundle(data, "test").manifest.version
    except BundleError:
        return None


def survives_bundle(victim: Victim, wanted: WantedBundle, reason: str) -> None:
    trusted = [f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")]
    victim.survives(lambda: victim.site.want(wanted), reason, *_RECORDS, *trusted)


def test_poisoned_chunk(victim: Victim, tmp_path: Path) -> None:
    """Broker and hub both give the wrong bytes, so that asking the hub to mend the file does not help either."""
    data = bundle_bytes("3.0.0", padding=50_000)
    settings = Settings(home=tmp_path, fleet=FLEET, broker_port=victim.site.port)
    settings.bundles_dir.mkdir(parents=True)
    (settings.bundles_dir / f"{hashlib.sha256(data).hexdigest()}.mwb").write_bytes(flipped(data))
    liar = BlockService(settings)
    liar.start()
    try:
        assert liar.listening(10.0)
        survives_bundle(victim, published(victim, data, flipped(data)), "target_digest")
        assert liar.desk.counters["sent"] > 0
    finally:
        liar.stop()


def test_bundle_for_other_axes(victim: Victim) -> None:
    other = msgspec.structs.replace(manifest("3.1.0"), input=msgspec.structs.replace(manifest().input, units="g"))
    members = {name: data for name, data in members_of(bundle_bytes()).items() if name != "manifest.json"}
    survives_bundle(victim, published(victim, pack_bundle(other, members)), "mismatch")


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {one.name: archive.extractfile(one) for one in archive.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def tar_of(*entries: tuple[str, bytes, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type = (len(content) if kind == tarfile.REGTYPE else 0), kind
            info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    "trick", ["absolute", "dotdot", "symlink", "hardlink", "duplicate", "extra", "truncated", "junk"]
)
def test_archive_tricks(victim: Victim, trick: str) -> None:
    """All of it signed by the holder of the targets key: even then the archive can do no harm."""
    good = members_of(bundle_bytes())
    listed = [(name, data, tarfile.REGTYPE) for name, data in good.items()]
    made = {
        "absolute": lambda: tar_of((ESCAPED, b"x", tarfile.REGTYPE), *listed),
        "dotdot": lambda: tar_of(*listed[:1], ("../../escaped", b"x", tarfile.REGTYPE), *listed[1:]),
        "symlink": lambda: tar_of(*listed[:1], ("model.tflite", b"", tarfile.SYMTYPE), *listed[2:]),
        "hardlink": lambda: tar_of(*listed[:1], ("model.tflite", b"", tarfile.LNKTYPE), *listed[2:]),
        "duplicate": lambda: tar_of(*listed[:2], *listed[1:]),
        "extra": lambda: tar_of(*listed, ("more.txt", b"x", tarfile.REGTYPE)),
        "truncated": lambda: bundle_bytes()[:-1500],
        "junk": lambda: bytes(range(256)) * 400,
    }[trick]()
    survives_bundle(victim, published(victim, made), "format")
    assert not Path(ESCAPED).exists()


def test_scores_that_do_not_come_out(victim: Victim) -> None:
    """Well packed and signed, but it is not the network that the hub has tested."""
    survives_bundle(victim, published(victim, bundle_bytes("3.2.0", wrong_scores=True)), "replay")


def test_want_that_contradicts_the_repository(victim: Victim) -> None:
    data = bundle_bytes("3.3.0", padding=200)
    wanted = published(victim, data)
    other = bundle_bytes("3.4.0")
    for index, start in enumerate(range(0, len(other), CHUNK_BYTES)):
        topic = topics.topic_of(topics.Chunk(hashlib.sha256(other).hexdigest(), index))
        victim.site.publish(topic, other[start : start + CHUNK_BYTES], retain=True)
    forged = msgspec.structs.replace(wanted, sha256=hashlib.sha256(other).hexdigest(), length=len(other))
    survives_bundle(victim, forged, "target_digest")


# --------------------------------------------------------------------------------------- another gateway's word


@pytest.mark.parametrize("kind", [Ack, AgentState, AlarmEvent, TrendBatch], ids=lambda kind: kind.__name__)
def test_hub_takes_nobodys_word_for_another(victim: Victim, kind: type) -> None:
    """What gw-2 may publish under its own topic, says it is from gw-1."""
    boot = "ab" * 8
    made = {
        Ack: Ack(gateway=GATEWAY, seq=1, slot=None, phase="idle", time_s=1.0),
        AgentState: AgentState(gateway=GATEWAY, boot_id=boot, online=True, time_s=1.0),
        AlarmEvent: AlarmEvent(
            gateway=GATEWAY, boot_id=boot, seq=1, alarm="a", kind="raised", verdict="alarm", machine="m", point="p",
            slot="s", bundle_sha256="0" * 64, bundle_version="1", time_s=1.0, score=2.0, peak=2.0,
        ),
        TrendBatch: TrendBatch(gateway=GATEWAY, boot_id=boot, seq=1),
    }[kind]  # fmt: skip
    address = {Ack: topics.Ack, AgentState: topics.State, AlarmEvent: topics.Event, TrendBatch: topics.Trend}[kind]
    with pytest.raises(RejectionError, match="expected a message of gw-2, got one of gw-1") as caught:
        parse(topics.topic_of(address(GatewayId("gw-2"))), encode(made))
    assert caught.value.reason == "gateway"
    assert parse(topics.topic_of(address(GATEWAY)), encode(made)) == made
