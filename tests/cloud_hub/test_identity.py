"""The registration desk without broker or HTTP: what it issues, what it refuses and why, and revocation lists."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_hub.errors import ConflictError, KeysError
from cloud_hub.identity.authority import load_certificate
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.registrar import Allowance, Answer, Registrar, new_token
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from edge_agent.enrol import keep_root
from edge_agent.errors import EnrolmentError
from edge_agent.identity import Identity, Pending
from edge_agent.identity_worker import accept, enrol_request, renew_request
from models.contract.identity import (
    REQUEST_CONTEXT,
    CertificateRequest,
    Token,
    decode_reply,
    decode_reply_body,
    parse_token,
)
from models.contract.messages import Envelope, Signature, encode
from models.errors import MessageError

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
PASSPHRASE = b"correct horse battery"


class Desk:
    def __init__(self, database: Database, folder: Path) -> None:
        self.now_s = NOW_S
        self.folder = IdentityFolder(folder / "identity", "plant")
        self.root_key = self.folder.create(folder / "safe", PASSPHRASE, NOW_S)
        self.store = SqlIdentities(database)
        self.registrar = Registrar(
            self.folder.issuing_authority, self.store, "plant", lambda: self.now_s, days=30, tuf_root=lambda: "{}"
        )
        self.gateway = Identity(folder / "gateway")

    @property
    def root(self) -> bytes:
        return load_certificate(self.folder.root).fingerprint(hashes.SHA256())

    def token(self, gateway: str = "gw-1", life_s: float = 3600) -> Token:
        return new_token(self.store, self.root, gateway, self.now_s, life_s)

    def enrolled(self) -> Pending:
        token = self.token()
        pending = enrol_request(self.gateway, "gw-1", token)
        accept(self.gateway, pending, self.registrar.enrol(pending.request).payload, "gw-1", self.root, self.now_s)
        return pending


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path)


def csr(name: str = "gw-1", key: Any = None, *more: x509.NameAttribute) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *more])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def request(token: Token, text: str, gateway: str = "gw-1") -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(token.seed)
    signed = encode(CertificateRequest(gateway=gateway, csr=text))
    keyid = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()
    return encode(Envelope(msgspec.Raw(signed), [Signature(keyid, key.sign(REQUEST_CONTEXT + signed).hex())]))


def refused(answer: Answer, reason: str, *words: str) -> None:
    assert answer.reason == reason, answer.text
    body = decode_reply_body(bytes(decode_reply(answer.payload, "").signed), "")
    assert getattr(body, "reason", None) == reason
    assert all(word in answer.text for word in words), answer.text


def test_what_is_issued(desk: Desk) -> None:
    desk.enrolled()
    made = x509.load_pem_x509_certificates(desk.gateway.pem.read_bytes().split(b"\n", 1)[1])[0]
    extensions = made.extensions
    assert made.subject.rfc4514_string() == "CN=gw-1"
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:millwright:gateway:plant:gw-1"]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [u.dotted_string for u in usage] == ["1.3.6.1.5.5.7.3.2"]
    assert made.not_valid_after_utc.timestamp() == NOW_S + 30 * DAY_S
    facts = desk.gateway.facts()
    assert facts is not None
    assert (facts.gateway, facts.fleet, facts.not_after_s) == ("gw-1", "plant", NOW_S + 30 * DAY_S)
    issuing = load_certificate(desk.folder.path / "issuing.crt")
    assert issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_lost_answer_is_given_again_and_another_request_is_not(desk: Desk) -> None:
    token = desk.token()
    first = request(token, csr())
    one, two = desk.registrar.enrol(first), desk.registrar.enrol(first)
    assert one.reason is None
    assert [r.serial for r in desk.store.certificates()] == [desk.store.certificates()[0].serial]
    assert decode_reply(one.payload, "").signed == decode_reply(two.payload, "").signed
    refused(desk.registrar.enrol(request(token, csr())), "token_used", "gw-1")


def test_a_token_is_good_once_however_many_ask(desk: Desk) -> None:
    token = desk.token()
    requests = [request(token, csr()) for _ in range(8)]
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda r=r: answers.append(desk.registrar.enrol(r))) for r in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.reason or "issued" for a in answers) == ["issued"] + ["token_used"] * 7


@pytest.mark.parametrize(
    ("reason", "words", "make"),
    [
        ("csr_key", ["P-256", "secp384r1"], lambda: csr(key=ec.generate_private_key(ec.SECP384R1()))),
        ("csr_key", ["P-256", "RSA"], lambda: csr(key=rsa.generate_private_key(65537, 2048))),
        ("csr_name", ["CN=gw-1 alone", "CN=gw-2"], lambda: csr("gw-2")),
        ("csr_name", ["CN=gw-1 alone"], lambda: csr("gw-1", None, x509.NameAttribute(NameOID.COMMON_NAME, "gw-2"))),
        ("csr_format", ["PKCS #10"], lambda: "-----BEGIN NOTHING-----"),
        ("csr_signature", ["its own key"], None),
    ],
)
def test_bad_requests(desk: Desk, reason: str, words: list[str], make: Any) -> None:
    token = desk.token()
    refused(desk.registrar.enrol(request(token, (make or forged)())), reason, *words)
    assert desk.store.certificates() == []
    assert desk.registrar.enrol(request(token, csr())).reason is None  # the token was not spent


def forged() -> str:
    der = bytearray(x509.load_pem_x509_csr(csr().encode()).public_bytes(Encoding.DER))
    other = x509.load_pem_x509_csr(csr().encode())
    der[-60:] = other.public_bytes(Encoding.DER)[-60:]
    import base64

    return (
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.encodebytes(bytes(der)).decode()
        + "-----END CERTIFICATE REQUEST-----\n"
    )


def test_tokens(desk: Desk) -> None:
    token = desk.token()
    refused(desk.registrar.enrol(request(token, csr("gw-2"), "gw-2")), "gateway_foreign", "gw-1", "gw-2")
    good = request(token, csr())
    refused(desk.registrar.enrol(good, "00" * 32), "request_signature")
    envelope = msgspec.json.decode(good)
    envelope["signed"]["gateway"] = "gw-3"
    refused(desk.registrar.enrol(msgspec.json.encode(envelope)), "request_signature")
    refused(desk.registrar.enrol(b"{}"), "request_format")
    refused(desk.registrar.enrol(b"x" * 100_000), "request_format", "at most 16384")
    refused(desk.registrar.enrol(request(Token(b"\1" * 32, b""), csr())), "token_unknown")
    desk.now_s += 3600
    refused(desk.registrar.enrol(good), "token_expired")
    newer = desk.token()
    newest = desk.token()
    refused(desk.registrar.enrol(request(newer, csr())), "token_expired")
    assert desk.registrar.enrol(request(newest, csr())).reason is None
    with pytest.raises(ConflictError, match="the hub's own"):
        desk.token("hub-plant")


def test_renewal(desk: Desk) -> None:
    desk.enrolled()
    before = desk.gateway.pem.read_bytes()
    desk.now_s += 20 * DAY_S
    pending = renew_request(desk.gateway, "gw-1")
    assert renew_request(desk.gateway, "gw-1") == pending  # the same until it is answered
    refused(desk.registrar.renew(pending.request, "gw-2"), "gateway_foreign", "came as gw-2")
    refused(desk.registrar.enrol(pending.request), "token_unknown")
    answer = desk.registrar.renew(pending.request, "gw-1")
    accept(desk.gateway, pending, answer.payload, "gw-1", desk.root, desk.now_s)
    assert desk.gateway.pem.read_bytes() != before
    facts = desk.gateway.facts()
    assert facts is not None
    assert facts.not_after_s == desk.now_s + 30 * DAY_S
    desk.store.revoke("gw-1", desk.now_s, "stolen")
    refused(desk.registrar.renew(renew_request(desk.gateway, "gw-1").request, "gw-1"), "certificate_revoked")


def test_an_expired_certificate_cannot_renew(desk: Desk) -> None:
    desk.enrolled()
    desk.now_s += 31 * DAY_S
    refused(desk.registrar.renew(renew_request(desk.gateway, "gw-1").request, "gw-1"), "certificate_expired", "enrol")


def test_answers_that_are_not_believed(desk: Desk, tmp_path: Path) -> None:
    token = desk.token()
    pending = enrol_request(desk.gateway, "gw-1", token)
    good = desk.registrar.enrol(pending.request).payload

    def fails(payload: bytes, word: str, root: bytes = desk.root, now_s: float = NOW_S) -> None:
        with pytest.raises(EnrolmentError, match=word):
            accept(desk.gateway, pending, payload, "gw-1", root, now_s)
        assert not desk.gateway.pem.exists()

    fails(good.replace(b'"fleet":"plant"', b'"fleet":"evil!"'), "InvalidSignature")
    fails(good, "another one than the token names", root=b"\0" * 32)
    fails(good, "clock right", now_s=NOW_S - DAY_S)
    fails(desk.registrar.enrol(request(desk.token("gw-2"), csr("gw-2"), "gw-2")).payload, "another request")
    fails(b"{}", "not a valid certificate reply")
    accept(desk.gateway, pending, good, "gw-1", desk.root, NOW_S)


def test_revocation_lists(desk: Desk) -> None:
    assert refresh_crl(desk.folder, desk.store, 10, lambda: desk.now_s)
    assert not refresh_crl(desk.folder, desk.store, 10, lambda: desk.now_s)
    desk.enrolled()
    (record,) = desk.store.revoke("gw-1", desk.now_s, "stolen")
    desk.now_s += 5
    assert refresh_crl(desk.folder, desk.store, 10, lambda: desk.now_s)
    crl = x509.load_pem_x509_crl(desk.folder.crl.read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(int(record.serial, 16)) is not None
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
    desk.now_s += 6 * DAY_S  # over half of its life
    assert refresh_crl(desk.folder, desk.store, 10, lambda: desk.now_s)
    # A replaced authority goes on answering for what it issued.
    desk.folder.reissue(desk.root_key.parent, PASSPHRASE, desk.now_s + 10)
    desk.now_s += 20
    assert refresh_crl(desk.folder, desk.store, 10, lambda: desk.now_s)
    assert desk.folder.crl.read_bytes().count(b"BEGIN X509 CRL") == 2
    assert x509.load_pem_x509_crl(desk.folder.crl.read_bytes()).next_update_utc is not None


def test_nothing_is_overwritten_and_the_root_key_is_encrypted(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="will not be overwritten"):
        desk.folder.create(tmp_path / "elsewhere", PASSPHRASE, NOW_S)
    assert b"ENCRYPTED PRIVATE KEY" in desk.root_key.read_bytes()
    with pytest.raises(KeysError, match="cannot be read"):
        desk.folder.reissue(desk.root_key.parent, b"wrong passphrase!", NOW_S)
    with pytest.raises(KeysError, match="at least 12 bytes"):
        IdentityFolder(tmp_path / "new", "plant").create(tmp_path / "safe2", b"short", NOW_S)


def test_a_flood_is_not_looked_at() -> None:
    allowance = Allowance(rate_s=1, burst=10, each_rate_s=1, each_burst=3)
    assert [allowance.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert sum(allowance.take(f"k{i}", 0.0) for i in range(20)) == 7
    assert allowance.take("a", 2.0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=400), at=st.integers(0, 5000), flip=st.integers(1, 255))
def test_any_bytes_get_a_signed_refusal(desk: Desk, junk: bytes, at: int, flip: int) -> None:
    """On both desks: junk, a good request with junk for its CSR, and a good one with one byte changed."""
    token = desk.token()
    text = request(token, junk.decode("latin-1")[:4000])
    flipped = bytearray(request(token, csr()))
    flipped[at % len(flipped)] ^= flip
    for payload in (junk, text, bytes(flipped)):
        for answer in (desk.registrar.enrol(payload), desk.registrar.renew(payload, "gw-1")):
            assert answer.reason is not None
            decode_reply_body(bytes(decode_reply(answer.payload, "").signed), "")
    for payload in (junk, bytes(flipped)):
        pending = Pending(keyid="", request=b"", key="")
        with pytest.raises(EnrolmentError):
            accept(desk.gateway, pending, payload, "gw-1", desk.root, NOW_S)


def test_tokens_as_text() -> None:
    token = Token(b"s" * 32, b"r" * 32)
    assert parse_token(f" {token.to_text()}\n") == token
    assert "s" * 8 not in repr(token)
    for text in ("", "mwt1_abc", token.to_text()[:-2], token.to_text()[5:], "mwt1_" + "ä" * 86):
        with pytest.raises(MessageError, match="was it cut off"):
            parse_token(text)


def test_the_root_of_trust_never_goes_back(tmp_path: Path) -> None:
    def root(version: int, mark: str = "") -> bytes:
        return msgspec.json.encode({"signed": {"version": version, "mark": mark}})

    path = tmp_path / "root.json"
    keep_root(path, root(2))
    keep_root(path, root(1))
    assert path.read_bytes() == root(2)
    keep_root(path, root(3))
    assert path.read_bytes() == root(3)
    with pytest.raises(EnrolmentError, match="another hub before"):
        keep_root(path, root(3, "other"))
