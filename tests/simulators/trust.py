"""A hub's repository and a gateway's trust folder, ready to be attacked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from cloud_hub.trust.documents import Expiry
from cloud_hub.trust.keys import create_repository, load_signer, open_repository
from cloud_hub.trust.repository import Repository
from edge_agent.trust import TrustStore
from edge_agent.trust_messages import Answer, AnyQuestion
from edge_agent.trust_worker import answer
from models.bundle.archive import read_bundle
from models.bundle.metadata import decode_metadata, encode_metadata
from models.contract.messages import Envelope, Signature, WantBody, WantedBundle

NOW = 1_800_000_000.0
DAY = 86_400.0


@dataclass
class Fleet:
    """One hub and one gateway in `folder`."""

    folder: Path
    now_s: float = NOW
    repository: Repository = field(init=False)
    store: TrustStore = field(init=False)

    def __post_init__(self) -> None:
        create_repository(self.hub, self.keys, self.folder / "safe", self.now_s)
        self.repository = open_repository(self.hub, self.keys, Expiry())
        self.gateway.mkdir()
        (self.gateway / "root.json").write_bytes((self.hub / "root.json").read_bytes())
        self.store = InProcess(self.gateway)

    @property
    def hub(self) -> Path:
        return self.folder / "repository"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def gateway(self) -> Path:
        return self.folder / "gateway"

    def add(self, data: bytes, now_s: float | None = None) -> WantedBundle:
        """Sign for a bundle and say how to want it."""
        bundle = read_bundle(data, "simulator")
        now_s = self.now_s if now_s is None else now_s
        target = self.repository.add_bundle(bundle.manifest, bundle.sha256, bundle.length, now_s)
        manifest = bundle.manifest
        return WantedBundle(
            slot=manifest.slot, target=target, sha256=bundle.sha256, length=bundle.length, version=manifest.version
        )

    def want(self, *bundles: WantedBundle, gateway: str = "gw-1", seq: int = 10, expires_in_s: float = DAY) -> WantBody:
        return WantBody(
            gateway=gateway,
            seq=seq,
            issued_s=int(self.now_s),
            expires_s=int(self.now_s + expires_in_s),
            bundles=list(bundles),
        )

    def part(self, data: bytes) -> Path:
        """A fetched file on the gateway, not yet verified."""
        path = self.gateway / f"{hashlib.sha256(data).hexdigest()}.part"
        path.write_bytes(data)
        return path

    def on_disk(self) -> dict[str, bytes]:
        """Every file of the gateway, with its content."""
        return {
            str(p.relative_to(self.gateway)): p.read_bytes() for p in sorted(self.gateway.rglob("*")) if p.is_file()
        }

    def signer(self, role: str) -> CryptoSigner:
        return load_signer(self.keys / f"{role}.pem")


def sign_envelope(body: bytes, *signers: CryptoSigner) -> bytes:
    """An envelope signed by whomever."""
    made = [s.sign(body) for s in signers]
    return msgspec.json.encode(Envelope(msgspec.Raw(body), [Signature(m.keyid, m.signature) for m in made]))


class InProcess(TrustStore):
    """The same questions and answers as JSON, without a process each: what the worker does, fast enough to fuzz."""

    def _run_worker(self, question: bytes, scratch: Path) -> Answer:
        decoded: AnyQuestion = msgspec.json.decode(question, type=AnyQuestion)
        return msgspec.json.decode(msgspec.json.encode(answer(decoded)), type=Answer)


class Forger:
    """Takes a metadata message apart and puts it together again, signing with whatever keys it has got hold of."""

    def __init__(self, message: bytes, now_s: float = NOW) -> None:
        self.files = decode_metadata(message, "forger")
        self.now_s = now_s

    def newest(self, role: str) -> str:
        names = [n for n in self.files if n == f"{role}.json" or n.endswith(f".{role}.json")]
        return max(names, key=lambda n: int(n.split(".")[0]) if n[0].isdigit() else 0)

    def load(self, role: str) -> Metadata:
        return Metadata.from_bytes(self.files[self.newest(role)])

    def put(self, role: str, metadata: Metadata, *signers: CryptoSigner) -> None:
        """Replace a role's file. Without signers the old signatures stay."""
        if signers:
            metadata.signatures.clear()
            for signer in signers:
                metadata.sign(signer, append=True)
        del self.files[self.newest(role)]
        version = "" if role == "timestamp" else f"{metadata.signed.version}."
        self.files[f"{version}{role}.json"] = metadata.to_bytes()

    def align(self, *, snapshot: CryptoSigner | None, timestamp: CryptoSigner) -> None:
        """Make the outer roles vouch for the inner ones as they are now, as the holder of these keys could."""
        if snapshot is not None:
            meta = self.load("snapshot")
            targets = self.files[self.newest("targets")]
            meta.signed.meta["targets.json"] = MetaFile.from_data(
                self.load("targets").signed.version, targets, ["sha256"]
            )
            self.put("snapshot", meta, snapshot)
        meta = self.load("timestamp")
        data = self.files[self.newest("snapshot")]
        meta.signed.snapshot_meta = MetaFile.from_data(self.load("snapshot").signed.version, data, ["sha256"])
        self.put("timestamp", meta, timestamp)

    def message(self) -> bytes:
        return encode_metadata(self.files)
