"""Sign-in through an OpenID Connect provider: asks it over HTTPS, and keeps the account that it names."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx

from cloud_hub.accounts import single_sign_on as rules
from cloud_hub.accounts.errors import SignInError
from cloud_hub.accounts.permissions import Role, command_line
from cloud_hub.accounts.records import Limits, ProviderSettings
from cloud_hub.accounts.single_sign_on import Attempt, Endpoints, Person
from cloud_hub.errors import ConflictError
from cloud_hub.services.sign_in import SignedIn, Visitor, begin
from cloud_hub.store import accounts as store
from cloud_hub.store import audit
from cloud_hub.store.database import Database, Session

_TIMEOUT_S = 10.0
_MAX_BYTES = 1 << 20
_FRESH_S = 3600.0
_BY = command_line("single sign-on")


class Provider:
    """One provider. Its addresses are kept for an hour; its keys are asked for at every sign-in, which are few."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._endpoints: tuple[float, Endpoints] | None = None

    def begin(self, now_s: float) -> tuple[Attempt, str]:
        """What the browser is to keep, and where to send it. Raises: SignInError: the provider cannot be asked."""
        attempt = rules.new_attempt()
        return attempt, rules.authorization_url(self.settings, self._discover(now_s), attempt)

    def finish(self, attempt: Attempt, code: str, error: str, now_s: float) -> Person:
        """Who has come back with this code, or with an error in place of it. Raises: SignInError."""
        if error or not code:
            raise SignInError(f"single sign-on: expected a code, the provider said {error[:100]!r}")
        endpoints = self._discover(now_s)
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.settings.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        answer = _ask("POST", endpoints.token, body, (self.settings.client_id, self.settings.client_secret))
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SignInError("single sign-on: the provider sent no ID token")
        return rules.read_id_token(self.settings, token, _ask("GET", endpoints.jwks), attempt, now_s)

    def _discover(self, now_s: float) -> Endpoints:
        with self._lock:
            if self._endpoints is None or not 0 <= now_s - self._endpoints[0] < _FRESH_S:
                url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                self._endpoints = now_s, rules.read_discovery(self.settings, _ask("GET", url))
            return self._endpoints[1]


def _ask(
    method: str, url: str, form: Mapping[str, str] | None = None, auth: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A JSON object from the provider. Redirects are not followed: they would take secrets elsewhere."""
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client,
            client.stream(method, url, data=form, auth=auth, headers={"accept": "application/json"}) as answer,
        ):
            content = b""
            for part in answer.iter_bytes():
                content += part
                if len(content) > _MAX_BYTES:
                    raise SignInError(f"single sign-on: {url}: more than {_MAX_BYTES} bytes")
            if answer.status_code != httpx.codes.OK:
                raise SignInError(f"single sign-on: {url}: expected status 200, got {answer.status_code}")
            found = httpx.Response(200, content=content).json()
    except (httpx.HTTPError, ValueError) as error:
        raise SignInError(f"single sign-on: {url}: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise SignInError(f"single sign-on: {url}: expected a JSON object")
    return found


def enter(
    database: Database, limits: Limits, visitor: Visitor, person: Person, now_s: float, request_id: str | None = None
) -> SignedIn:
    """Begin a session for somebody whom the provider has named. Their role is what it says now.

    Raises: SignInError: no role is theirs, or the account is disabled. ConflictError: their name is another account's.
    """
    if person.role is None:
        raise SignInError(f"single sign-on: {person.name} has no role here; ask an administrator")
    with database.write() as session:
        row = store.find_by_subject(session, person.issuer, person.subject)
        if row is None:
            name = _create(session, person, person.role, now_s, request_id)
        else:
            name = row.name
            if row.disabled_s is not None:
                raise SignInError(f"single sign-on: {name} is disabled")
            if row.role != person.role.value:
                before, row.role, row.revision = row.role, person.role.value, row.revision + 1
                store.end_sessions(session, name)
                audit.record(
                    session, _BY, "account.change", f"account:{name}", before={"role": before},
                    after={"role": person.role.value}, now_s=now_s, request_id=request_id,
                )  # fmt: skip
        return begin(session, limits, visitor, name, "oidc", now_s, request_id)


def _create(session: Session, person: Person, role: Role, now_s: float, request_id: str | None) -> str:
    """An account of this name that the provider did not make is somebody else's: nobody gets into it this way."""
    if store.find_account(session, person.name) is not None:
        raise ConflictError(f"single sign-on: the account {person.name} is not from there; ask an administrator")
    row = store.add_account(session, person.name, person.full_name, role, now_s, "single sign-on")
    row.issuer, row.subject = person.issuer, person.subject
    audit.record(
        session, _BY, "account.create", f"account:{row.name}", before=None,
        after={"role": role.value, "full_name": person.full_name, "issuer": person.issuer}, now_s=now_s,
        request_id=request_id,
    )  # fmt: skip
    return row.name
