"""What TUF's conformance suite expects of a client, held against the agent's updater over HTTP, as that suite does."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib import parse

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edge_agent.conformance import main

ROLES = ("root", "timestamp", "snapshot", "targets")
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
PAST = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)


class Simulated:
    """A repository over HTTP that a test spoils, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in ROLES}
        self.root, self.timestamp = Root(expires=LATER), Timestamp(expires=LATER)
        self.snapshot, self.targets = Snapshot(expires=LATER), Targets(expires=LATER)
        self.delegated: dict[str, Targets] = {}
        for role in ROLES:
            self.root.add_key(self.signers[role][0].public_key, role)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.hashes = False
        self.metadata_dir, self.target_dir = folder / "metadata", folder / "targets"
        self.metadata_dir.mkdir()
        self.target_dir.mkdir()
        self.url = ""
        self.initial = folder / "initial_root.json"
        self.publish_root()
        self.initial.write_bytes(self.files["metadata/1.root.json"])
        self.publish()

    def sign(self, role: str, signed: object) -> bytes:
        metadata: Metadata = Metadata(signed)  # type: ignore[type-var]
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def meta(self, version: int, data: bytes) -> MetaFile:
        return MetaFile.from_data(version, data, ["sha256"]) if self.hashes else MetaFile(version)

    def publish_root(self, *more: CryptoSigner) -> None:
        metadata = Metadata(self.root)
        for signer in (*self.signers["root"], *more):
            metadata.sign(signer, append=True)
        self.files[f"metadata/{self.root.version}.root.json"] = metadata.to_bytes()

    def bump_root(self, *more: CryptoSigner) -> None:
        self.root.version += 1
        self.publish_root(*more)

    def rotate(self, role: str) -> CryptoSigner:
        old = self.signers[role][0]
        new = CryptoSigner.generate_ed25519()
        self.root.revoke_key(old.public_key.keyid, role)
        self.root.add_key(new.public_key, role)
        self.signers[role] = [new]
        return old

    def publish(self, *, bump: bool = False) -> None:
        if bump:
            self.timestamp.version += 1
            self.snapshot.version += 1
        for role, signed in self.delegated.items():
            data = self.sign(role, signed)
            self.files[f"metadata/{signed.version}.{parse.quote(role, '')}.json"] = data
            self.snapshot.meta[f"{role}.json"] = self.meta(signed.version, data)
        data = self.sign("targets", self.targets)
        self.files[f"metadata/{self.targets.version}.targets.json"] = data
        self.snapshot.meta["targets.json"] = self.meta(self.targets.version, data)
        data = self.sign("snapshot", self.snapshot)
        self.files[f"metadata/{self.snapshot.version}.snapshot.json"] = data
        self.timestamp.snapshot_meta = self.meta(self.snapshot.version, data)
        self.files["metadata/timestamp.json"] = self.sign("timestamp", self.timestamp)

    def add_target(self, path: str, data: bytes, role: str = "targets") -> None:
        targets = self.targets if role == "targets" else self.delegated[role]
        entry = TargetFile.from_data(path, data, ["sha256"])
        targets.targets[path] = entry
        folder, slash, name = path.rpartition("/")
        self.files[f"targets/{folder}{slash}{entry.hashes['sha256']}.{name}"] = data

    def delegate(self, parent: str, role: str, paths: list[str], *, terminating: bool = False) -> None:
        signer = CryptoSigner.generate_ed25519()
        self.signers[role] = [signer]
        owner = self.targets if parent == "targets" else self.delegated[parent]
        if owner.delegations is None:
            owner.delegations = Delegations({}, {})
        assert owner.delegations.roles is not None
        owner.delegations.keys[signer.public_key.keyid] = signer.public_key
        owner.delegations.roles[role] = DelegatedRole(role, [signer.public_key.keyid], 1, terminating, paths)
        self.delegated[role] = Targets(expires=LATER)

    # ---- the client

    def run(self, command: str, *more: str) -> int:
        options = ["--metadata-dir", str(self.metadata_dir), "--metadata-url", f"{self.url}metadata"]
        return main([*options, *more])

    def init(self) -> int:
        return main(["--metadata-dir", str(self.metadata_dir), "init", str(self.initial)])

    def refresh(self) -> int:
        self.asked.clear()
        return self.run("refresh", "refresh")

    def download(self, name: str) -> int:
        self.asked.clear()
        more = ["--target-name", name, "--target-dir", str(self.target_dir)]
        return self.run("download", *more, "--target-base-url", f"{self.url}targets/", "download")

    def version(self, role: str) -> int:
        return int(Metadata.from_file(str(self.metadata_dir / f"{role}.json")).signed.version)

    def downloaded(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.target_dir.rglob("*") if path.is_file())


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, repository: Simulated, *arguments: object) -> None:
        self.repository = repository
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.repository.asked.append(name)
        data = self.repository.files.get(name)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Simulated]:
    repository = Simulated(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, repository))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    repository.url = f"http://127.0.0.1:{server.server_address[1]}/"
    assert repository.init() == 0
    assert repository.asked == []
    yield repository
    server.shutdown()
    server.server_close()


def test_init_and_refresh(repo: Simulated):
    assert repo.refresh() == 0
    names = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert repo.asked == [f"metadata/{name}" for name in names]
    assert [repo.version(role) for role in ROLES] == [1, 1, 1, 1]
    assert repo.refresh() == 0
    assert repo.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_download_refreshes_first(repo: Simulated):
    assert repo.download("nonexistent") == 1
    assert [repo.version(role) for role in ROLES] == [1, 1, 1, 1]


@pytest.mark.parametrize("spoil", ["version", "signature"])
def test_bad_initial_root_asks_for_nothing(repo: Simulated, spoil: str):
    root = json.loads(repo.initial.read_bytes())
    if spoil == "version":
        del root["signed"]["version"]
    else:
        root["signatures"][0]["sig"] = "30" * 64
    repo.initial.write_bytes(json.dumps(root).encode())
    repo.init()
    assert repo.refresh() == 1
    assert repo.asked == []


def test_unknown_fields_are_signed_for(repo: Simulated):
    repo.root.unrecognized_fields["custom"] = "value"
    repo.bump_root()
    assert repo.refresh() == 0
    assert repo.version("root") == 2


# ------------------------------------------------------------------------------------------------------ root


def test_root_chain(repo: Simulated):
    assert repo.refresh() == 0
    for _ in range(3):
        old = repo.rotate("root")
        repo.bump_root(old)
    assert repo.refresh() == 0
    assert repo.version("root") == 4


@pytest.mark.parametrize("missing", ["old", "new"])
def test_root_needs_old_and_new_keys(repo: Simulated, missing: str):
    old = repo.rotate("root")
    if missing == "new":
        repo.signers["root"] = []
    repo.bump_root(*([old] if missing == "new" else []))
    assert repo.refresh() == 1
    assert repo.version("root") == 1


def test_root_version_skipped(repo: Simulated):
    repo.root.version = 3
    repo.publish_root()
    repo.files["metadata/2.root.json"] = repo.files["metadata/3.root.json"]
    assert repo.refresh() == 1
    assert repo.version("root") == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_rotated_key(repo: Simulated, role: str):
    assert repo.refresh() == 0
    old = repo.rotate(role)
    new, repo.signers[role] = repo.signers[role], [old]
    repo.bump_root()
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.refresh() == 1, "signed by the old key"
    repo.signers[role] = new
    repo.publish()
    assert repo.refresh() == 0


# ------------------------------------------------------------------------------------------------ thresholds


@pytest.mark.parametrize(("signing", "code"), [(1, 1), (2, 1), (3, 0)])
def test_threshold(repo: Simulated, signing: int, code: int):
    more = [CryptoSigner.generate_ed25519() for _ in range(2)]
    for signer in more:
        repo.root.add_key(signer.public_key, "snapshot")
    repo.root.roles["snapshot"].threshold = 3
    repo.bump_root()
    repo.signers["snapshot"] = [*repo.signers["snapshot"], *more][:signing]
    repo.publish(bump=True)
    assert repo.refresh() == code
    assert repo.version("root") == 2


def test_one_key_under_many_ids_counts_once(repo: Simulated):
    from tuf.api.metadata import Key

    signer = repo.signers["snapshot"][0]
    for n in range(5):
        copy = Key.from_dict(f"{n:064x}", signer.public_key.to_dict())
        repo.root.add_key(copy, "snapshot")
    repo.root.roles["snapshot"].threshold = 3
    repo.bump_root()
    repo.publish(bump=True)
    assert repo.refresh() == 1


# -------------------------------------------------------------------------------------------------- rollback


def test_rollback_of_timestamp(repo: Simulated):
    repo.timestamp.version = 2
    repo.publish()
    assert repo.refresh() == 0
    repo.timestamp.version = 1
    repo.publish()
    assert repo.refresh() == 1
    assert repo.version("timestamp") == 2


@pytest.mark.parametrize("hashes", [False, True])
def test_rollback_of_snapshot(repo: Simulated, hashes: bool):
    repo.hashes = hashes
    repo.publish(bump=True)
    assert repo.refresh() == 0
    repo.snapshot.version = 1
    repo.timestamp.version += 1
    repo.publish()
    assert repo.refresh() == 1
    assert (repo.version("timestamp"), repo.version("snapshot")) == (2, 2)


@pytest.mark.parametrize("hashes", [False, True])
def test_rollback_of_targets(repo: Simulated, hashes: bool):
    repo.hashes = hashes
    repo.targets.version = 3
    repo.publish(bump=True)
    assert repo.refresh() == 0
    repo.targets.version = 1
    repo.publish(bump=True)
    assert repo.refresh() == 1
    assert repo.version("targets") == 3


def test_timestamp_changed_without_a_new_version(repo: Simulated):
    assert repo.refresh() == 0
    repo.timestamp.snapshot_meta.version = 100
    repo.files["metadata/timestamp.json"] = repo.sign("timestamp", repo.timestamp)
    repo.refresh()
    kept = Metadata.from_file(str(repo.metadata_dir / "timestamp.json")).signed
    assert isinstance(kept, Timestamp)
    assert kept.snapshot_meta.version == 1


@pytest.mark.parametrize("roles", [("timestamp",), ("snapshot", "timestamp"), ("targets", "snapshot", "timestamp")])
def test_recovery_from_fast_forward(repo: Simulated, roles: tuple[str, ...]):
    """A thief has raised the version; new keys let it go back."""
    for role in roles:
        getattr(repo, role).version = 99_999
    repo.publish()
    assert repo.refresh() == 0
    for role in roles:
        repo.rotate(role)
        getattr(repo, role).version = 2
    repo.bump_root()
    repo.publish()
    assert repo.refresh() == 0
    assert [repo.version(role) for role in roles] == [2] * len(roles)


# ---------------------------------------------------------------------------------------------------- expiry


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired(repo: Simulated, role: str):
    assert repo.refresh() == 0
    getattr(repo, role).expires = PAST
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.refresh() == 1
    assert repo.version(role) == 1


def test_expired_root_is_kept_and_stops_the_rest(repo: Simulated):
    assert repo.refresh() == 0
    repo.root.expires = PAST
    repo.bump_root()
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.refresh() == 1
    assert [repo.version(role) for role in ROLES] == [2, 1, 1, 1]
    repo.root.expires = LATER
    repo.bump_root()
    assert repo.refresh() == 0


# ------------------------------------------------------------------------------------------ hashes, versions


def test_hash_mismatch_of_targets(repo: Simulated):
    repo.hashes = True
    repo.publish(bump=True)
    assert repo.refresh() == 0
    repo.targets.version += 1
    repo.publish(bump=True)
    repo.targets.unrecognized_fields["changed"] = "after"
    repo.files["metadata/2.targets.json"] = repo.sign("targets", repo.targets)
    assert repo.refresh() == 1
    assert repo.version("targets") == 1


def test_snapshot_of_another_version(repo: Simulated):
    repo.snapshot.version = 2
    repo.files["metadata/1.snapshot.json"] = repo.sign("snapshot", repo.snapshot)
    assert repo.refresh() == 1
    assert not (repo.metadata_dir / "snapshot.json").exists()


def test_endless_data(repo: Simulated):
    repo.files["metadata/timestamp.json"] = bytes(5 * 2**20)
    assert repo.refresh() == 1
    assert not (repo.metadata_dir / "timestamp.json").exists()


# --------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("path", ["file.txt", "path/to/a/file.txt"])
def test_download(repo: Simulated, path: str):
    repo.add_target(path, b"content")
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.download(path) == 0
    assert repo.downloaded() == [b"content"]
    assert repo.download(path) == 0
    assert not any(name.startswith("targets/") for name in repo.asked), "it was there already"


@pytest.mark.parametrize("served", [b"malicious", b"content and more", b"conten"])
def test_substituted_target(repo: Simulated, served: bytes):
    repo.add_target("file.txt", b"content")
    repo.targets.version += 1
    repo.publish(bump=True)
    (name,) = [n for n in repo.files if n.startswith("targets/")]
    repo.files[name] = served
    assert repo.download("file.txt") == 1
    assert repo.downloaded() == []


@pytest.mark.parametrize(
    ("build", "asked", "code"),
    [
        (lambda r: r.delegate("targets", "a", ["*.txt"]), ["a"], 0),
        (lambda r: r.delegate("targets", "a", ["other/*"]), [], 1),
        (lambda r: [r.delegate("targets", "b", ["*"], terminating=True), r.delegate("targets", "a", ["*"])], ["b"], 1),
        (lambda r: [r.delegate("targets", "b", ["*"]), r.delegate("b", "a", ["*"])], ["b", "a"], 0),
    ],
    ids=["simple", "other path", "terminating", "nested"],
)
def test_delegations(repo: Simulated, build: Callable[[Simulated], object], asked: list[str], code: int):
    build(repo)
    repo.add_target("file.txt", b"content", "a")
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.download("file.txt") == code
    found = [n.split(".")[1] for n in repo.asked if n.startswith("metadata/1.")]
    assert [n for n in found if n in {"a", "b"}] == asked


@pytest.mark.parametrize("role", ["?", "#", "/delegatedrole", "../delegatedrole"])
def test_odd_role_names(repo: Simulated, role: str):
    repo.delegate("targets", role, ["*"])
    repo.targets.version += 1
    repo.publish(bump=True)
    assert repo.download("nonexistent") == 1
    assert f"metadata/1.{parse.quote(role, '')}.json" in repo.asked
    assert {p.parent for p in repo.metadata_dir.parent.rglob("*.json") if "delegatedrole" in p.name} <= {
        repo.metadata_dir
    }
