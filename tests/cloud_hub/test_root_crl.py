"""An issuing key was stolen: the root revokes the authority, and the desk, tokens, lists and gateways follow."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cloud_hub.errors import KeysError
from cloud_hub.identity.authority import DAY_S, Authority, Revoked, fingerprint, load_certificate, make_root, pem
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.registrar import Registrar, new_token
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.identity.root_crl import first_root_crl, revoke_authority, root_crl_number
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from edge_agent.errors import EnrolmentError
from edge_agent.identity import Identity
from edge_agent.identity_worker import accept, enrol_request, renew_request
from edge_agent.transport import _check_issuer
from models.contract.identity import Token, parse_token

NOW_S = 1_800_000_000.0
PASSPHRASE = b"correct horse battery"


class Desk:
    def __init__(self, database: Database, folder: Path) -> None:
        self.now_s, self.safe = NOW_S, folder / "safe"
        self.folder = IdentityFolder(folder / "identity", "plant")
        self.folder.create(self.safe, PASSPHRASE, NOW_S)
        first_root_crl(self.folder, self.safe, PASSPHRASE, NOW_S)
        self.store = SqlIdentities(database)
        self.gateway = Identity(folder / "gateway")
        self.stolen: Authority | None = None
        self.old_list = self.folder.root_crl.read_text()

    def registrar(self, authority: Authority | None = None, crl: str | None = None) -> Registrar:
        return Registrar(
            (lambda: authority) if authority is not None else self.folder.issuing_authority,
            self.store, "plant", lambda: self.now_s, days=30,
            root_crl=lambda: crl if crl is not None else self.folder.root_crl.read_text(),
        )  # fmt: skip

    @property
    def root(self) -> bytes:
        return load_certificate(self.folder.root).fingerprint(hashes.SHA256())

    def token(self) -> Token:
        made = new_token(self.store, self.root, "gw-1", self.now_s, 3600, root_crl_number(self.folder))
        return parse_token(made.to_text())

    def enrol(self, token: Token, registrar: Registrar) -> None:
        pending = enrol_request(self.gateway, "gw-1", token)
        answer = registrar.enrol(pending.request)
        accept(self.gateway, pending, answer.payload, "gw-1", token.root_sha256, self.now_s, token.crl_number)

    def renew(self, registrar: Registrar) -> None:
        pending = renew_request(self.gateway, "gw-1")
        answer = registrar.renew(pending.request, "gw-1")
        accept(self.gateway, pending, answer.payload, "gw-1", self.root, self.now_s)

    def steal(self) -> Authority:
        """The key is stolen; people find out an hour later."""
        stolen = self.folder.issuing_authority()
        self.now_s += 3600
        self.folder.reissue(self.safe, PASSPHRASE, self.now_s)
        revoke_authority(self.folder, fingerprint(stolen.certificate)[:12], self.safe, PASSPHRASE, self.now_s)
        return stolen


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


def lists(desk: Desk) -> list[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----\n"
    parts = desk.folder.crl.read_bytes().split(end)
    return [x509.load_pem_x509_crl(part + end) for part in parts if part.strip()]


def peer(issuer: Authority) -> dict[str, Any]:
    """As `SSLSocket.getpeercert` tells of a certificate by this authority."""
    return {"issuer": tuple(((("commonName", str(name.value)),)) for name in issuer.certificate.subject)}


def test_the_brokers_file_has_the_roots_list_and_none_of_the_revoked_authority(desk: Desk) -> None:
    root = load_certificate(desk.folder.root)
    refresh_crl(desk.folder, desk.store, 30, lambda: desk.now_s)
    assert [len(list(one)) for one in lists(desk)] == [0, 0]
    stolen = desk.steal()
    assert refresh_crl(desk.folder, desk.store, 30, lambda: desk.now_s)
    current, above = lists(desk)
    assert current.issuer == desk.folder.issuing_authority().certificate.subject != stolen.certificate.subject
    assert above.issuer == root.subject
    assert [entry.serial_number for entry in above] == [stolen.certificate.serial_number]
    assert above.next_update_utc == root.not_valid_after_utc
    assert above.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    assert not refresh_crl(desk.folder, desk.store, 30, lambda: desk.now_s)
    assert refresh_crl(desk.folder, desk.store, 30, lambda: desk.now_s + 16 * DAY_S)  # half of its life
    assert len(lists(desk)) == 2


def test_what_the_thief_answers_is_not_believed_once_a_token_names_the_list(desk: Desk) -> None:
    stolen = desk.steal()
    token = desk.token()
    assert token.crl_number == 2
    for crl in (desk.old_list, ""):
        with pytest.raises(EnrolmentError, match=r"expected the root's revocation list"):
            desk.enrol(token, desk.registrar(stolen, crl))
    with pytest.raises(EnrolmentError, match="by an authority that the root has revoked"):
        desk.enrol(token, desk.registrar(stolen))
    assert not desk.gateway.pem.exists()
    desk.enrol(desk.token(), desk.registrar())
    assert desk.gateway.revoked().number == 2


def test_a_gateway_that_has_heard_of_it_believes_neither_answers_nor_brokers_of_the_thief(desk: Desk) -> None:
    desk.enrol(desk.token(), desk.registrar())
    _check_issuer(peer(desk.folder.issuing_authority()), desk.gateway)
    stolen = desk.steal()
    _check_issuer(peer(stolen), desk.gateway)  # not heard of it yet
    desk.renew(desk.registrar())
    with pytest.raises(
        ssl.SSLCertVerificationError, match=r"is by Millwright plant issuing .*, which the root has revoked"
    ):
        _check_issuer(peer(stolen), desk.gateway)
    _check_issuer(peer(desk.folder.issuing_authority()), desk.gateway)
    for crl in (None, desk.old_list):  # an older list takes nothing back
        with pytest.raises(EnrolmentError, match="by an authority that the root has revoked"):
            desk.renew(desk.registrar(stolen, crl))
    assert desk.gateway.revoked().number == 2


def test_a_list_that_the_root_did_not_sign_is_none(desk: Desk) -> None:
    other = make_root("plant", NOW_S, 100)
    issuing = desk.folder.issuing_authority()
    by_other = other.crl([Revoked(issuing.certificate.serial_number, NOW_S)], 9, NOW_S, 10).decode()
    nameless = desk.folder.root_authority(desk.safe, PASSPHRASE).crl([Revoked(77, NOW_S)], 9, NOW_S, 10).decode()
    for crl in (by_other + pem(issuing.certificate), nameless, nameless + pem(other.certificate), "junk"):
        with pytest.raises(EnrolmentError, match="expected the root's revocation list") as caught:
            desk.enrol(desk.token(), desk.registrar(crl=crl))
        assert caught.value.reason == "reply"
    assert not desk.gateway.revoked_file.exists()


@pytest.mark.parametrize("which", ["", "zz", "current"])
def test_only_an_authority_that_was_replaced_can_be_revoked(desk: Desk, which: str) -> None:
    desk.folder.reissue(desk.safe, PASSPHRASE, NOW_S + 60)
    current = fingerprint(desk.folder.issuing_authority().certificate)
    said = "is the current one; replace it first" if which == "current" else "of: [0-9a-f]{12}"
    with pytest.raises(KeysError, match=said):
        revoke_authority(desk.folder, current[:12] if which == "current" else which, desk.safe, PASSPHRASE, NOW_S)
    assert root_crl_number(desk.folder) == 1


def test_a_token_from_before_is_read_as_ever(desk: Desk) -> None:
    old = Token(b"s" * 32, b"r" * 32)
    assert parse_token(old.to_text()) == old
    assert len(old.to_text()) == 91
    new = Token(b"s" * 32, b"r" * 32, 70_000)
    assert parse_token(new.to_text()) == new
