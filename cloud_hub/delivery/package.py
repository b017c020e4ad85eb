"""Packages for gateways without a link: see `models.bundle.package`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloud_hub.delivery.registry import BundleRecord, BundleRegistry, WantRecord
from cloud_hub.delivery.want import When, build_want
from cloud_hub.errors import NotFoundError
from cloud_hub.trust.repository import Repository
from models.bundle.archive import SUFFIX
from models.bundle.package import Package, encode_package
from models.contract.messages import WantBody


def make_package(
    record: BundleRecord,
    gateways: Sequence[str],
    repository: Repository,
    registry: BundleRegistry,
    bundles_dir: Path,
    now_s: float,
    when: When,
) -> tuple[bytes, list[WantBody]]:
    """A package of a published bundle, and the wants in it, which are remembered as if they had been sent.

    Raises: NotFoundError: the bundle's file is gone. GateError, ConflictError, KeysError, BundleFormatError,
            TopicError.
    """
    path = bundles_dir / f"{record.sha256}{SUFFIX}"
    if not path.is_file():
        raise NotFoundError(f"bundle {record.target}: its file {path} is not there; publish it again")
    metadata: list[bytes] = []
    repository.hand_out(metadata.append)
    bodies, wants = [], {}
    for gateway in gateways:
        body = build_want(gateway, {record.slot: record}, registry, now_s, when)
        wants[gateway] = repository.sign_want(body)
        bodies.append(body)
    data = encode_package(Package(metadata=metadata[0], wants=wants, bundle=path.read_bytes()))
    for body in bodies:
        slots = tuple((wanted.slot, wanted.sha256) for wanted in body.bundles)
        registry.add_want(WantRecord(body.gateway, body.seq, float(body.issued_s), float(body.expires_s), slots))
    return data, bodies
