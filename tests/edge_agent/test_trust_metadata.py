"""Metadata under attack: the right reason each time, and what was trusted before stays as it was."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edge_agent import trust_worker
from edge_agent.errors import TrustError
from models.bundle.metadata import decode_metadata, encode_metadata
from tests.simulators.bundles import make_bundle
from tests.simulators.trust import DAY, NOW, Fleet, Forger

ONE, TWO = make_bundle(), make_bundle(version="2.0.0", seed=8)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """A gateway that has once seen good metadata."""
    fleet = Fleet(tmp_path)
    fleet.add(ONE)
    ask(fleet, fleet.repository.metadata_bundle())
    return fleet


def ask(fleet: Fleet, metadata: bytes, now_s: float = NOW) -> None:
    """Any question that needs the metadata."""
    command = fleet.repository.sign_want(fleet.want(seq=10, expires_in_s=5000 * DAY))
    fleet.store.verify_want(metadata, command, "gw-1", 0, now_s)


def refused(fleet: Fleet, metadata: bytes, reason: str, text: str = "^metadata: ", now_s: float = NOW) -> None:
    """Refused with this reason, and nothing on disk has changed."""
    before = fleet.on_disk()
    with pytest.raises(TrustError, match=text) as caught:
        ask(fleet, metadata, now_s)
    assert caught.value.reason == reason, str(caught.value)
    assert fleet.on_disk() == before


def test_good_metadata_is_kept(fleet: Fleet):
    first = fleet.on_disk()
    assert {n for n in first if n.startswith("metadata/")} == {
        "metadata/root_history/1.root.json",
        "metadata/snapshot.json",
        "metadata/targets.json",
        "metadata/timestamp.json",
    }
    ask(fleet, fleet.repository.metadata_bundle())
    assert fleet.on_disk() == first
    fleet.add(TWO)
    ask(fleet, fleet.repository.metadata_bundle())
    assert fleet.on_disk()["metadata/targets.json"] != first["metadata/targets.json"]


def test_flipped_bits_truncation_and_junk(fleet: Fleet):
    good = fleet.repository.metadata_bundle()
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 1
    refused(fleet, bytes(flipped), "metadata_format", "^metadata: ")
    refused(fleet, good[:-7], "metadata_format")
    refused(fleet, b"", "metadata_format")
    refused(fleet, bytes(5 * 2**20), "metadata_format", "expected at most 32768 bytes, got 5242880")
    refused(fleet, zlib.compress(bytes(20 * 2**20), 9), "metadata_format", "inflates to more than")
    refused(fleet, encode_metadata({}), "metadata_format", "the message has no timestamp.json")


def test_foreign_repository(fleet: Fleet, tmp_path: Path):
    other = Fleet(tmp_path / "other")
    refused(fleet, other.repository.metadata_bundle(), "metadata_signature")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_wrong_key_at_each_role(fleet: Fleet, role: str):
    """The attacker holds the keys of the roles above, so that every digest fits."""
    fleet.add(TWO)
    forger = Forger(fleet.repository.metadata_bundle())
    forger.put(role, forger.load(role), CryptoSigner.generate_ed25519())
    if role == "targets":
        forger.align(snapshot=fleet.signer("snapshot"), timestamp=fleet.signer("timestamp"))
    if role == "snapshot":
        forger.align(snapshot=None, timestamp=fleet.signer("timestamp"))
    refused(fleet, forger.message(), "metadata_signature", f"{role} was signed by 0/1 keys")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_edited_without_the_key(fleet: Fleet, role: str):
    fleet.add(TWO)
    forger = Forger(fleet.repository.metadata_bundle())
    metadata = forger.load(role)
    metadata.signed.unrecognized_fields["x"] = "y"
    forger.put(role, metadata)
    refused(fleet, forger.message(), "metadata_signature")


def test_role_in_the_place_of_another(fleet: Fleet):
    forger = Forger(fleet.repository.metadata_bundle())
    forger.files["timestamp.json"] = forger.files[forger.newest("snapshot")]
    refused(fleet, forger.message(), "metadata_format", "Expected 'timestamp', got 'snapshot'")


def test_rollback_of_everything(fleet: Fleet):
    old = fleet.repository.metadata_bundle()
    fleet.add(TWO)
    ask(fleet, fleet.repository.metadata_bundle())
    refused(fleet, old, "metadata_rollback", "timestamp version .* must be >= 3")


def test_rollback_of_the_targets_with_stolen_outer_keys(fleet: Fleet):
    old = Forger(fleet.repository.metadata_bundle())
    fleet.add(TWO)
    ask(fleet, fleet.repository.metadata_bundle())
    forger = Forger(fleet.repository.metadata_bundle())
    forger.put("targets", old.load("targets"))
    for role in ("snapshot", "timestamp"):
        metadata = forger.load(role)
        metadata.signed.version += 1
        forger.put(role, metadata, fleet.signer(role))
    forger.align(snapshot=fleet.signer("snapshot"), timestamp=fleet.signer("timestamp"))
    refused(fleet, forger.message(), "metadata_rollback", "Expected targets.json version")


def test_mix_and_match(fleet: Fleet):
    old = Forger(fleet.repository.metadata_bundle())
    fleet.add(TWO)
    mixed = Forger(fleet.repository.metadata_bundle())
    name = mixed.newest("snapshot")
    mixed.files[name] = old.files[old.newest("snapshot")]
    refused(fleet, mixed.message(), "metadata_signature")
    del mixed.files[name]
    refused(fleet, mixed.message(), "metadata_format", "the message has no 3.snapshot.json")


@pytest.mark.parametrize(("days", "role"), [(8, "timestamp"), (40, "timestamp"), (4000, "root")])
def test_freeze(fleet: Fleet, days: float, role: str):
    refused(fleet, fleet.repository.metadata_bundle(), "metadata_expired", role, now_s=NOW + days * DAY)


def test_expired_inner_role(fleet: Fleet):
    """Timestamp still signed daily, snapshot no longer: a hub with half of its keys lost, or a thief of one."""
    forger = Forger(fleet.repository.metadata_bundle())
    metadata = forger.load("timestamp")
    metadata.signed.version += 1
    metadata.signed.expires = metadata.signed.expires.replace(year=2040)
    forger.put("timestamp", metadata, fleet.signer("timestamp"))
    ask(fleet, forger.message(), now_s=NOW + 20 * DAY)
    refused(fleet, forger.message(), "metadata_expired", "snapshot", now_s=NOW + 31 * DAY)


def test_refresh_by_the_hub_ends_a_freeze(fleet: Fleet):
    later = NOW + 8 * DAY
    assert fleet.repository.refresh(later) == ("timestamp",)
    ask(fleet, fleet.repository.metadata_bundle(), now_s=later)


class PowerCut(BaseException):
    """Nothing in the process can do anything about it."""


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_power_cut_while_keeping(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, fails_at: int):
    """Whatever is on disk then, the same message goes through the next time, and an older one still does not."""
    old = fleet.repository.metadata_bundle()
    fleet.add(TWO)
    new = fleet.repository.metadata_bundle()
    written: list[str] = []
    real = trust_worker.write_atomic

    def failing(path: Path, data: bytes) -> None:
        if len(written) == fails_at:
            raise PowerCut
        written.append(path.name)
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(trust_worker, "write_atomic", failing)
        with pytest.raises(PowerCut):
            ask(fleet, new)
    assert written == ["timestamp.json", "snapshot.json", "targets.json"][:fails_at]
    if fails_at:
        refused(fleet, old, "metadata_rollback")
    ask(fleet, new)
    refused(fleet, old, "metadata_rollback")


# ------------------------------------------------------------------------------------------------------- time


def test_clock_set_back_does_not_revive_what_has_expired(fleet: Fleet):
    old = fleet.repository.metadata_bundle()
    later = NOW + 10 * DAY
    fleet.repository.refresh(later)
    new = fleet.repository.metadata_bundle()
    ask(fleet, new, now_s=later)
    ask(fleet, new, now_s=NOW - 100 * DAY)
    assert fleet.on_disk()["time_floor"] == str(int(later)).encode()
    # Even a gateway that has lost its metadata, but not its floor, knows that it is not last week.
    for name in ("timestamp", "snapshot", "targets"):
        (fleet.gateway / "metadata" / f"{name}.json").unlink()
    refused(fleet, old, "metadata_expired", now_s=NOW)


def test_clock_far_ahead_locks_nobody_out(fleet: Fleet):
    refused(fleet, fleet.repository.metadata_bundle(), "metadata_expired", now_s=NOW + 20_000 * DAY)
    ask(fleet, fleet.repository.metadata_bundle(), now_s=NOW + DAY)


def test_floor_spares_the_flash_and_survives_damage(fleet: Fleet, capfd: pytest.CaptureFixture[str]):
    message = fleet.repository.metadata_bundle()
    floor = fleet.gateway / "time_floor"
    ask(fleet, message, now_s=NOW + 3599)
    assert floor.read_text() == str(int(NOW))
    ask(fleet, message, now_s=NOW + 3600)
    assert floor.read_text() == str(int(NOW + 3600))
    floor.write_text("not a number")
    ask(fleet, message, now_s=NOW + 10)
    assert "expected whole seconds, starting from 0" in capfd.readouterr().err
    assert floor.read_text() == str(int(NOW + 10))


# ------------------------------------------------------------------------------------------------------- root


def rotate_root(fleet: Fleet, *signers: CryptoSigner, message: bytes) -> bytes:
    """The message with a second root, whose timestamp key is a new one."""
    files = decode_metadata(message, "test")
    root: Metadata[Root] = Metadata.from_bytes(files["1.root.json"])
    new = CryptoSigner.generate_ed25519()
    root.signed.version = 2
    root.signed.revoke_key(root.signed.roles["timestamp"].keyids[0], "timestamp")
    root.signed.add_key(new.public_key, "timestamp")
    root.signatures.clear()
    for signer in signers:
        root.sign(signer, append=True)
    timestamp = Metadata.from_bytes(files["timestamp.json"])
    timestamp.sign(new)
    files |= {"2.root.json": root.to_bytes(), "timestamp.json": timestamp.to_bytes()}
    return encode_metadata(files)


def root_signer(fleet: Fleet) -> CryptoSigner:
    from cloud_hub.trust.keys import load_signer

    return load_signer(fleet.folder / "safe" / "root-1.pem")


def test_root_rotation_is_followed_and_cannot_be_undone(fleet: Fleet):
    old = fleet.repository.metadata_bundle()
    ask(fleet, rotate_root(fleet, root_signer(fleet), message=old))
    assert "metadata/root_history/2.root.json" in fleet.on_disk()
    refused(fleet, old, "metadata_signature", "timestamp was signed by 0/1 keys")


def test_new_root_is_kept_even_if_the_rest_is_broken(fleet: Fleet):
    old = fleet.repository.metadata_bundle()
    files = decode_metadata(rotate_root(fleet, root_signer(fleet), message=old), "test")
    before = fleet.on_disk()
    with pytest.raises(TrustError) as caught:
        ask(fleet, encode_metadata(files | {"timestamp.json": b"{}"}))
    assert caught.value.reason == "metadata_format"
    after = fleet.on_disk()
    assert after.pop("metadata/root_history/2.root.json") == files["2.root.json"]
    assert after == before
    refused(fleet, old, "metadata_signature")


def test_root_by_others(fleet: Fleet):
    other = CryptoSigner.generate_ed25519()
    forged = rotate_root(fleet, other, message=fleet.repository.metadata_bundle())
    refused(fleet, forged, "metadata_signature", "root was signed by 0/1 keys")


def test_root_version_skipped(fleet: Fleet):
    message = rotate_root(fleet, root_signer(fleet), message=fleet.repository.metadata_bundle())
    files = decode_metadata(message, "test")
    root = Metadata.from_bytes(files["2.root.json"])
    root.signed.version = 3
    root.sign(root_signer(fleet))
    refused(fleet, encode_metadata(files | {"2.root.json": root.to_bytes()}), "metadata_rollback", "root version 2")


def test_never_enrolled(fleet: Fleet):
    (fleet.gateway / "root.json").unlink()
    refused(fleet, fleet.repository.metadata_bundle(), "root_missing", "it comes with this gateway's enrolment")


# ------------------------------------------------------------------------------------------------------- fuzz


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = Fleet(tmp_path_factory.mktemp("fuzz"))
    fleet.add(ONE)
    ask(fleet, fleet.repository.metadata_bundle())
    fleet.add(TWO)
    return fleet


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_files_give_only_trust_errors(shared: Fleet, data: st.DataObject):
    files = decode_metadata(shared.repository.metadata_bundle(), "fuzz")
    name = data.draw(st.sampled_from(sorted(set(files) - {"1.root.json"})))
    content = bytearray(files[name])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda b: b != content[at]))
    before = shared.on_disk()
    with pytest.raises(TrustError) as caught:
        ask(shared, encode_metadata(files | {name: bytes(content)}))
    assert caught.value.reason.startswith("metadata_")
    assert shared.on_disk() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.text(max_size=5),
            lambda c: st.dictionaries(
                st.sampled_from(["signed", "signatures", "_type", "version", "roles", "expires"]), c, max_size=4
            ),
        ).map(msgspec.json.encode),
    )
)
@pytest.mark.parametrize("role", ["2.root", "timestamp"])
def test_any_file_gives_only_trust_errors(shared: Fleet, role: str, content: bytes):
    files = decode_metadata(shared.repository.metadata_bundle(), "fuzz")
    before = shared.on_disk()
    with pytest.raises(TrustError) as caught:
        ask(shared, encode_metadata(files | {f"{role}.json": content}))
    assert caught.value.reason.startswith("metadata_")
    assert shared.on_disk() == before
