"""People and their passwords: made, changed, disabled, let in by one-time links. Every write stands in the audit log,
none of it with a secret.

Nobody hands out more than they may do themselves: who has a token with the one scope users:manage cannot make an
administrator with it.
"""

from __future__ import annotations

from typing import Any

from cloud_hub.accounts.errors import AccountError, MayNotError, SignInError, StaleError, TooManyTriesError
from cloud_hub.accounts.names import check_label, check_name
from cloud_hub.accounts.passwords import check_password
from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role
from cloud_hub.accounts.records import AccountView, LinkView
from cloud_hub.accounts.secrets import is_secret, new_secret
from cloud_hub.accounts.throttle import ACCOUNT
from cloud_hub.errors import ConflictError
from cloud_hub.services.sign_in import Door, SignedIn, Visitor, begin
from cloud_hub.store import accounts as store
from cloud_hub.store import audit
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, Session

_LINK_GONE = "this link is not good any more: it was used, it is too old, or a newer one took its place"


# ------------------------------------------------------------------------------------------------ one-time links


def administrator_link(
    database: Database, door: Door, principal: Principal, now_s: float, *, only_first: bool = False
) -> str | None:
    """A link by which whoever has it becomes an administrator, once. Earlier ones are void.

    Args:    only_first: make none when there is an administrator who can sign in.
    Returns: the secret; None when none was made.
    """
    secret = new_secret()
    with database.write() as session:
        if only_first and store.active_admins(session):
            return None
        link = LinkView("administrator", None, now_s + door.limits.link_s)
        store.add_link(session, secret, link, now_s, principal.name)
        _record(session, principal, "link.create", "link:administrator", None, {"expires_s": link.expires_s}, now_s)
    return secret


def password_link(
    database: Database, door: Door, principal: Principal, name: str, now_s: float, request_id: str | None = None
) -> str:
    """A link by which somebody sets a new password, once; the old one is good until then, and sessions go on.

    Raises: NotFoundError. ConflictError: the account is disabled. MayNotError.
    """
    secret = new_secret()
    with database.write() as session:
        row = store.get_account(session, name)
        _may_hand_out(principal, Role(row.role))
        if row.disabled_s is not None:
            raise ConflictError(f"account {name}: disabled; enable it before its password is reset")
        link = LinkView("password", name, now_s + door.limits.link_s)
        store.add_link(session, secret, link, now_s, principal.name)
        after = {"expires_s": link.expires_s}
        _record(session, principal, "account.reset_password", f"account:{name}", None, after, now_s, request_id)
    return secret


def look_at_link(database: Database, secret: str, now_s: float) -> LinkView:
    """What a link is for; it is not used up. Raises: SignInError: it is not good."""
    with database.read() as session:
        found = store.find_link(session, secret, now_s) if is_secret(secret) else None
    if found is None:
        raise SignInError(_LINK_GONE)
    return found


def use_link(
    database: Database,
    door: Door,
    visitor: Visitor,
    secret: str,
    password: str,
    now_s: float,
    *,
    name: str = "",
    fleet: str = "",
    request_id: str | None = None,
) -> SignedIn:
    """Set a password by a link and sign in; by an administrator's link, also make the account `name`.

    Raises: SignInError: the link is not good. AccountError: name or password may not be. ConflictError: the name is
            taken. In each of the last two the link stays good.
    """
    link = look_at_link(database, secret, now_s)
    account = link.account if link.account is not None else check_name(name)
    check_password(password, account, fleet)
    hashed = door.passwords.make(password)
    with database.write() as session:
        if not store.spend_link(session, secret, now_s):
            raise SignInError(_LINK_GONE)
        before: dict[str, Any] | None = None
        if link.account is None:
            row = store.add_account(session, account, account, Role.ADMIN, now_s, "one-time link")
            after: dict[str, Any] = {"role": row.role, "full_name": row.full_name, "password": "set"}
        else:
            row = store.get_account(session, account)
            if row.disabled_s is not None:
                raise SignInError(_LINK_GONE)
            before, after = {"password": "set" if row.password_hash else "none"}, {"password": "changed"}
            row.revision += 1
        row.password_hash = hashed
        who = store.view(row).as_principal()
        action = "account.create" if link.account is None else "account.set_password"
        _record(session, who, action, f"account:{account}", before, after, now_s, request_id)
        store.end_sessions(session, account)
        return begin(session, door.limits, visitor, account, "link", now_s, request_id)


# ------------------------------------------------------------------------------------------------ people


def create_account(
    database: Database,
    principal: Principal,
    name: str,
    role: Role,
    now_s: float,
    *,
    full_name: str = "",
    request_id: str | None = None,
) -> AccountView:
    """A new person, who cannot sign in before they set a password by a link.

    Raises: AccountError: the name may not be. ConflictError: it is taken. MayNotError: the role is above the caller.
    """
    name = check_name(name)
    full_name = check_label(full_name or name, "full name")
    _may_hand_out(principal, role)
    with database.write() as session:
        row = store.add_account(session, name, full_name, role, now_s, principal.name)
        after = {"role": role.value, "full_name": full_name}
        _record(session, principal, "account.create", f"account:{name}", None, after, now_s, request_id)
        return store.view(row)


def change_account(
    database: Database,
    principal: Principal,
    name: str,
    now_s: float,
    *,
    role: Role | None = None,
    full_name: str | None = None,
    disabled: bool | None = None,
    revision: int | None = None,
    request_id: str | None = None,
) -> AccountView:
    """Change what is given; None leaves as it is. Who is disabled, or has another role, has no session from then on.

    Args:   revision: refuse when the account has been changed since.
    Raises: NotFoundError. AccountError. MayNotError: the account's role, or the new one, is above the caller's.
            StaleError: changed meanwhile. ConflictError: nobody could administrate any more.
    """
    with database.write() as session:
        row = store.get_account(session, name)
        _may_hand_out(principal, Role(row.role))
        if revision is not None and row.revision != revision:
            raise StaleError(f"account {name}: changed by somebody else meanwhile; look at it again")
        admins = store.active_admins(session)  # as they are now: what follows is in the session at once
        before, after = _changes(row, principal, role, full_name, disabled, now_s)
        if not after:
            return store.view(row)
        row.revision += 1
        session.flush()
        if admins and not store.active_admins(session):
            raise ConflictError(f"account {name}: the last administrator who can sign in; make another one first")
        if "disabled" in after or "role" in after:
            store.end_sessions(session, name)
        if row.disabled_s is not None:
            store.void_links_of(session, name)
        _record(session, principal, "account.change", f"account:{name}", before, after, now_s, request_id)
        return store.view(row)


def _changes(
    row: t.Account, principal: Principal, role: Role | None, full_name: str | None, disabled: bool | None, now_s: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make them in the row; what was, and what is now."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    if role is not None and role.value != row.role:
        _may_hand_out(principal, role)
        before["role"], after["role"] = row.role, role.value
        row.role = role.value
    if full_name is not None and (label := check_label(full_name, "full name")) != row.full_name:
        before["full_name"], after["full_name"] = row.full_name, label
        row.full_name = label
    if disabled is not None and disabled != (row.disabled_s is not None):
        before["disabled"], after["disabled"] = not disabled, disabled
        row.disabled_s = now_s if disabled else None
    return before, after


def change_password(
    database: Database,
    door: Door,
    visitor: Visitor,
    name: str,
    old: str,
    new: str,
    now_s: float,
    *,
    fleet: str = "",
    request_id: str | None = None,
) -> SignedIn:
    """One's own password. All one's sessions end; the caller's browser gets a new one.

    Raises: AccountError: the old one is wrong, or the new one may not be. TooManyTriesError.
    """
    keys = [(f"password {name}", ACCOUNT)]
    wait_s = door.throttle.take(keys, now_s)
    if wait_s > 0:
        raise TooManyTriesError("too many failed tries; wait before the next one", wait_s)
    with database.read() as session:
        stored = store.get_account(session, name).password_hash
    if not door.passwords.matches(stored, old):
        raise AccountError("password: the one that you have now is another one")
    door.throttle.give_back(keys, now_s)
    check_password(new, name, fleet)
    hashed = door.passwords.make(new)
    with database.write() as session:
        row = store.get_account(session, name)
        if row.password_hash != stored or row.disabled_s is not None:
            raise AccountError("password: the one that you have now is another one")
        row.password_hash = hashed
        row.revision += 1
        store.end_sessions(session, name)
        store.void_links_of(session, name)
        who = store.view(row).as_principal()
        after = {"password": "changed"}
        _record(session, who, "account.set_password", f"account:{name}", {"password": "set"}, after, now_s, request_id)
        return begin(session, door.limits, visitor, name, "password", now_s, request_id)


def _may_hand_out(principal: Principal, role: Role) -> None:
    missing = ROLE_PERMISSIONS[role] - principal.permissions
    if missing or not principal.may(Permission.USERS_MANAGE):
        raise MayNotError(f"{principal.name} may not do this to {role.value}s: they may do more")


def _record(
    session: Session,
    principal: Principal,
    action: str,
    target: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    now_s: float,
    request_id: str | None = None,
) -> None:
    audit.record(session, principal, action, target, before=before, after=after, now_s=now_s, request_id=request_id)
