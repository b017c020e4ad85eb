"""What is fuzzed: one function per decoder of the network or the stick, the errors that it documents, and good inputs.

The inputs are made by code.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import msgspec
import numpy as np

from cloud_hub.ingest.parse import RejectionError, parse
from models.bundle.archive import read_bundle
from models.bundle.manifest import decode_manifest
from models.bundle.metadata import decode_metadata, encode_metadata
from models.bundle.package import MAGIC, Package, decode_package, encode_package
from models.contract import topics
from models.contract.frames import decode_frame, encode_counts, encode_values
from models.contract.identity import Refused, SignedReply, decode_reply, decode_reply_body
from models.contract.ids import GatewayId
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    BlockBody,
    CaptureChunk,
    Envelope,
    GetBody,
    ReceiptBody,
    ReportCommand,
    Signature,
    TrendBatch,
    WantBody,
    WantedBundle,
    decode,
    decode_command,
    encode,
)
from models.errors import BundleError, ContractError, FrameError, TopicError
from tests.simulators.bundles import make_bundle

GATEWAY = GatewayId("gw-1")
BOOT = "ab" * 8


@dataclass(frozen=True)
class Target:
    """`run` may end in no other way than by returning or by one of `documented`."""

    run: Callable[[bytes], object]
    documented: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]

    def __call__(self, data: bytes) -> bool:
        """Whether it was taken. Raises: whatever is not documented."""
        try:
            self.run(data)
        except self.documented:
            return False
        return True


def _frames() -> list[bytes]:
    ramp = np.arange(24, dtype=np.int16).reshape(8, 3)
    rest = {"boot_id": 1, "seq": 2, "clock": 3, "rate_hz": 1000.0}
    return [encode_counts(ramp, 0.1, **rest), encode_values(ramp.astype(np.float32), **rest)]  # type: ignore[arg-type]


def _resealed(data: bytes) -> object:
    """A frame whose checksum fits whatever is in it: else no fuzzer gets past that."""
    body = data[:-4]
    return decode_frame(body + struct.pack("<I", zlib.crc32(body)))


def _up() -> dict[type[topics.Address], bytes]:
    made = {
        topics.State: AgentState(gateway=GATEWAY, boot_id=BOOT, online=True, time_s=1.0),
        topics.Ack: Ack(gateway=GATEWAY, seq=1, slot="s", phase="seen", time_s=1.0),
        topics.Event: AlarmEvent(
            gateway=GATEWAY, boot_id=BOOT, seq=1, alarm="a", kind="raised", verdict="alarm", machine="m", point="p",
            slot="s", bundle_sha256="0" * 64, bundle_version="1", time_s=1.0, score=2.0, peak=2.0,
        ),
        topics.Trend: TrendBatch(gateway=GATEWAY, boot_id=BOOT, seq=1),
        topics.Capture: CaptureChunk(
            gateway=GATEWAY, capture="c", machine="m", point="p", index=0, total=1, rate_hz=1.0, axes=["x"], units="g",
            time_s=1.0, data=bytes(8),
        ),
    }  # fmt: skip
    return {address: encode(message) for address, message in made.items()}


def _want() -> WantBody:
    one = WantedBundle(slot="s", target="s/1-aa.mwb", sha256="0" * 64, length=5, version="1")
    return WantBody(gateway=GATEWAY, seq=1, issued_s=1, expires_s=2, bundles=[one])


@cache
def _bundle() -> bytes:
    return make_bundle()


def _resummed(data: bytes) -> object:
    """A metadata message around any bytes: compressed well, so that what is inside is reached."""
    return decode_metadata(zlib.compress(data, 1), "fuzz")


def _manifest_bytes() -> bytes:
    return read_bundle(_bundle(), "seed").manifest_json.encode()


def _package() -> bytes:
    envelope = encode(Envelope(msgspec.Raw(encode(_want())), [Signature("0" * 64, "00")]))
    metadata = encode_metadata({"1.root.json": b"{}", "timestamp.json": b"{}"})
    return encode_package(Package(metadata=metadata, wants={GATEWAY: envelope}, bundle=_bundle()))


def _unpacked(data: bytes) -> object:
    """A package, and each of its parts by the decoder that it is handed to."""
    package = decode_package(data, "fuzz")
    decode_metadata(package.metadata, "fuzz")
    for want in package.wants.values():
        decode(WantBody, bytes(decode(Envelope, want, "fuzz").signed), "fuzz")
    return read_bundle(package.bundle, "fuzz")


def _topics() -> list[bytes]:
    return [topics.topic_of(one).encode() for one in (topics.State(GATEWAY), topics.Chunk("0" * 64, 7))]


def _topic(data: bytes) -> object:
    return topics.address_of(data.decode("utf-8", "replace"))


def _up_target(address: type[topics.Address]) -> Target:
    topic = topics.topic_of(address(GATEWAY))  # type: ignore[call-arg, arg-type]
    return Target(lambda data: parse(topic, data), (RejectionError,), lambda: [_up()[address]])


TARGETS: dict[str, Target] = {
    "frame": Target(decode_frame, (FrameError,), _frames),
    "frame_resealed": Target(_resealed, (FrameError,), _frames),
    "metadata": Target(
        lambda data: decode_metadata(data, "fuzz"),
        (ContractError,),
        lambda: [encode_metadata({"1.root.json": b"{}", "timestamp.json": b"{}"})],
    ),
    "metadata_inflated": Target(_resummed, (ContractError,), lambda: [msgspec.msgpack.encode({"1.root.json": b"{}"})]),
    "envelope": Target(
        lambda data: decode(Envelope, data, "fuzz"),
        (ContractError,),
        lambda: [encode(Envelope(msgspec.Raw(b"{}"), [Signature("0" * 64, "00")]))],
    ),
    "want": Target(lambda data: decode(WantBody, data, "fuzz"), (ContractError,), lambda: [encode(_want())]),
    "command": Target(
        lambda data: decode_command(data, "fuzz"),
        (ContractError,),
        lambda: [encode(ReportCommand(gateway=GATEWAY, id="a", expires_s=1))],
    ),
    "receipt": Target(
        lambda data: decode(ReceiptBody, data, "fuzz"),
        (ContractError,),
        lambda: [encode(ReceiptBody(events=[(BOOT, 1)]))],
    ),
    "get": Target(
        lambda data: decode(GetBody, data, "fuzz").blocks(),
        (ContractError,),
        lambda: [encode(GetBody(gateway=GATEWAY, sha256="0" * 64, first=3, bitmap=b"\x05"))],
    ),
    "block": Target(
        lambda data: decode(BlockBody, data, "fuzz"),
        (ContractError,),
        lambda: [encode(BlockBody(sha256="0" * 64, index=1, data=b"abc"))],
    ),
    "enrol_reply": Target(
        lambda data: decode_reply(data, "fuzz"),
        (ContractError,),
        lambda: [msgspec.json.encode(SignedReply(signed=msgspec.Raw(b"{}"), signature="00", authority=""))],
    ),
    "enrol_reply_body": Target(
        lambda data: decode_reply_body(data, "fuzz"),
        (ContractError,),
        lambda: [encode(Refused(request_sha256="0" * 64, reason="token_used", text=""))],
    ),
    "manifest": Target(lambda data: decode_manifest(data, "fuzz"), (BundleError,), lambda: [_manifest_bytes()]),
    "bundle": Target(lambda data: read_bundle(data, "fuzz"), (BundleError,), lambda: [_bundle()]),
    "package": Target(_unpacked, (BundleError, ContractError), lambda: [_package()]),
    "package_map": Target(
        lambda data: decode_package(MAGIC + data, "fuzz"), (BundleError,), lambda: [_package().removeprefix(MAGIC)]
    ),
    "topic": Target(_topic, (TopicError,), _topics),
    **{
        f"up_{address.__name__.lower()}": _up_target(address)
        for address in (topics.State, topics.Ack, topics.Event, topics.Trend, topics.Capture)
    },
}
