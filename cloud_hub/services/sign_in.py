"""Who asks: sign-in with a password, sessions, API tokens, sign-out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_hub.accounts.errors import SignInError, TooManyTriesError
from cloud_hub.accounts.names import plain_name
from cloud_hub.accounts.passwords import Passwords
from cloud_hub.accounts.permissions import Principal
from cloud_hub.accounts.records import AccountView, Limits, SessionView
from cloud_hub.accounts.secrets import is_api_token, is_secret, new_secret
from cloud_hub.accounts.throttle import Throttle, keys_for
from cloud_hub.errors import StoreUnavailableError
from cloud_hub.store import accounts as store
from cloud_hub.store import audit
from cloud_hub.store.database import Database, Session

_log = logging.getLogger(__name__)
_WRONG = "name or password is wrong"


@dataclass(frozen=True, slots=True)
class Door:
    """What signing in needs beside the database; one per process."""

    limits: Limits = field(default_factory=Limits)
    passwords: Passwords = field(default_factory=Passwords)
    throttle: Throttle = field(default_factory=Throttle)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser that wants in. `session`: the secret of the session it has now; `device`: that of its device cookie."""

    address: str
    session: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """New secrets for a browser's cookies."""

    account: AccountView
    session: str
    device: str


def sign_in(
    database: Database,
    door: Door,
    visitor: Visitor,
    name: str,
    password: str,
    now_s: float,
    request_id: str | None = None,
) -> SignedIn:
    """Begin a session for somebody who knows their password. Whatever session the browser had is over.

    Raises: SignInError: name or password is wrong, or the account is disabled. TooManyTriesError: not looked at.
    """
    name = plain_name(name)[:100]
    with database.read() as session:
        row = store.find_account(session, name)
        stored = row.password_hash if row is not None else None
        known = visitor.device is not None and store.knows_device(session, visitor.device, name, now_s)
    keys = keys_for(name, visitor.address, visitor.device if known else None)
    wait_s = door.throttle.take(keys, now_s)
    if wait_s > 0:
        _log.warning("sign-in as %r from %s: too many tries", name, visitor.address)
        raise TooManyTriesError("too many failed tries; wait before the next one", wait_s)
    good = door.passwords.matches(stored, password)
    if not good or stored is None or (row is not None and row.disabled_s is not None):
        _log.warning("sign-in as %r from %s: refused", name, visitor.address)
        raise SignInError(_WRONG)
    fresh = door.passwords.make(password) if door.passwords.outdated(stored) else None
    with database.write() as session:
        found = store.get_account(session, name)
        if found.disabled_s is not None or found.password_hash != stored:  # changed while we were hashing
            raise SignInError(_WRONG)
        if fresh is not None:
            found.password_hash = fresh
        signed_in = begin(session, door.limits, visitor, name, "password", now_s, request_id)
    door.throttle.give_back(keys, now_s)
    return signed_in


def begin(
    session: Session,
    limits: Limits,
    visitor: Visitor,
    name: str,
    method: str,
    now_s: float,
    request_id: str | None,
) -> SignedIn:
    """A fresh session (never the one that the browser came with), in a transaction of the caller's."""
    if visitor.session is not None:
        store.end_session(session, visitor.session)
    row = store.get_account(session, name)
    row.last_login_s = now_s
    secret, device = new_secret(), visitor.device or new_secret()
    store.add_session(session, secret, name, method, visitor.address, now_s, limits)
    store.remember_device(session, device, name, now_s + limits.device_s)
    account = store.view(row)
    audit.record(
        session, account.as_principal(), "session.begin", f"account:{name}",
        before=None, after={"method": method, "address": visitor.address}, now_s=now_s, request_id=request_id,
    )  # fmt: skip
    return SignedIn(account, secret, device)


def sign_out(
    database: Database, principal: Principal, session_secret: str, now_s: float, request_id: str | None = None
) -> None:
    """End a session."""
    with database.write() as session:
        if store.end_session(session, session_secret):
            audit.record(
                session, principal, "session.end", f"account:{principal.name}",
                before=None, after=None, now_s=now_s, request_id=request_id,
            )  # fmt: skip


def session_of(database: Database, secret: str, now_s: float, limits: Limits) -> SessionView | None:
    """The session that a cookie stands for. An account that was disabled has none, from that moment on."""
    if not is_secret(secret):
        return None
    with database.read() as session:
        found = store.find_session(session, secret, now_s, limits)
    if found is not None and store.is_stale(found.seen_s, now_s):
        _note_use(database, lambda s: store.touch_session(s, secret, now_s))
    return found


def token_of(database: Database, secret: str, now_s: float) -> tuple[Principal, str | None] | None:
    """Who a bearer token stands for, and the account that it belongs to, if any."""
    if not is_api_token(secret):
        return None
    with database.read() as session:
        found = store.find_token(session, secret, now_s)
    if found is None:
        return None
    token, principal = found
    if store.is_stale(token.last_used_s, now_s):
        _note_use(database, lambda s: store.touch_token(s, token.id, now_s))
    return principal, token.account


def _note_use(database: Database, write: Callable[[Session], None]) -> None:
    """That something was used is worth a write, but no refusal: a database that is busy gets it a minute later."""
    try:
        with database.write() as session:
            write(session)
    except StoreUnavailableError as error:
        _log.warning("the time of last use was not stored: %s", error)
