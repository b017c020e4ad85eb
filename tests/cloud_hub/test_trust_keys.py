"""Changing keys: every role, here and elsewhere; a gateway with the old root follows, whoever has the old key does not."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata
from typer.testing import CliRunner

from cloud_hub.cli import build_app
from cloud_hub.errors import KeysError
from cloud_hub.settings import load_settings
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.database import open_database
from cloud_hub.store.paging import Paging
from cloud_hub.trust import ceremony, keys
from cloud_hub.trust.documents import Expiry
from cloud_hub.trust.drill import FAR, forge, rehearse
from cloud_hub.trust.keys import FileSigners, create_repository, load_signer, make_key, open_repository
from cloud_hub.trust.repository import Repository
from edge_agent.errors import TrustError
from models.bundle.metadata import decode_metadata
from models.contract.messages import MAX_METADATA_BYTES
from tests.simulators.bundles import make_bundle
from tests.simulators.trust import DAY, NOW, Fleet

ONE = make_bundle()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    fleet.add(ONE)
    ask(fleet)
    return fleet


def ask(fleet: Fleet, metadata: bytes | None = None, now_s: float = NOW) -> None:
    want = fleet.repository.sign_want(fleet.want(expires_in_s=5000 * DAY))
    message = fleet.repository.metadata_bundle() if metadata is None else metadata
    fleet.store.verify_want(message, want, "gw-1", 0, now_s)


def root_signer(fleet: Fleet) -> CryptoSigner:
    return load_signer(fleet.folder / "safe" / "root-1.pem")


def rotate(fleet: Fleet, *roles: str, now_s: float = NOW) -> None:
    signers = FileSigners(fleet.keys)
    proposal = ceremony.propose_root(
        fleet.repository, now_s, 3650, {role: [signers.stage(role).public_key] for role in roles}
    )
    ceremony.sign_root(proposal, fleet.repository.root().signed, [root_signer(fleet)])
    fleet.repository.adopt(proposal, None, now_s)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_new_key_for_a_role(fleet: Fleet, role: str):
    before, stolen = fleet.repository.metadata_bundle(), fleet.signer(role)
    if role == "timestamp":  # the test can fail: this is what the key is good for
        other = Fleet(fleet.folder / "other")
        ask(other, forge(other.repository.metadata_bundle(), {role: other.signer(role)}, NOW))
        assert Metadata.from_file(str(other.gateway / "metadata" / "timestamp.json")).signed.version > FAR
    rotate(fleet, role)
    assert fleet.signer(role).public_key.keyid != stolen.public_key.keyid
    assert not (fleet.keys / f"{role}.next.pem").exists()
    ask(fleet)
    for message in (before, fleet.repository.metadata_bundle()):
        with contextlib.suppress(TrustError):  # what nothing vouches for is passed over
            ask(fleet, forge(message, {role: stolen}, NOW))
        kept = Metadata.from_file(str(fleet.gateway / "metadata" / f"{role}.json"))
        assert kept.signed.version < FAR
    assert fleet.repository.refresh(NOW) == ()


def test_new_director(fleet: Fleet):
    old = fleet.repository.sign_want(fleet.want())
    signers = FileSigners(fleet.keys)
    fleet.repository.change_director(signers.stage("director").public_key, NOW)
    ask(fleet)
    with pytest.raises(TrustError) as caught:
        fleet.store.verify_want(fleet.repository.metadata_bundle(), old, "gw-1", 0, NOW)
    assert caught.value.reason == "want_signature"


def test_new_root_key(fleet: Fleet, tmp_path: Path):
    new = make_key(tmp_path / "safe2" / "root.pem")
    proposal = ceremony.propose_root(fleet.repository, NOW, 3650, {"root": [new.public_key]})
    current = fleet.repository.root().signed
    with pytest.raises(KeysError, match="root 2, held against root 1: root was signed by 0/1 keys"):
        ceremony.sign_root(proposal, current, [new])
    ceremony.sign_root(proposal, current, [root_signer(fleet)])
    fleet.repository.adopt(proposal, None, NOW)
    ask(fleet)
    again = ceremony.propose_root(fleet.repository, NOW, 3650)
    with pytest.raises(KeysError, match="root 3, held against root 2"):
        ceremony.sign_root(again, fleet.repository.root().signed, [root_signer(fleet)])


def test_nothing_changes_when_a_proposal_is_refused(fleet: Fleet):
    before = {p: p.read_bytes() for p in fleet.hub.glob("*.json")}
    unsigned = ceremony.propose_root(fleet.repository, NOW, 3650)
    skipped = ceremony.propose_root(fleet.repository, NOW, 3650)
    skipped.signed.version += 1
    over = ceremony.propose_root(fleet.repository, NOW - 10 * DAY, 1)
    for proposal, text in ((unsigned, "signed by 0/1"), (skipped, "expected version 2, got 3"), (over, "expired at")):
        if proposal is not unsigned:
            proposal.sign(root_signer(fleet))
        with pytest.raises(KeysError, match=text):
            fleet.repository.adopt(proposal, None, NOW)
    assert {p: p.read_bytes() for p in fleet.hub.glob("*.json")} == before


def test_change_of_keys_that_was_cut_short_is_finished_by_refresh(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    from cloud_hub.trust import repository as module

    real, written = module.write_atomic, []

    def failing(path: Path, data: bytes) -> None:
        if written:
            raise OSError("power cut")
        written.append(path.name)
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", failing)
        with pytest.raises(OSError, match="power cut"):
            rotate(fleet, "timestamp", "snapshot")
    assert written == ["2.root.json"]
    reopened = open_repository(fleet.hub, fleet.keys)
    assert reopened.refresh(NOW) == ("snapshot", "timestamp")
    ask(fleet, reopened.metadata_bundle())
    assert reopened.refresh(NOW) == ()


def test_running_hub_sees_keys_that_another_process_replaced(fleet: Fleet):
    running = open_repository(fleet.hub, fleet.keys)
    running.sign_want(fleet.want())
    running.refresh(NOW + 6 * DAY)
    rotate(fleet, "timestamp", "snapshot")
    fleet.repository.change_director(FileSigners(fleet.keys).stage("director").public_key, NOW)
    assert running.refresh(NOW + 6 * DAY) == ("timestamp",)
    want = running.sign_want(fleet.want(expires_in_s=5000 * DAY))
    fleet.store.verify_want(running.metadata_bundle(), want, "gw-1", 0, NOW + 6 * DAY)


# ------------------------------------------------------------------------------------------------ root chain


def test_gateway_that_slept_walks_the_chain_and_the_message_stays_bounded(fleet: Fleet):
    for _ in range(70):
        rotate(fleet, "timestamp")
    message = fleet.repository.metadata_bundle()
    oldest, newest = fleet.repository.roots_on_the_way()
    assert len(message) <= MAX_METADATA_BYTES
    assert newest == 71
    assert newest - oldest >= 20, "less than two years of monthly rotations"
    sent = {int(n.split(".")[0]) for n in decode_metadata(message, "t") if n.endswith(".root.json")}
    assert sent == set(range(oldest, newest + 1))
    with pytest.raises(TrustError, match=f"trusts root 1, expected the next one, got {oldest} and newer") as caught:
        ask(fleet, message)
    assert caught.value.reason == "metadata_root_gap"
    (fleet.gateway / "root.json").write_bytes((fleet.hub / f"{oldest - 1}.root.json").read_bytes())
    ask(fleet, message)
    assert (fleet.gateway / "metadata" / "root_history" / "71.root.json").exists()


# ---------------------------------------------------------------------------------------------- time on gateways


def test_time_of_signing_is_a_floor_until_its_key_is_replaced(fleet: Fleet):
    fleet.repository.refresh(NOW + 6 * DAY)
    ask(fleet, now_s=NOW)  # a clock that is slow
    ask(fleet, now_s=0)
    thief = forge(fleet.repository.metadata_bundle(), {"timestamp": fleet.signer("timestamp")}, NOW + 3000 * DAY)
    files = decode_metadata(thief, "t")
    stamped = json.loads(files["timestamp.json"])["signed"]
    assert stamped["signed_s"] == NOW + 6 * DAY
    rotate(fleet, "timestamp", now_s=NOW + 6 * DAY)
    ask(fleet, now_s=0)
    assert json.loads((fleet.gateway / "signed_time.json").read_bytes())["signed_s"] == NOW + 6 * DAY


# ------------------------------------------------------------------------------------------------ offline targets


@pytest.fixture
def offline(tmp_path: Path) -> Repository:
    create_repository(
        tmp_path / "r", tmp_path / "k", tmp_path / "safe", NOW, root_keys=3, root_threshold=2, offline_targets=True
    )
    return open_repository(tmp_path / "r", tmp_path / "k")


def test_offline_targets_are_never_signed_here(offline: Repository, tmp_path: Path):
    from cloud_hub.trust.documents import target_of
    from models.bundle.archive import read_bundle

    bundle = read_bundle(ONE, "t")
    with pytest.raises(KeysError, match="their key is not on this machine; use `cloud-hub keys export targets --add"):
        offline.add_bundle(bundle.manifest, bundle.sha256, bundle.length, NOW)
    assert "targets" not in offline.refresh(NOW + 300 * DAY)
    (concern,) = offline.concerns(NOW + 340 * DAY)
    assert concern.startswith("targets expires in 25 days; renew it")
    path, target = target_of(bundle.manifest, bundle.sha256, bundle.length)
    file = tmp_path / "targets.json"
    ceremony.write_proposal(file, ceremony.propose_targets(offline, NOW, 365, add={path: target}))
    with pytest.raises(KeysError, match="targets 2, held against root 1: targets was signed by 0/1 keys"):
        ceremony.adopt_files(offline, [file], NOW)
    ceremony.sign_file(file, load_signer(tmp_path / "safe" / "targets.pem"))
    assert ceremony.adopt_files(offline, [file], NOW) == (("snapshot", "timestamp"), ())
    assert offline.add_bundle(bundle.manifest, bundle.sha256, bundle.length, NOW) == path


def test_new_offline_targets_key_needs_both_files(offline: Repository, tmp_path: Path):
    new = make_key(tmp_path / "safe" / "targets-2.pem")
    root_file, targets_file = tmp_path / "root.json", tmp_path / "targets.json"
    ceremony.write_proposal(root_file, ceremony.propose_root(offline, NOW, 3650, {"targets": [new.public_key]}))
    for n in (1, 3):
        ceremony.sign_file(root_file, load_signer(tmp_path / "safe" / f"root-{n}.pem"))
    with pytest.raises(KeysError, match="import both files at once"):
        ceremony.adopt_files(offline, [root_file], NOW)
    ceremony.write_proposal(targets_file, ceremony.propose_targets(offline, NOW, 365))
    ceremony.sign_file(targets_file, new)
    assert ceremony.adopt_files(offline, [root_file, targets_file], NOW)[0] == ("snapshot", "timestamp")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"signed": {}}', bytes(300_000)])
def test_file_that_is_no_proposal(tmp_path: Path, content: bytes):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(KeysError, match=r"x\.json: expected"):
        ceremony.read_proposal(path)


# ------------------------------------------------------------------------------------------------- passphrases


def test_encrypted_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(keys.PASSPHRASE_ENV, raising=False)
    made = make_key(tmp_path / "a.pem", lambda _: b"secret")
    assert b"ENCRYPTED" in (tmp_path / "a.pem").read_bytes()
    assert load_signer(tmp_path / "a.pem", lambda _: b"secret").public_key.keyid == made.public_key.keyid
    for wrong, text in (
        (None, "is encrypted; give the passphrase"),
        (lambda _: b"other", "expected another passphrase"),
    ):
        with pytest.raises(KeysError, match=text):
            load_signer(tmp_path / "a.pem", wrong)
    (tmp_path / "pass").write_text("secret\nmore\n")
    assert keys.passphrase_from(tmp_path / "pass")(tmp_path / "a.pem") == b"secret"
    monkeypatch.setenv(keys.PASSPHRASE_ENV, "other")
    assert keys.passphrase_from(tmp_path / "pass")(tmp_path / "a.pem") == b"other"


# --------------------------------------------------------------------------------------------- drill and commands


@pytest.mark.parametrize(
    "roles", [("timestamp",), ("targets", "director"), ("timestamp", "snapshot", "targets", "director")]
)
def test_drill(fleet: Fleet, roles: tuple[str, ...]):
    before = {p: p.read_bytes() for p in fleet.folder.rglob("*") if p.is_file()}
    steps = rehearse(fleet.hub, fleet.keys, [root_signer(fleet)], roles, NOW, expiry=Expiry())
    assert any("it refused" in step.outcome for step in steps)
    fell = "another gateway took them" if "timestamp" in roles else "these keys alone fool no gateway"
    assert any(step.outcome == fell for step in steps)
    assert {p: p.read_bytes() for p in fleet.folder.rglob("*") if p.is_file()} == before


def test_drill_with_too_few_root_keys(tmp_path: Path):
    create_repository(tmp_path / "r", tmp_path / "k", tmp_path / "s", NOW, root_keys=3, root_threshold=2)
    with pytest.raises(KeysError, match="root was signed by 1/2 keys"):
        rehearse(tmp_path / "r", tmp_path / "k", [load_signer(tmp_path / "s" / "root-1.pem")], ["timestamp"], NOW)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(keys.PASSPHRASE_ENV, "secret")
    home, safe, out = str(tmp_path / "hub"), tmp_path / "safe", str(tmp_path / "root.json")

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(build_app(), ["keys", *arguments])
        if isinstance(result.exception, KeysError):
            assert code == result.exception.exit_code
            return str(result.exception)
        assert result.exit_code == code, result.output
        return result.output

    run("init", "--home", home, "--root-dir", str(safe), "--root-keys", "3", "--threshold", "2")
    assert "2 of" in run("show", "--home", home)
    run(
        "rotate",
        "online",
        "--home",
        home,
        "--root-key",
        str(safe / "root-1.pem"),
        "--root-key",
        str(safe / "root-2.pem"),
    )
    assert "waits for signatures" in run("rotate", "timestamp", "--home", home, "--out", out)
    assert "signed by 0/2 keys" in run("import", out, "--home", home, code=3)
    run("sign", out, "--key", str(safe / "root-3.pem"))
    assert "signed by 1/2 keys" in run("import", out, "--home", home, code=3)
    run("sign", out, "--key", str(safe / "root-1.pem"))
    assert "new keys are in use: timestamp" in run("import", out, "--home", home)
    assert "roots 1 to 3" in run("show", "--home", home)
    assert "the drill went well" in run("drill", "--home", home)
    run("rotate", "nonsense", "--home", home, code=2)
    run("rotate", "timestamp", "--home", home, code=2)
    monkeypatch.setenv(keys.PASSPHRASE_ENV, "wrong")
    assert "another passphrase" in run("sign", out, "--key", str(safe / "root-1.pem"), code=3)
    with open_database(load_settings(Path(home))) as database, database.read() as session:
        entries = [(e.action, e.kind, e.after) for e in reversed(list_audit(session, Paging(100)).items)]
    assert [action for action, _, _ in entries] == ["keys.init", "keys.rotate", "keys.rotate", "keys.import"]
    assert {kind for _, kind, _ in entries} == {"command line"}
    assert entries[3][2] == {"files": ["root.json"], "signed": entries[3][2]["signed"], "changed": ["timestamp"]}
    assert "PRIVATE" not in str(entries)
    monkeypatch.setenv(keys.PASSPHRASE_ENV, "secret")
    monkeypatch.setenv("MILLWRIGHT_DATABASE_URL", "postgresql://127.0.0.1:1/none")  # where nobody answers
    assert "warning: done, but not in the audit log" in run(
        "init", "--home", str(tmp_path / "h2"), "--root-dir", str(tmp_path / "s2")
    )
