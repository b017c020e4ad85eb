"""The repository: keys, versions, expiry, and that a change counts wholly or not at all."""

from __future__ import annotations

import hashlib
import stat
import threading
from pathlib import Path

import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from cloud_hub.errors import GateError, KeysError, NotFoundError
from cloud_hub.trust import ceremony
from cloud_hub.trust import repository as repository_module
from cloud_hub.trust.documents import Expiry
from cloud_hub.trust.keys import create_repository, load_signer, open_repository
from cloud_hub.trust.repository import Repository, note_restored
from models.bundle.archive import read_bundle
from models.bundle.manifest import Manifest
from models.bundle.metadata import decode_metadata
from models.contract.messages import MAX_METADATA_BYTES, CaptureCommand, ReportCommand, WantBody
from models.errors import MessageError
from tests.simulators.bundles import make_bundle, make_manifest

NOW = 1_800_000_000.0
DAY = 86_400.0
DIGEST = "ab" * 32
ALL_BELOW_ROOT = ("targets", "snapshot", "timestamp")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create_repository(tmp_path / "repository", tmp_path / "keys", tmp_path / "safe", NOW)
    return tmp_path


@pytest.fixture
def repository(home: Path) -> Repository:
    return reopened(home)


def reopened(home: Path) -> Repository:
    return open_repository(home / "repository", home / "keys")


def snapshot_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.json")}


def versions(repository: Repository) -> dict[str, int]:
    files = decode_metadata(repository.metadata_bundle(), "test")
    return {name.split(".")[-2]: Metadata.from_bytes(data).signed.version for name, data in files.items()}


# -------------------------------------------------------------------------------------------------------- keys


def test_created(home: Path):
    assert sorted(p.name for p in (home / "keys").iterdir()) == [
        "director.pem",
        "snapshot.pem",
        "targets.pem",
        "timestamp.pem",
    ]
    for path in (*(home / "keys").iterdir(), *(home / "safe").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    root = Metadata.from_file(str(home / "repository" / "root.json"))
    assert root.to_bytes() == (home / "repository" / "1.root.json").read_bytes()
    used = {role: tuple(r.keyids) for role, r in root.signed.roles.items()}
    assert len(set(used.values())) == 4, "each role has a key of its own"
    assert load_signer(home / "keys" / "director.pem").public_key.keyid not in root.signed.keys


def test_threshold_of_root(tmp_path: Path):
    made = create_repository(tmp_path / "r", tmp_path / "k", tmp_path / "safe", NOW, root_keys=3, root_threshold=2)
    assert [p.name for p in made.root_keys] == ["root-1.pem", "root-2.pem", "root-3.pem"]
    root = Metadata.from_file(str(made.root))
    root.verify_delegate("root", root)
    for signature in list(root.signatures)[:2]:
        del root.signatures[signature]
    with pytest.raises(UnsignedMetadataError, match="signed by 1/2 keys"):
        root.verify_delegate("root", root)


@pytest.mark.parametrize("numbers", [(1, 2), (0, 0), (17, 1), (2, 0)])
def test_absurd_thresholds(tmp_path: Path, numbers: tuple[int, int]):
    keys, threshold = numbers
    with pytest.raises(KeysError, match=rf"1 <= threshold <= keys <= 16, got {threshold} of {keys}"):
        create_repository(tmp_path / "r", tmp_path / "k", tmp_path / "s", NOW, root_keys=keys, root_threshold=threshold)


def test_nothing_is_overwritten(home: Path):
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    for folders in (("repository", "keys", "safe"), ("r2", "keys", "s2"), ("r2", "k2", "safe")):
        with pytest.raises(KeysError, match="exists already and will not be overwritten"):
            create_repository(*(home / f for f in folders), NOW)
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file() and p.name != ".lock"} == {
        p: data for p, data in before.items() if p.name != ".lock"
    }


def test_root_keys_do_not_lie_beside_the_online_keys(tmp_path: Path):
    with pytest.raises(KeysError, match="root keys do not belong beside the online keys"):
        create_repository(tmp_path / "r", tmp_path / "k", tmp_path / "k" / "root", NOW)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_unreadable_key(home: Path, content: bytes):
    path = home / "keys" / "targets.pem"
    path.write_bytes(content)
    with pytest.raises(KeysError, match=r"targets\.pem: expected an unencrypted PEM key"):
        add(reopened(home))


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_key_that_the_root_does_not_name(home: Path, role: str):
    (home / "keys" / f"{role}.pem").write_bytes((home / "keys" / "director.pem").read_bytes())
    before = snapshot_of(home / "repository")
    with pytest.raises(KeysError, match=f"{role}: the root does not name the key"):
        add(reopened(home))
    assert snapshot_of(home / "repository") == before


def test_director_key_that_the_targets_do_not_name(home: Path):
    (home / "keys" / "director.pem").write_bytes((home / "keys" / "targets.pem").read_bytes())
    with pytest.raises(KeysError, match="director: the repository does not name the key"):
        reopened(home).sign_command(ReportCommand(gateway="gw-1", id="a", expires_s=5))


def test_no_repository(tmp_path: Path):
    with pytest.raises(KeysError, match="`cloud-hub keys init` makes one"):
        open_repository(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.root.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_damaged_repository(home: Path, name: str, content: bytes | None):
    repository = reopened(home)
    path = home / "repository" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysError, match=str(home / "repository")):
        add(repository)


# --------------------------------------------------------------------------------------------------- bundles


def add(repository: Repository, manifest: Manifest | None = None, sha256: str = DIGEST, now_s: float = NOW) -> str:
    return repository.add_bundle(manifest or make_manifest(), sha256, 1234, now_s)


def test_add_bundle(repository: Repository):
    path = add(repository)
    assert path == "pump-vibration/1.0.0-abababab.mwb"
    target = repository.targets()[path]
    assert (target.length, target.hashes) == (1234, {"sha256": DIGEST})
    assert target.custom == {
        "slot": "pump-vibration", "version": "1.0.0", "family": "spectral", "format": "1.1", "features": 1,
        "axes": 1, "window": 64, "hop": 64, "rate_mhz": 12_000_000,
    }  # fmt: skip
    assert versions(repository) == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_same_bundle_again_signs_nothing(repository: Repository):
    add(repository)
    before = repository.metadata_bundle()
    assert add(repository, now_s=NOW + DAY) == "pump-vibration/1.0.0-abababab.mwb"
    assert repository.metadata_bundle() == before


def test_path_taken_by_another_file(repository: Repository):
    add(repository)
    with pytest.raises(GateError, match="taken by"):
        add(repository, sha256="abababab" + "00" * 28)


def test_reserved_slot(repository: Repository):
    with pytest.raises(GateError, match="'wants': this name is reserved"):
        add(repository, make_manifest(slot="wants"))


def test_remove_bundle(repository: Repository):
    path = add(repository)
    repository.remove_bundle(path, NOW)
    assert repository.targets() == {}
    with pytest.raises(NotFoundError, match="not in the repository"):
        repository.remove_bundle(path, NOW)


def test_no_room_left(home: Path, monkeypatch: pytest.MonkeyPatch):
    from models.bundle import metadata

    repository = reopened(home)
    add(repository)
    monkeypatch.setattr(metadata, "MAX_METADATA_BYTES", len(repository.metadata_bundle()) + 20)
    before = snapshot_of(home / "repository")
    with pytest.raises(GateError, match=r"no room for more: metadata: expected at most .*; remove old bundles first"):
        add(repository, make_manifest(version="2.0.0"), hashlib.sha256(b"2.0.0").hexdigest())  # does not compress
    assert snapshot_of(home / "repository") == before


def test_room_for_some_hundred_bundles(repository: Repository):
    """Digests do not compress, so each bundle takes its share: 300 must fit."""
    empty = len(repository.metadata_bundle())
    for i in range(30):
        add(repository, make_manifest(version=f"1.{i}"), hashlib.sha256(bytes([i])).hexdigest())
    per_bundle = (len(repository.metadata_bundle()) - empty) / 30
    assert empty + 300 * per_bundle < MAX_METADATA_BYTES


# ------------------------------------------------------------------------------------------------------ expiry


@pytest.mark.parametrize(
    ("after_days", "signed"),
    [
        (0, ()),
        (3.4, ()),
        (3.6, ("timestamp",)),
        (15.1, ("snapshot", "timestamp")),
        (183, ("targets", "snapshot", "timestamp")),
        (4000, ("targets", "snapshot", "timestamp")),
    ],
)
def test_refresh_at_half_life(repository: Repository, after_days: float, signed: tuple[str, ...]):
    now_s = NOW + after_days * DAY
    assert repository.refresh(now_s) == signed
    assert repository.refresh(now_s) == ()
    assert versions(repository) == {"root": 1} | {
        role: 2 if role in signed else 1 for role in ("timestamp", "snapshot", "targets")
    }


def test_what_comes_from_a_backup_is_signed_beyond_all_that_gateways_have_seen(home: Path, repository: Repository):
    """Rollback is what gateways refuse: a hub that was put back to last week must come back ahead of next week."""
    add(repository)
    before = {path.name: path.read_bytes() for path in (home / "repository").iterdir() if path.is_file()}
    for i in range(5):
        add(repository, make_manifest(version=f"2.{i}"), f"{i:064x}")
    seen = versions(repository)
    for path in (home / "repository").glob("*.json"):
        path.unlink()
    for name, data in before.items():
        (home / "repository" / name).write_bytes(data)
    note_restored(home / "repository", NOW - 50, NOW)
    restored = reopened(home)
    assert all(versions(restored)[role] < seen[role] for role in ALL_BELOW_ROOT)
    assert restored.refresh(NOW + 60) == ("targets", "snapshot", "timestamp")
    assert versions(restored) == {"root": 1} | dict.fromkeys(ALL_BELOW_ROOT, 2 + 1 + 1050)
    assert (restored.refresh(NOW + 61), restored.concerns(NOW + 61)) == ((), [])
    add(restored, make_manifest(version="3.0.0"), "cd" * 32)
    assert versions(restored)["targets"] == 1054  # from there one by one


def test_targets_that_are_signed_elsewhere_wait_for_people_after_a_backup(home: Path):
    key = home / "keys" / "targets.pem"
    hidden = key.read_bytes()
    key.unlink()
    note_restored(home / "repository", NOW - 50, NOW)
    repository = reopened(home)
    assert repository.refresh(NOW + 60) == ("snapshot", "timestamp")
    assert repository.refresh(NOW + 61) == ()
    assert [text for text in repository.concerns(NOW + 61) if "targets come from a backup" in text]
    proposal = ceremony.propose_targets(repository, NOW + 62, 365)
    assert proposal.signed.version == 1052
    key.write_bytes(hidden)
    proposal.sign(reopened(home)._signers["targets"])
    key.unlink()
    repository.adopt(None, proposal, NOW + 62)
    assert versions(repository)["targets"] == 1052
    assert not [text for text in repository.concerns(NOW + 62) if "backup" in text]


def test_expiry_can_be_chosen(home: Path):
    repository = open_repository(home / "repository", home / "keys", Expiry(timestamp_days=1, snapshot_days=2))
    add(repository)
    files = decode_metadata(repository.metadata_bundle(), "test")
    expires = {n.split(".")[-2]: Metadata.from_bytes(d).signed.expires.timestamp() for n, d in files.items()}
    assert expires == {
        "timestamp": NOW + DAY, "snapshot": NOW + 2 * DAY, "targets": NOW + 365 * DAY, "root": NOW + 3650 * DAY,
    }  # fmt: skip
    assert repository.root().signed.expires.timestamp() == expires["root"]


# -------------------------------------------------------------------------------------- all or nothing, one at a time


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_crash_between_files_leaves_the_old_state(home: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int):
    repository = reopened(home)
    before = repository.metadata_bundle()
    written = []

    def failing(path: Path, data: bytes, mode: int = 0o644) -> None:
        if len(written) == fails_at:
            raise OSError("power cut")
        written.append(path.name)
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(repository_module, "write_atomic", failing)
        with pytest.raises(OSError, match="power cut"):
            add(repository)
    assert reopened(home).metadata_bundle() == before
    add(reopened(home), make_manifest(version="2.0.0"), "cd" * 32)
    assert set(reopened(home).targets()) == {"pump-vibration/2.0.0-cdcdcdcd.mwb"}


def test_many_at_once(home: Path):
    def publish(i: int) -> None:
        add(reopened(home), make_manifest(version=f"1.{i}"), f"{i:064x}")

    threads = [threading.Thread(target=publish, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reopened(home).targets()) == 12
    assert versions(reopened(home)) == {"root": 1, "timestamp": 13, "snapshot": 13, "targets": 13}


def test_metadata_are_handed_out_under_the_lock(home: Path):
    """Else somebody could sign and send newer metadata between our reading and our sending, and be overwritten."""
    order = []
    started = threading.Event()

    def other() -> None:
        started.set()
        add(reopened(home))
        order.append("changed")

    def send(_payload: bytes) -> None:
        thread.start()
        started.wait()
        thread.join(0.3)
        order.append("sent")

    thread = threading.Thread(target=other)
    reopened(home).hand_out(send)
    thread.join()
    assert order == ["sent", "changed"]


# ---------------------------------------------------------------------------------------------------- envelopes


def test_nothing_is_signed_that_no_gateway_would_read(repository: Repository):
    capture = CaptureCommand(gateway="gw-1", id="a", expires_s=5, machine="P/1", point="DE", seconds=5)
    with pytest.raises(MessageError, match=r"capture for gw-1: not a valid command: .*machine"):
        repository.sign_command(capture)
    with pytest.raises(MessageError, match="want for gw 1: not a valid WantBody"):
        repository.sign_want(WantBody(gateway="gw 1", seq=1, issued_s=1, expires_s=2, bundles=[]))


def test_a_real_bundle(repository: Repository):
    data = make_bundle()
    bundle = read_bundle(data, "test")
    path = repository.add_bundle(bundle.manifest, bundle.sha256, bundle.length, NOW)
    repository.targets()[path].verify_length_and_hashes(data)
