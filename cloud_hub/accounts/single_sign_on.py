"""OpenID Connect (Core 1.0): what is asked of a provider, and what of its answers is believed. No HTTP here.

Authorization code with PKCE (RFC 7636, S256), `state` and `nonce`. An ID token counts only with a signature by one
of the provider's keys, made with a public-key algorithm, for exactly our client, by exactly this issuer, in time, and
with the nonce of this very sign-in (Core 3.1.3.7).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from cloud_hub.accounts.errors import SignInError
from cloud_hub.accounts.permissions import Role
from cloud_hub.accounts.records import ProviderSettings
from cloud_hub.accounts.secrets import is_secret, new_secret

# Never "none", and no HMAC: the client secret is no key for signatures.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
_LEEWAY_S = 60
_MAX_TOKEN_CHARS = 32_768


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What discovery says."""

    authorization: str
    token: str
    jwks: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in on its way to the provider and back. The browser alone keeps it, in a cookie hidden from scripts."""

    state: str
    nonce: str
    verifier: str

    def to_text(self) -> str:
        """For the cookie."""
        return f"{self.state}.{self.nonce}.{self.verifier}"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider has named. `role` None: nothing that we let in."""

    issuer: str
    subject: str
    name: str
    full_name: str
    role: Role | None


def new_attempt() -> Attempt:
    """Fresh secrets, 256 bits each."""
    return Attempt(new_secret(), new_secret(), new_secret())


def read_attempt(text: str, state: str) -> Attempt:
    """The attempt that a browser has kept, when the provider's answer belongs to it.

    Raises: SignInError: there is none, or the answer is one to somebody else's.
    """
    parts = text.split(".")
    ours = len(parts) == 3 and all(is_secret(part) for part in parts)
    if not ours or not hmac.compare_digest(parts[0].encode(), state.encode()):
        raise SignInError("single sign-on: this answer belongs to no sign-in of this browser; begin again")
    return Attempt(*parts)


def authorization_url(settings: ProviderSettings, endpoints: Endpoints, attempt: Attempt) -> str:
    """Where to send the browser."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).decode().rstrip("=")
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": settings.redirect_uri,
        "scope": settings.scope,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoints.authorization}{'&' if '?' in endpoints.authorization else '?'}{urlencode(query)}"


def read_discovery(settings: ProviderSettings, document: Mapping[str, Any]) -> Endpoints:
    """The provider's addresses. Raises: SignInError: it is another issuer, or an address is missing or not HTTPS."""
    if document.get("issuer") != settings.issuer:
        raise SignInError(f"single sign-on: expected issuer {settings.issuer!r}, got {document.get('issuer')!r}")
    found = []
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        url = document.get(name)
        if not isinstance(url, str) or not is_safe_url(url):
            raise SignInError(f"single sign-on: {name}: expected an https:// address, got {url!r}")
        found.append(url)
    return Endpoints(*found)


def is_safe_url(url: str) -> bool:
    """Whether secrets may go there: over TLS, or to this very machine."""
    return re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", url) is not None


def read_id_token(
    settings: ProviderSettings, token: str, keys: Mapping[str, Any], attempt: Attempt, now_s: float
) -> Person:
    """Who has signed in. Raises: SignInError: the token is not to be believed; the text says why."""
    if len(token) > _MAX_TOKEN_CHARS:
        raise SignInError(f"single sign-on: ID token of {len(token)} characters")
    try:
        key_set = KeySet.import_key_set(keys)  # type: ignore[arg-type]  # checked by joserfc
        claims = jwt.decode(token, key_set, algorithms=ALGORITHMS).claims
        registry = jwt.JWTClaimsRegistry(
            now=int(now_s),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": attempt.nonce},
        )
        registry.validate(claims)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise SignInError(f"single sign-on: ID token refused: {type(error).__name__}: {error}") from error
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != settings.client_id:
        raise SignInError("single sign-on: ID token refused: for several clients, and not issued to this one (azp)")
    if claims.get("azp", settings.client_id) != settings.client_id:
        raise SignInError(f"single sign-on: ID token refused: issued to {claims['azp']!r} (azp)")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise SignInError("single sign-on: ID token refused: expected sub of 1 to 255 characters")
    wanted = next((str(claims[c]) for c in ("preferred_username", "email") if claims.get(c)), subject)
    full = str(claims.get("name") or wanted)
    return Person(settings.issuer, subject, account_name(wanted), _printable(full), role_of(settings, claims))


def role_of(settings: ProviderSettings, claims: Mapping[str, Any]) -> Role | None:
    """The highest role that one of the claim's values stands for."""
    value = claims.get(settings.role_claim)
    values: Sequence[object] = value if isinstance(value, list) else [value]
    found = {settings.roles[v] for v in values if isinstance(v, str) and v in settings.roles}
    return max(found, key=list(Role).index) if found else settings.default_role


def account_name(text: str) -> str:
    """A name that an account may have, from what a provider calls somebody."""
    name = re.sub(r"[^a-z0-9._@+-]+", "-", text.strip().lower()).strip("-._@+")[:64]
    return name or "person"


def _printable(text: str) -> str:
    kept = "".join(letter for letter in text if letter.isprintable()).strip()[:100]
    return kept or "-"
