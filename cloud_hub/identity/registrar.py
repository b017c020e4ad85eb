"""From a request to an answer: enrolling with a token, renewing with a certificate. Knows no broker and no HTTP."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_hub.errors import ConflictError
from cloud_hub.identity import checks
from cloud_hub.identity.authority import Authority, fingerprint, pem
from cloud_hub.identity.records import CertificateRecord, EnrolError, IdentityStore, TokenRecord
from models.contract.identity import CertificateRequest, Issued, Refused, SignedReply, Token
from models.contract.ids import GatewayId, check_id

_log = logging.getLogger(__name__)
RESERVED_PREFIX = "hub-"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `reason` is None when a certificate was issued."""

    payload: bytes
    reason: str | None
    text: str = ""


class Allowance:
    """How many requests are looked at: token buckets, one for all together and one for each key."""

    def __init__(
        self, *, rate_s: float = 20.0, burst: int = 100, each_rate_s: float = 0.5, each_burst: int = 6
    ) -> None:
        self._all, self._each = (rate_s, float(burst)), (each_rate_s, float(each_burst))
        self._level, self._at_s = float(burst), 0.0
        self._keys: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now_s: float) -> bool:
        """Whether one more request of this key may be looked at now."""
        level, at_s = self._keys.pop(key, (self._each[1], now_s))
        level = min(self._each[1], level + max(0.0, now_s - at_s) * self._each[0])
        self._level = min(self._all[1], self._level + max(0.0, now_s - self._at_s) * self._all[0])
        self._at_s = now_s
        granted = level >= 1.0 and self._level >= 1.0
        if granted:
            level, self._level = level - 1.0, self._level - 1.0
        self._keys[key] = (level, now_s)
        while len(self._keys) > 4096:
            self._keys.popitem(last=False)
        return granted


class Registrar:
    """The hub's registration desk. Methods may be called from any thread, one at a time."""

    def __init__(
        self,
        authority: Callable[[], Authority],
        store: IdentityStore,
        fleet: str,
        now_s: Callable[[], float],
        *,
        days: float,
        tuf_root: Callable[[], str | None] = lambda: None,
        root_crl: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._authority = authority
        self._store = store
        self._fleet = fleet
        self._now_s = now_s
        self._days = days
        self._tuf_root = tuf_root
        self._root_crl = root_crl

    def enrol(self, payload: bytes, token_hash: str | None = None) -> Answer:
        """Answer a request that a token signed.

        Args: token_hash: from the topic, None when there is none (HTTPS).
        """
        try:
            return self._issued(payload, self._enrol(payload, token_hash))
        except EnrolError as error:
            return self._refused(payload, error, "enrolment")

    def _enrol(self, payload: bytes, token_hash: str | None) -> CertificateRecord:
        envelope, covered, signature = checks.open_envelope(payload)
        keyid = envelope.signatures[0].keyid
        if token_hash not in {None, keyid}:
            raise EnrolError("request_signature", "request: signed with another token than the topic's")
        token = self._store.token(keyid)
        if token is None:
            raise EnrolError("token_unknown", "token: this hub has issued no such token, or a newer one took its place")
        checks.check_token_signature(token.public_key, covered, signature)
        request = checks.decode_request(envelope)
        if request.gateway != token.gateway:
            text = f"token: issued for gateway {token.gateway}, not for {request.gateway}"
            raise EnrolError("gateway_foreign", text)
        key = checks.check_csr(request.csr, token.gateway)
        return self._store.use_token(keyid, _digest(request.csr), self._now_s(), lambda: self._issue(request, key))

    def renew(self, payload: bytes, gateway: str) -> Answer:
        """Answer a request that a certificate in use signed, and that came as this gateway's."""
        try:
            return self._issued(payload, self._renew(payload, gateway))
        except EnrolError as error:
            return self._refused(payload, error, f"renewal of {gateway}")

    def _renew(self, payload: bytes, gateway: str) -> CertificateRecord:
        envelope, covered, signature = checks.open_envelope(payload)
        current = self._store.certificate(envelope.signatures[0].keyid)
        if current is None:
            raise EnrolError("certificate_unknown", "request: names a certificate that this hub has not issued")
        checks.check_certificate_signature(current.chain, covered, signature)
        request = checks.decode_request(envelope)
        if not gateway == current.gateway == request.gateway:
            text = f"request: came as {gateway}, for {request.gateway}, with a certificate of {current.gateway}"
            raise EnrolError("gateway_foreign", text)
        key = checks.check_csr(request.csr, gateway)
        digest = _digest(request.csr)
        return self._store.renew(current.sha256, digest, self._now_s(), lambda: self._issue(request, key))

    def _issue(self, request: CertificateRequest, key: ec.EllipticCurvePublicKey) -> CertificateRecord:
        now_s, authority = self._now_s(), self._authority()
        certificate = authority.issue_gateway(key, request.gateway, self._fleet, now_s, self._days)
        return CertificateRecord(
            serial=f"{certificate.serial_number:x}",
            sha256=fingerprint(certificate),
            key_sha256=checks.key_digest(key),
            csr_sha256=_digest(request.csr),
            gateway=request.gateway,
            issuer_sha256=fingerprint(authority.certificate),
            issued_s=now_s,
            not_before_s=certificate.not_valid_before_utc.timestamp(),
            not_after_s=certificate.not_valid_after_utc.timestamp(),
            chain=pem(certificate) + pem(authority.certificate),
        )

    def _issued(self, payload: bytes, record: CertificateRecord) -> Answer:
        _log.info("certificate %s for gateway %s", record.serial, record.gateway)
        body = Issued(
            request_sha256=hashlib.sha256(payload).hexdigest(), gateway=record.gateway, fleet=self._fleet,
            chain=record.chain, tuf_root=self._tuf_root(), root_crl=self._root_crl(),
        )  # fmt: skip
        return Answer(self._sign(body), None)

    def _refused(self, payload: bytes, error: EnrolError, what: str) -> Answer:
        _log.warning("%s refused, %s: %s", what, error.reason, error)
        body = Refused(
            request_sha256=hashlib.sha256(payload).hexdigest(),
            reason=error.reason,  # type: ignore[arg-type]  # a Reason, which msgspec checks on the other side
            text=str(error)[:2000],
        )
        return Answer(self._sign(body), error.reason, str(error))

    def _sign(self, body: Issued | Refused) -> bytes:
        authority = self._authority()
        signed = checks.encode_body(body)
        reply = SignedReply(
            signed=msgspec.Raw(signed), signature=authority.sign_reply(signed), authority=authority.chain_pem
        )
        return msgspec.json.encode(reply)


def new_token(
    store: IdentityStore, root_sha256: bytes, gateway: str, now_s: float, life_s: float, crl_number: int = 0
) -> Token:
    """Issue a token. The store gets the public half of its key; the secret is in what is returned, and nowhere else.

    Raises: TopicError: not a gateway's id. ConflictError: an id that is kept for the hub's own connections.
    """
    check_id(gateway, "gateway")
    if gateway.startswith(RESERVED_PREFIX):
        raise ConflictError(f"gateway {gateway}: names that begin with {RESERVED_PREFIX} are the hub's own")
    seed = secrets.token_bytes(32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    store.add_token(TokenRecord(hashlib.sha256(public).hexdigest(), public, GatewayId(gateway), now_s, now_s + life_s))
    return Token(seed, root_sha256, crl_number)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
