import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    CaptureChunk,
    CaptureCommand,
    Envelope,
    Message,
    ReceiptBody,
    TrendBatch,
    TrendRow,
    WantBody,
    WantedBundle,
    decode,
    decode_command,
    encode,
)
from models.errors import ContractError, MessageError, SchemaError

BOOT = "0123456789abcdef"
DIGEST = "ab" * 32
WANTED = WantedBundle(slot="s", target="s/1-abcd.mwb", sha256=DIGEST, length=10, version="1")
MESSAGES: list[Message] = [
    AgentState(gateway="g", boot_id=BOOT, online=False, time_s=1.5),
    Ack(gateway="g", seq=3, slot="s", phase="refused", time_s=2.0, reason="digest", detail="expected a, got b"),
    TrendBatch(
        gateway="g",
        boot_id=BOOT,
        seq=1,
        rows=[TrendRow(machine="m", point="p", time_s=1.0, span_s=10.0, windows=4, score_mean=0.5, verdict="ok")],
    ),
    CaptureChunk(
        gateway="g", capture="c", machine="m", point="p", index=0, total=1, rate_hz=8.0, axes=["x"], units="g",
        time_s=1.0, data=b"\x00" * 8,
    ),
    ReceiptBody(events=[(BOOT, 4)], chunks=[("c", 0)]),
    WantBody(gateway="g", seq=1, issued_s=1, expires_s=2, bundles=[WANTED]),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_messages_survive_the_way(message: Message) -> None:
    assert decode(type(message), encode(message), "t") == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_fields_of_a_newer_minor_version_are_passed_over(message: Message) -> None:
    bulk = isinstance(message, TrendBatch | CaptureChunk)
    codec = msgspec.msgpack if bulk else msgspec.json
    document = codec.decode(encode(message))
    document["schema"] = "1.9"
    document["invented_later"] = {"a": [1, 2]}
    assert decode(type(message), codec.encode(document), "t").schema == "1.9"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_another_major_version_is_named_as_such_even_when_nothing_else_fits(message: Message) -> None:
    codec = msgspec.msgpack if isinstance(message, TrendBatch | CaptureChunk) else msgspec.json
    with pytest.raises(SchemaError, match=r"here: \w+ has schema 2.0, this release reads 1.x"):
        decode(type(message), codec.encode({"schema": "2.0", "gateway": 5}), "here")


@given(st.binary(max_size=200), st.sampled_from([AgentState, AlarmEvent, TrendBatch, CaptureChunk, WantBody, Envelope]))
def test_any_bytes_are_a_contract_error(data: bytes, kind: type[Message]) -> None:
    with pytest.raises(ContractError):
        decode(kind, data, "t")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gateway": "a/b"}, r"Expected `str` matching regex .* - at `\$.gateway`"),
        ({"online": "yes"}, r"Expected `bool`, got `str` - at `\$.online`"),
        ({"boot_id": "xyz"}, r"at `\$.boot_id`"),
        ({"slots": [{"slot": "s", "phase": "idle"}] * 17}, r"`array` of length <= 16"),
        ({"time_s": -1}, r">= 0"),
        ({"counters": {"frames": -4}}, r"at `\$.counters"),
        ({"time_s": None}, r"at `\$.time_s`"),
    ],
)
def test_bounds_are_held_and_the_field_is_named(change: dict[str, object], text: str) -> None:
    document = msgspec.json.decode(encode(MESSAGES[0])) | change
    with pytest.raises(MessageError, match=text):
        decode(AgentState, msgspec.json.encode(document), "mw/1/u/3/g/st")


def test_too_long_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MessageError, match="at most 32768 bytes of Envelope, got 40000"):
        decode(Envelope, b" " * 40_000, "t")
    with pytest.raises(MessageError, match="at most 1048576 bytes of TrendBatch"):
        decode(TrendBatch, b"\x00" * (2**20 + 1), "t")


def test_deep_nesting_does_no_harm() -> None:
    with pytest.raises(ContractError):
        decode(AgentState, b"[" * 100_000, "t")


def test_what_is_signed_are_the_bytes_as_they_came() -> None:
    spaced = b'{ "gateway" : "g",  "x":1 }'
    envelope = decode(
        Envelope, b'{"signed":' + spaced + b',"signatures":[{"keyid":"' + b"a" * 64 + b'","sig":"00"}]}', "t"
    )
    assert bytes(envelope.signed).strip() == spaced


def test_commands_are_told_apart_by_type() -> None:
    command = CaptureCommand(gateway="g", id="c-1", expires_s=10, machine="m", point="p", seconds=5)
    assert decode_command(encode(command), "t") == command
    with pytest.raises(MessageError, match="Invalid value 'format_disk'"):
        decode_command(encode(command).replace(b'"capture"', b'"format_disk"'), "t")
    with pytest.raises(MessageError, match="seconds"):
        decode_command(encode(command).replace(b'"seconds":5', b'"seconds":0'), "t")
