"""How a gateway comes by its certificate: requests, answers, and what the single-use token is.

A token is two secrets' worth of text that an operator carries to the gateway. Its first half is the seed of an Ed25519
key: the gateway signs its request with it, the hub knows the public half only (whoever reads the hub's database cannot
enrol), and topics show a hash of that. Its second half is the SHA-256 of the hub's root certificate: the gateway
believes an answer when it is signed by an authority below that root. So both directions are authenticated whatever
carries them, and the token itself never travels. After the halves, a token may have the number of the newest list of
authorities which that root has revoked: an answer without one as new is not believed, so that whoever stole the key of
an authority cannot pass it off on a gateway that never heard of the theft.

Requests are an `Envelope` with one signature over `REQUEST_CONTEXT` and the exact bytes of `signed`, which are a
`CertificateRequest`. Enrolling, it is by the token's key and `keyid` is the token's hash; renewing, it is by the key of
the certificate in use (ECDSA with SHA-256) and `keyid` is that certificate's SHA-256. Answers are a `SignedReply`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from models.contract.ids import Id, Sha256
from models.contract.messages import LongText, Message
from models.errors import MessageError

MAX_REQUEST_BYTES = 16_384
MAX_REPLY_BYTES = 131_072
MAX_CSR_CHARS = 4_096
MAX_CHAIN_CHARS = 16_384
MAX_ROOT_CHARS = 65_536
MAX_ROOT_CRL_CHARS = 32_768

REQUEST_CONTEXT = b"millwright certificate request 1\0"
REPLY_CONTEXT = b"millwright certificate reply 1\0"

# Whoever enrols over MQTT logs in as one of these users. They are no secret: they only keep client ids apart (see
# `enrol_user`), what is said is protected by the token.
ENROL_USERS = 256
ENROL_PASSWORD = "enrol"  # noqa: S105 - public on purpose

TOKEN_PREFIX = "mwt1_"  # noqa: S105 - tells what it is, holds no secret
_HALF_BYTES = 32
_NUMBER_BYTES = 4

Pem = Annotated[str, msgspec.Meta(max_length=MAX_CHAIN_CHARS)]
Reason = Literal[
    "request_format", "request_signature", "token_unknown", "token_used", "token_expired", "gateway_foreign",
    "csr_format", "csr_signature", "csr_key", "csr_name", "certificate_unknown", "certificate_expired",
    "certificate_revoked",
]  # fmt: skip


class CertificateRequest(Message, frozen=True, kw_only=True):
    """What a gateway signs. `csr`: PKCS #10 in PEM, for the same gateway."""

    gateway: Id
    csr: Annotated[str, msgspec.Meta(max_length=MAX_CSR_CHARS)]


class Issued(Message, frozen=True, kw_only=True, tag_field="type", tag="issued"):
    """The certificate. `request_sha256`: of the request's payload. `chain`: the gateway's certificate, then the
    authority below the root. `tuf_root`: root.json of the update repository, when the hub has one. `root_crl`: the
    root's list of revoked authorities, PEM, and after it their certificates.
    """

    request_sha256: Sha256
    gateway: Id
    fleet: Id
    chain: Pem
    tuf_root: Annotated[str, msgspec.Meta(max_length=MAX_ROOT_CHARS)] | None = None
    root_crl: Annotated[str, msgspec.Meta(max_length=MAX_ROOT_CRL_CHARS)] | None = None


class Refused(Message, frozen=True, kw_only=True, tag_field="type", tag="refused"):
    """Why there is none."""

    request_sha256: Sha256
    reason: Reason
    text: LongText


class SignedReply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. `signature`: ECDSA with SHA-256, hexadecimal, over `REPLY_CONTEXT` and the exact bytes of `signed`, by
    the first certificate of `authority` (PEM: the authority, then the root).
    """

    signed: msgspec.Raw
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{2,1024}\Z")]
    authority: Pem


def decode_reply(payload: bytes, where: str) -> SignedReply:
    """An answer whose signature is not checked yet. Raises: MessageError."""
    if len(payload) > MAX_REPLY_BYTES:
        raise MessageError(f"{where}: expected at most {MAX_REPLY_BYTES} bytes of reply, got {len(payload)}")
    try:
        return msgspec.json.decode(payload, type=SignedReply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"{where}: not a valid certificate reply: {error}") from error


def decode_reply_body(signed: bytes, where: str) -> Issued | Refused:
    """The signed part, after its signature was checked. Raises: MessageError."""
    try:
        return msgspec.json.decode(signed, type=Issued | Refused)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"{where}: not a valid certificate reply: {error}") from error


@dataclass(frozen=True, slots=True)
class Token:
    """`seed`: 32 bytes, the secret half. `root_sha256`: 32 bytes, of the hub's root certificate. `crl_number`: of the
    root's list of revoked authorities, 0 when there is none.
    """

    seed: bytes
    root_sha256: bytes
    crl_number: int = 0

    def __repr__(self) -> str:
        return "Token(...)"

    def to_text(self) -> str:
        """As it is handed to a person."""
        number = self.crl_number.to_bytes(_NUMBER_BYTES, "big") if self.crl_number else b""
        return TOKEN_PREFIX + base64.urlsafe_b64encode(self.seed + self.root_sha256 + number).decode().rstrip("=")


def enrol_user(token_hash: str) -> str:
    """The broker's user for a token. Its dot keeps it apart from every gateway's name; and since brokers use the user's
    name as client id, nobody who enrols can take a gateway's.
    """
    return f"enrol.{token_hash[:2]}"


def parse_token(text: str) -> Token:
    """The token in what somebody typed or pasted. Raises: MessageError: without showing it."""
    text = text.strip()
    body = text.removeprefix(TOKEN_PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not text.startswith(TOKEN_PREFIX) or len(data) not in {2 * _HALF_BYTES, 2 * _HALF_BYTES + _NUMBER_BYTES}:
        raise MessageError(
            f"token: expected {TOKEN_PREFIX} and 86 or 91 letters as `cloud-hub identity token` printed them, "
            f"got {len(text)} characters; was it cut off?"
        )
    number = int.from_bytes(data[2 * _HALF_BYTES :], "big")
    return Token(data[:_HALF_BYTES], data[_HALF_BYTES : 2 * _HALF_BYTES], number)
