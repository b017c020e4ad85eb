"""A hub's repository and a gateway's trust folder, ready to be attacked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner

from cloud_hub.trust.keys import create_repository, load_signer, open_repository
from cloud_hub.trust.repository import Expiry, Repository
from edge_agent.trust import TrustStore
from models.bundle.archive import read_bundle
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
        self.store = TrustStore(self.gateway)

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
