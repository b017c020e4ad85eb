"""Keys, requests and answers: the only file of the agent that imports cryptography.

`edge-agent enrol` calls it; the running agent, which shall not carry cryptography in its memory for a year, starts it
as `python -m edge_agent.identity_worker request|install FOLDER GATEWAY`: the request comes on stdout, the answer goes
in on stdin. It ends with 0, or with 1 and one line of JSON (`reason`, `text`) on stdout.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from edge_agent.errors import EnrolmentError, StorageError
from edge_agent.identity import Facts, Identity, Pending, RevokedAuthorities, check_valid, head_of
from edge_agent.storage import prepare_folder, remove_durably, write_atomically
from models.contract.identity import (
    MAX_REPLY_BYTES,
    REPLY_CONTEXT,
    REQUEST_CONTEXT,
    CertificateRequest,
    Issued,
    Refused,
    Token,
    decode_reply,
    decode_reply_body,
)
from models.contract.messages import Envelope, Signature, encode
from models.errors import MessageError, MillwrightError

Sign = Callable[[bytes], bytes]


def token_hash(token: Token) -> str:
    """What topics show of a token: SHA-256 of its public key."""
    public = Ed25519PrivateKey.from_private_bytes(token.seed).public_key().public_bytes_raw()
    return hashlib.sha256(public).hexdigest()


def enrol_request(identity: Identity, gateway: str, token: Token) -> Pending:
    """A request that this token signs; with the same token, the same request again. Raises: StorageError."""
    return _request(identity, gateway, token_hash(token), Ed25519PrivateKey.from_private_bytes(token.seed).sign)


def renew_request(identity: Identity, gateway: str) -> Pending:
    """A request that the certificate in use signs. Raises: StorageError. EnrolmentError: there is none in use."""
    facts = identity.facts()
    if facts is None:
        raise EnrolmentError("not_enrolled", f"{identity.pem}: there is no certificate to renew")
    key = load_pem_private_key(identity.pem.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we make no other
    return _request(identity, gateway, facts.sha256, lambda data: key.sign(data, ec.ECDSA(hashes.SHA256())))


def _request(identity: Identity, gateway: str, keyid: str, sign: Sign) -> Pending:
    prepare_folder(identity.folder)
    try:
        pending = msgspec.json.decode(identity.pending.read_bytes(), type=Pending)
        if pending.keyid == keyid:
            return pending
    except (FileNotFoundError, msgspec.DecodeError):
        pass  # none, or one that a newer release wrote: a new one does
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gateway)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    signed = encode(CertificateRequest(gateway=gateway, csr=csr.public_bytes(Encoding.PEM).decode()))
    signature = Signature(keyid, sign(REQUEST_CONTEXT + signed).hex())
    pending = Pending(
        keyid=keyid,
        request=encode(Envelope(msgspec.Raw(signed), [signature])),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
    write_atomically(identity.pending, msgspec.json.encode(pending))
    return pending


def accept(
    identity: Identity,
    pending: Pending,
    payload: bytes,
    gateway: str,
    root_sha256: bytes,
    now_s: float,
    crl_number: int = 0,
) -> Issued:
    """Check an answer, and from then on be who it says.

    Args:   root_sha256: of the root certificate that we believe in: from the token, or from the folder. crl_number: of
            the root's list of revoked authorities that there is at least, from the token.
    Raises: EnrolmentError: refused by the hub (with its reason), or `reply`: an answer that is not to be believed.
            StorageError.
    """
    try:
        reply = decode_reply(payload, "answer")
        issuing, root = _authority(reply.authority, root_sha256)
        _verify(issuing.public_key(), bytes.fromhex(reply.signature), REPLY_CONTEXT + bytes(reply.signed))
        body = decode_reply_body(bytes(reply.signed), "answer")
    except (MessageError, InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise EnrolmentError("reply", f"answer: not one of the hub that issued the token: {error!r:.300}") from error
    revoked = _revoked(identity, body, root, crl_number)
    if f"{issuing.serial_number:x}" in revoked.serials:
        raise EnrolmentError("reply", "answer: by an authority that the root has revoked")
    if body.request_sha256 != hashlib.sha256(pending.request).hexdigest():
        raise EnrolmentError("reply", "answer: belongs to another request")
    if isinstance(body, Refused):
        raise EnrolmentError(body.reason, f"the hub refused: {body.text} ({body.reason})")
    key = load_pem_private_key(pending.key.encode(), None)
    facts = _facts(body, issuing, key.public_key(), gateway)
    check_valid(facts, now_s)
    if revoked.number:
        write_atomically(identity.revoked_file, msgspec.json.encode(revoked))
    write_atomically(identity.ca, root.public_bytes(Encoding.PEM))
    write_atomically(identity.pem, (head_of(facts) + pending.key + body.chain).encode())
    remove_durably(identity.pending)
    return body


def _authority(text: str, root_sha256: bytes) -> tuple[x509.Certificate, x509.Certificate]:
    """(issuing, root), when the root is ours and vouches for the other. Raises: ValueError, InvalidSignature."""
    chain = x509.load_pem_x509_certificates(text.encode())
    if len(chain) != 2:
        raise ValueError(f"expected the authority and its root, got {len(chain)} certificates")
    issuing, root = chain
    if root.fingerprint(hashes.SHA256()) != root_sha256:
        raise ValueError("the root certificate is another one than the token names")
    issuing.verify_directly_issued_by(root)
    constraints = issuing.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not constraints.ca or not issuing.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
        raise ValueError("signed by a certificate that is no authority")
    return issuing, root


def _revoked(identity: Identity, body: Issued | Refused, root: x509.Certificate, crl_number: int) -> RevokedAuthorities:
    """The newest list that we know of: from the answer, or kept. Raises: EnrolmentError: `reply`. StorageError."""
    kept = identity.revoked()
    if isinstance(body, Refused):
        return kept
    came = RevokedAuthorities()
    if body.root_crl is not None:
        try:
            came = _read_root_crl(body.root_crl, root)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
            raise EnrolmentError("reply", f"answer: expected the root's revocation list: {error!r:.300}") from error
    if came.number < crl_number:
        raise EnrolmentError(
            "reply",
            f"answer: expected the root's revocation list number {crl_number} or newer, as the token says, "
            f"got {came.number or 'none'}",
        )
    return came if came.number > kept.number else kept


def _read_root_crl(text: str, root: x509.Certificate) -> RevokedAuthorities:
    """Raises: ValueError, TypeError, InvalidSignature, ExtensionNotFound: not such a list by this root."""
    crl = x509.load_pem_x509_crl(text.encode())
    key = root.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(key):
        raise ValueError("it is not signed by the root")
    listed = {entry.serial_number for entry in crl}
    certificates = x509.load_pem_x509_certificates(text.encode()) if "BEGIN CERTIFICATE" in text else []
    for one in certificates:
        one.verify_directly_issued_by(root)
    named = {one.serial_number: one for one in certificates}
    if named.keys() != listed:
        raise ValueError(f"expected the certificates of the {len(listed)} that it lists behind it, got {len(named)}")
    return RevokedAuthorities(
        number=crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        serials=tuple(f"{serial:x}" for serial in sorted(listed)),
        names=tuple(sorted(str(name.value) for one in named.values() for name in one.subject)),
    )


def _verify(key: object, signature: bytes, data: bytes) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"expected a key on P-256, got {type(key).__name__}")
    key.verify(signature, data, ec.ECDSA(hashes.SHA256()))


def _facts(body: Issued, issuing: x509.Certificate, key: object, gateway: str) -> Facts:
    try:
        certificate = x509.load_pem_x509_certificates(body.chain.encode())[0]
        certificate.verify_directly_issued_by(issuing)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise EnrolmentError("reply", f"answer: expected a certificate by this hub: {error!r:.300}") from error
    names = [attribute.value for attribute in certificate.subject]
    if certificate.public_key() != key or names != [gateway] or body.gateway != gateway:
        raise EnrolmentError("reply", f"answer: expected a certificate of {gateway} for our key, got one of {names}")
    return Facts(
        gateway=gateway,
        fleet=body.fleet,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
    )


def root_digest(identity: Identity) -> bytes:
    """SHA-256 of the root certificate in the folder. Raises: StorageError."""
    try:
        return x509.load_pem_x509_certificate(identity.ca.read_bytes()).fingerprint(hashes.SHA256())
    except (OSError, ValueError) as error:
        raise StorageError(f"{identity.ca}: expected the root certificate: {error}") from error


def main(arguments: list[str]) -> int:
    """See the module."""
    what, folder, gateway = arguments
    identity = Identity(Path(folder))
    try:
        if what == "request":
            sys.stdout.buffer.write(renew_request(identity, gateway).request)
            return 0
        payload = sys.stdin.buffer.read(MAX_REPLY_BYTES + 1)
        pending = msgspec.json.decode(identity.pending.read_bytes(), type=Pending)
        accept(identity, pending, payload, gateway, root_digest(identity), time.time())
    except (MillwrightError, OSError, msgspec.DecodeError) as error:
        answer = {"reason": getattr(error, "reason", "storage"), "text": str(error)}
        sys.stdout.buffer.write(msgspec.json.encode(answer))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
