"""Wants, commands and bundles: the right reason each time; and the worker as a process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from edge_agent.errors import TrustError
from edge_agent.trust import TrustStore
from models.contract.messages import (
    CaptureCommand,
    Envelope,
    RecalibrateCommand,
    ReportCommand,
    WantBody,
    WantedBundle,
    encode,
)
from tests.simulators.bundles import make_bundle
from tests.simulators.trust import DAY, NOW, Fleet, Forger, sign_envelope

pytestmark = pytest.mark.slow  # starts a process for every question

ONE, TWO, FAN = make_bundle(), make_bundle(version="2.0.0", seed=8), make_bundle(slot="fan-vibration")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def verify(fleet: Fleet, envelope: bytes, last_seq: int = 0, now_s: float = NOW) -> WantBody:
    return fleet.store.verify_want(fleet.repository.metadata_bundle(), envelope, "gw-1", last_seq, now_s)


def refused(fleet: Fleet, envelope: bytes, reason: str, text: str, last_seq: int = 0, now_s: float = NOW) -> None:
    verify(fleet, fleet.repository.sign_want(fleet.want(seq=1)))
    before = fleet.on_disk()
    with pytest.raises(TrustError, match=text) as caught:
        verify(fleet, envelope, last_seq, now_s)
    assert caught.value.reason == reason, str(caught.value)
    assert fleet.on_disk() == before


# ------------------------------------------------------------------------------------------------------- wants


def test_want(fleet: Fleet):
    want = fleet.want(fleet.add(ONE), fleet.add(FAN), seq=10)
    envelope = fleet.repository.sign_want(want)
    assert verify(fleet, envelope) == want
    assert verify(fleet, envelope, last_seq=9) == want
    assert verify(fleet, envelope, last_seq=10) == want, "a broker redelivers what it retains"


def test_want_replayed(fleet: Fleet):
    envelope = fleet.repository.sign_want(fleet.want(seq=10))
    refused(fleet, envelope, "want_replayed", "seq 10 is older than 11", last_seq=11)


def test_want_foreign(fleet: Fleet):
    envelope = fleet.repository.sign_want(fleet.want(gateway="gw-2"))
    refused(fleet, envelope, "want_foreign", "for gateway gw-2, this is gw-1")


def test_want_expired(fleet: Fleet):
    envelope = fleet.repository.sign_want(fleet.want(expires_in_s=60))
    text = r"expired at 2027-01-15T08:01:00Z, it is 2027-01-15T08:01:00Z"
    refused(fleet, envelope, "want_expired", text, now_s=NOW + 60)


def test_want_expired_for_a_clock_that_was_set_back(fleet: Fleet):
    envelope = fleet.repository.sign_want(fleet.want(expires_in_s=DAY))
    verify(fleet, fleet.repository.sign_want(fleet.want(expires_in_s=5 * DAY)), now_s=NOW + 2 * DAY)
    with pytest.raises(TrustError) as caught:
        verify(fleet, envelope, now_s=NOW)
    assert caught.value.reason == "want_expired"


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "stranger"])
def test_want_signed_by_another_key(fleet: Fleet, role: str):
    signer = CryptoSigner.generate_ed25519() if role == "stranger" else fleet.signer(role)
    refused(fleet, sign_envelope(encode(fleet.want()), signer), "want_signature", "director was signed by 0/1 keys")


def test_want_changed_after_signing(fleet: Fleet):
    envelope = fleet.repository.sign_want(fleet.want(seq=10))
    refused(fleet, envelope.replace(b'"seq":10', b'"seq":11'), "want_signature", "signed by 0/1")
    refused(fleet, envelope.replace(b'"seq":10', b'"seq": 10'), "want_signature", "signed by 0/1")


def test_signature_under_the_key_id_of_the_director(fleet: Fleet):
    body = encode(fleet.want())
    opened = msgspec.json.decode(sign_envelope(body, CryptoSigner.generate_ed25519()), type=Envelope)
    forged = [msgspec.structs.replace(opened.signatures[0], keyid=fleet.signer("director").public_key.keyid)]
    refused(fleet, encode(msgspec.structs.replace(opened, signatures=forged)), "want_signature", "signed by 0/1")


def test_one_good_signature_among_bad_ones_is_enough(fleet: Fleet):
    want = fleet.want()
    assert verify(fleet, sign_envelope(encode(want), CryptoSigner.generate_ed25519(), fleet.signer("director"))) == want


@pytest.mark.parametrize("sig", ["00", "ab" * 64, "abc", "f" * 1023])
def test_absurd_signatures(fleet: Fleet, sig: str):
    keyid = fleet.signer("director").public_key.keyid
    envelope = b'{"signed":{},"signatures":[{"keyid":"%s","sig":"%s"}]}' % (keyid.encode(), sig.encode())
    refused(fleet, envelope, "want_signature", "want: not signed by this fleet's director")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "not a valid WantBody"),
        (b"[]", "not a valid WantBody"),
        (b'"x"', "not a valid WantBody"),
        (b'{"schema":"2.0","type":"want"}', r"schema 2\.0, this release reads 1\.x"),
        (b'{"type":"report","gateway":"gw-1","id":"a","expires_s":9}', "Invalid value 'report'"),
    ],
)
def test_signed_but_not_a_want(fleet: Fleet, body: bytes, text: str):
    refused(fleet, sign_envelope(body, fleet.signer("director")), "want_format", text)


def test_targets_metadata_signed_by_the_director_is_no_want(fleet: Fleet):
    """One key, one purpose: what it signs for one cannot be passed off as another."""
    document = Forger(fleet.repository.metadata_bundle()).load("targets")
    refused(fleet, sign_envelope(document.signed_bytes, fleet.signer("director")), "want_format", "WantBody")


@pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff", b"[" * 30_000, b'{"signed":{},"signatures":[]}'])
def test_not_an_envelope(fleet: Fleet, envelope: bytes):
    refused(fleet, envelope, "want_format", "want: not a valid Envelope")


def test_want_too_long(fleet: Fleet):
    refused(fleet, bytes(5 * 2**20), "want_format", "expected at most 32768 bytes, got 5242880")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("fuzz"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 500), byte=st.integers(0, 255))
def test_any_changed_byte_of_an_envelope(shared: Fleet, at: int, byte: int):
    want = shared.want()
    envelope = bytearray(shared.repository.sign_want(want))
    envelope[at % len(envelope)] = byte
    try:
        assert verify(shared, bytes(envelope)) == want
    except TrustError as error:
        assert error.reason in {"want_format", "want_signature"}  # noqa: PT017 - either outcome is right


# ---------------------------------------------------------------------------------------------------- commands

COMMANDS = [
    CaptureCommand(gateway="gw-1", id="c1", expires_s=int(NOW + 60), machine="P-101", point="DE", seconds=5),
    RecalibrateCommand(gateway="gw-1", id="c2", expires_s=int(NOW + 60), machine="P-101", point="DE"),
    ReportCommand(gateway="gw-1", id="c3", expires_s=int(NOW + 60)),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(fleet: Fleet, command):
    metadata = fleet.repository.metadata_bundle()
    envelope = fleet.repository.sign_command(command)
    assert fleet.store.verify_command(metadata, envelope, "gw-1", NOW) == command
    before = fleet.on_disk()
    for gateway, now_s, payload, reason in (
        ("gw-2", NOW, envelope, "command_foreign"),
        ("gw-1", NOW + 60, envelope, "command_expired"),
        ("gw-1", NOW, sign_envelope(encode(command), fleet.signer("targets")), "command_signature"),
        ("gw-1", NOW, fleet.repository.sign_want(fleet.want()), "command_format"),
        ("gw-1", NOW, b"nonsense", "command_format"),
        ("gw-1", NOW, bytes(40_000), "command_format"),
    ):
        with pytest.raises(TrustError) as caught:
            fleet.store.verify_command(metadata, payload, gateway, now_s)
        assert caught.value.reason == reason
        assert str(caught.value).startswith("command: ")
    assert fleet.on_disk() == before


# ----------------------------------------------------------------------------------------------------- bundles


def install(fleet: Fleet, wanted: WantedBundle, part: Path) -> Path:
    destination = fleet.gateway / "bundles" / f"{wanted.sha256}.mwb"
    fleet.store.verify_bundle(fleet.repository.metadata_bundle(), wanted, part, destination, NOW)
    return destination


def not_installed(fleet: Fleet, wanted: WantedBundle, data: bytes, reason: str, text: str, *, kept: bool) -> None:
    verify(fleet, fleet.repository.sign_want(fleet.want()))
    before = fleet.on_disk()
    part = fleet.part(data)
    with pytest.raises(TrustError, match=text) as caught:
        install(fleet, wanted, part)
    assert caught.value.reason == reason, str(caught.value)
    assert part.exists() == kept
    part.unlink(missing_ok=True)
    assert fleet.on_disk() == before


def test_bundle(fleet: Fleet):
    wanted = fleet.add(ONE)
    part = fleet.part(ONE)
    destination = install(fleet, wanted, part)
    assert destination.read_bytes() == ONE
    assert not part.exists()


def test_flipped_bit(fleet: Fleet):
    wanted = fleet.add(ONE)
    data = ONE[:5000] + bytes([ONE[5000] ^ 1]) + ONE[5001:]
    not_installed(fleet, wanted, data, "target_digest", r"part: Observed hash .* does not match", kept=False)


def test_short_part_may_be_resumed_and_long_part_not(fleet: Fleet):
    wanted = fleet.add(ONE)
    not_installed(fleet, wanted, ONE[:-1], "target_length", f"expected {len(ONE)} bytes, got {len(ONE) - 1}", kept=True)
    not_installed(fleet, wanted, ONE + b"x", "target_length", f"got {len(ONE) + 1}", kept=False)


def test_part_missing_or_a_link(fleet: Fleet, tmp_path: Path):
    wanted = fleet.add(ONE)
    with pytest.raises(TrustError, match="got no file") as caught:
        install(fleet, wanted, fleet.gateway / "none.part")
    assert caught.value.reason == "target_length"
    real = tmp_path / "elsewhere"
    real.write_bytes(ONE)
    link = fleet.gateway / "link.part"
    link.symlink_to(real)
    with pytest.raises(TrustError, match="got no file"):
        install(fleet, wanted, link)
    assert real.read_bytes() == ONE


def test_bundle_that_the_repository_does_not_know(fleet: Fleet):
    wanted = WantedBundle(
        slot="pump-vibration",
        target="pump-vibration/9.9.9-00000000.mwb",
        sha256=hashlib.sha256(TWO).hexdigest(),
        length=len(TWO),
        version="9.9.9",
    )
    not_installed(fleet, wanted, TWO, "target_unknown", "the repository does not know it", kept=True)


def test_bundle_withdrawn(fleet: Fleet):
    wanted = fleet.add(ONE)
    fleet.repository.remove_bundle(wanted.target, NOW)
    not_installed(fleet, wanted, ONE, "target_unknown", "does not know it", kept=True)


@pytest.mark.parametrize(
    ("change", "reason"), [({"sha256": "0" * 64}, "target_digest"), ({"length": 5}, "target_length")]
)
def test_want_and_repository_disagree(fleet: Fleet, change: dict, reason: str):
    """A stolen director key can only choose among bundles as they were signed."""
    wanted = msgspec.structs.replace(fleet.add(ONE), **change)
    not_installed(fleet, wanted, ONE, reason, "the want has .*, the repository", kept=True)


def test_bundle_of_another_slot(fleet: Fleet):
    wanted = msgspec.structs.replace(fleet.add(FAN), slot="pump-vibration")
    not_installed(fleet, wanted, FAN, "target_unknown", "not for the slot pump-vibration", kept=True)


@pytest.mark.parametrize("slot", ["wants", "pump-vibration"])
def test_director_cannot_vouch_for_a_target_of_its_own(fleet: Fleet, slot: str):
    """Even with the snapshot and timestamp keys, so that its metadata file is part of the whole."""
    from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets

    from cloud_hub.trust.documents import DIRECTOR

    path = "wants/1.0.0-00000000.mwb"
    own = Metadata(Targets(expires=fleet_expiry(fleet)))
    own.signed.targets[path] = TargetFile(len(ONE), {"sha256": hashlib.sha256(ONE).hexdigest()}, path)
    own.sign(fleet.signer(DIRECTOR))
    forger = Forger(fleet.repository.metadata_bundle())
    forger.files["1.director.json"] = own.to_bytes()
    snapshot = forger.load("snapshot")
    snapshot.signed.meta["director.json"] = MetaFile(1)
    forger.put("snapshot", snapshot, fleet.signer("snapshot"))
    forger.align(snapshot=None, timestamp=fleet.signer("timestamp"))
    wanted = WantedBundle(
        slot=slot, target=path, sha256=hashlib.sha256(ONE).hexdigest(), length=len(ONE), version="1.0.0"
    )
    part = fleet.part(ONE)
    with pytest.raises(TrustError, match="not for the slot") as caught:
        fleet.store.verify_bundle(forger.message(), wanted, part, fleet.gateway / "x.mwb", NOW)
    assert caught.value.reason == "target_unknown"
    assert not (fleet.gateway / "x.mwb").exists()


def fleet_expiry(fleet: Fleet):
    return Forger(fleet.repository.metadata_bundle()).load("targets").signed.expires


# ------------------------------------------------------------------------------------------------- the process


def test_in_a_process_of_its_own(fleet: Fleet):
    store = TrustStore(fleet.gateway)
    wanted = fleet.add(ONE)
    want = fleet.want(wanted)
    metadata = fleet.repository.metadata_bundle()
    assert store.verify_want(metadata, fleet.repository.sign_want(want), "gw-1", 0, NOW) == want
    with pytest.raises(TrustError, match="is older than 99") as caught:
        store.verify_want(metadata, fleet.repository.sign_want(want), "gw-1", 99, NOW)
    assert caught.value.reason == "want_replayed"
    assert store.verify_command(metadata, fleet.repository.sign_command(COMMANDS[0]), "gw-1", NOW) == COMMANDS[0]
    destination = fleet.gateway / "b" / "one.mwb"
    store.verify_bundle(metadata, wanted, fleet.part(ONE), destination, NOW)
    assert destination.read_bytes() == ONE


def test_worker_too_slow(fleet: Fleet):
    store = TrustStore(fleet.gateway, timeout_s=0.001)
    with pytest.raises(TrustError, match=r"no answer within 0\.001 s") as caught:
        store.verify_want(fleet.repository.metadata_bundle(), b"{}", "gw-1", 0, NOW)
    assert caught.value.reason == "worker_failed"


def test_worker_crashed(fleet: Fleet):
    (fleet.gateway / "root.json").unlink()
    (fleet.gateway / "root.json").mkdir()
    with pytest.raises(TrustError, match=r"^trust worker: ended with 1: IsADirectoryError") as caught:
        TrustStore(fleet.gateway).verify_want(fleet.repository.metadata_bundle(), b"{}", "gw-1", 0, NOW)
    assert caught.value.reason == "worker_failed"


def test_no_place_for_the_workers_scratch_folder(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    """A full or read-only /tmp costs a question, not the agent."""
    monkeypatch.setattr(tempfile, "tempdir", str(fleet.gateway / "nowhere"))
    with pytest.raises(TrustError, match=r"^trust worker: cannot be started: .*No such file or directory") as caught:
        verify(fleet, fleet.repository.sign_want(fleet.want(seq=1)))
    assert caught.value.reason == "worker_failed"


def test_worker_bounds_its_question():
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.trust_worker"], input=bytes(2**20), capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"expected a question of at most" in done.stderr
    assert not done.stdout


def test_imports_stay_light():
    """The agent never carries TUF or cryptography; the worker carries neither an HTTP client nor numpy."""
    agent = "import sys, edge_agent.trust; print(*[m for m in ('tuf', 'securesystemslib', 'cryptography') if m in sys.modules])"
    worker = (
        "import sys, edge_agent.trust_worker; print(*[m for m in ('urllib3', 'requests', 'numpy') if m in sys.modules])"
    )
    for code in (agent, worker):
        assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b""
