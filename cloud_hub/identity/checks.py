"""Holding a certificate request against what is expected. Every failure is an `EnrolError` with its reason."""

from __future__ import annotations

import hashlib

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from cloud_hub.identity.records import EnrolError
from models.contract.identity import MAX_REQUEST_BYTES, REQUEST_CONTEXT, CertificateRequest
from models.contract.messages import Envelope, decode
from models.errors import ContractError


def open_envelope(payload: bytes) -> tuple[Envelope, bytes, bytes]:
    """(envelope, what its signature covers, signature). Raises: EnrolError: request_format."""
    if len(payload) > MAX_REQUEST_BYTES:
        text = f"request: expected at most {MAX_REQUEST_BYTES} bytes, got {len(payload)}"
        raise EnrolError("request_format", text)
    try:
        envelope = decode(Envelope, payload, "request")
        signature = bytes.fromhex(envelope.signatures[0].sig)
    except (ContractError, ValueError) as error:
        raise EnrolError("request_format", str(error)) from error
    if len(envelope.signatures) != 1:
        raise EnrolError("request_format", f"request: expected one signature, got {len(envelope.signatures)}")
    return envelope, REQUEST_CONTEXT + bytes(envelope.signed), signature


def check_token_signature(public_key: bytes, covered: bytes, signature: bytes) -> None:
    """Raises: EnrolError: request_signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, covered)
    except InvalidSignature as error:
        raise EnrolError("request_signature", "request: not signed with this token") from error


def check_certificate_signature(chain: str, covered: bytes, signature: bytes) -> None:
    """Raises: EnrolError: request_signature."""
    key = x509.load_pem_x509_certificate(chain.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - we issue no other
    try:
        key.verify(signature, covered, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise EnrolError("request_signature", "request: not signed with the certificate that it names") from error


def decode_request(envelope: Envelope) -> CertificateRequest:
    """The request, after its signature was checked. Raises: EnrolError: request_format."""
    try:
        return decode(CertificateRequest, bytes(envelope.signed), "request")
    except ContractError as error:
        raise EnrolError("request_format", str(error)) from error


def check_csr(text: str, gateway: str) -> ec.EllipticCurvePublicKey:
    """The key of a PKCS #10 request for this gateway. Nothing else of the request goes into the certificate.

    Raises: EnrolError: csr_format, csr_signature, csr_key, csr_name.
    """
    try:
        csr = x509.load_pem_x509_csr(text.encode())
        key, subject, signed = csr.public_key(), list(csr.subject), csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise EnrolError("csr_format", f"CSR: expected PKCS #10 in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        kind = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__.lstrip("_")
        raise EnrolError("csr_key", f"CSR: expected a key on P-256, got {kind}")
    if not signed:
        raise EnrolError("csr_signature", "CSR: not signed with its own key")
    if [(attribute.oid, attribute.value) for attribute in subject] != [(NameOID.COMMON_NAME, gateway)]:
        raise EnrolError("csr_name", f"CSR: expected CN={gateway} alone, got {csr.subject.rfc4514_string()[:200]}")
    return key


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key, hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def encode_body(body: msgspec.Struct) -> bytes:
    """The exact bytes that are signed."""
    return msgspec.json.encode(body)
